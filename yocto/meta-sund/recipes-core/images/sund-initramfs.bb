SUMMARY = "Initramfs of the appliance"
DESCRIPTION = "Opens the slot that was started, or fetches a recovery bundle when neither slot starts."
LICENSE = "Apache-2.0"

# The shell of this image ends when the root file system begins; nobody can type at it.
PACKAGE_INSTALL = "busybox libdevmapper sund-initrd sund-rescue"

IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""
IMAGE_FSTYPES = "${INITRAMFS_FSTYPES}"
IMAGE_NAME_SUFFIX = ""
IMAGE_ROOTFS_SIZE = "8192"
INITRAMFS_MAXSIZE = "65536"
NO_RECOMMENDATIONS = "1"

inherit core-image

COMPATIBLE_HOST:libc-glibc = "null"
