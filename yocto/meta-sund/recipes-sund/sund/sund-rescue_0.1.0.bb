SUMMARY = "Fetches a recovery bundle when neither slot starts"
DESCRIPTION = "One static program of the initramfs: no library, no interpreter."

require sund.inc

COMPATIBLE_HOST:libc-glibc = "null"

# The profile and the kind of linking that its tests use.
BUILD_MODE = "--profile rescue"
BUILD_DIR = "rescue"
RUSTFLAGS:append = " -C target-feature=+crt-static"
