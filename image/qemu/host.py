"""What this machine needs, by apt: Debian bookworm or later, and root."""
import os
import shutil

from .store import Failed, run

# A program of each package, by which it is known to be there.
PACKAGES = {"mmdebstrap": "mmdebstrap", "qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "swtpm": "swtpm", "swtpm_setup": "swtpm-tools",
            "echoscu": "dcmtk", "openssl": "openssl", "strip": "binutils", "git": "git", "xz": "xz-utils", "ip": "iproute2", "mke2fs": "e2fsprogs",
            "chattr": "e2fsprogs"}
FILES = {"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd": "ovmf", "/usr/share/doc/python3-venv": "python3-venv"}


def prepare():
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    missing += [package for file, package in FILES.items() if not os.path.exists(file)]
    if os.geteuid():
        raise Failed("building file systems with their owners needs root")
    if missing:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", env=environment)
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, env=environment)
