# What NVIDIA alone may hand out. The integrator downloads the archives under NVIDIA's licence into NVIDIA_DOWNLOADS and states what
# they got: the SHA-256 of each, and the MD5 of the licence that they accepted. As long as nothing is stated, or another archive
# lies there, the recipe fails and says so.
SECTION ?= "libs"
LICENSE = "NVIDIA"
NO_GENERIC_LICENSE[NVIDIA] = "LICENSE"
LICENSE_FLAGS = "commercial"
LIC_FILES_CHKSUM = "file://LICENSE;md5=${NVIDIA_LICENSE_MD5}"

NVIDIA_DOWNLOADS ??= "${TOPDIR}/nvidia"
# Names of the archives, their SHA-256 in the same order, and the MD5 of the first one's licence.
NVIDIA_ARCHIVES ?= ""
NVIDIA_SHA256 ?= ""
NVIDIA_LICENSE_MD5 ?= ""

# Nothing is fetched: what lies there is unpacked into S.
SRC_URI = ""
S = "${UNPACKDIR}/nvidia"

# Programs as NVIDIA made them.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_unpack[doc] = "Checks the archives against what the integrator stated, and unpacks them into S"
do_unpack[vardeps] += "NVIDIA_ARCHIVES NVIDIA_SHA256"
python do_unpack:append() {
    import subprocess

    archives = d.getVar("NVIDIA_ARCHIVES").split()
    stated = d.getVar("NVIDIA_SHA256").split()
    name = d.getVar("PN")
    if len(archives) != len(stated) or not d.getVar("NVIDIA_LICENSE_MD5"):
        bb.fatal("%s is not stated: download %s from NVIDIA under its licence into %s, and set NVIDIA_SHA256:pn-%s and "
                 "NVIDIA_LICENSE_MD5:pn-%s. See yocto/README.md"
                 % (name, " and ".join(archives), d.getVar("NVIDIA_DOWNLOADS"), name, name))
    bb.utils.mkdirhier(d.getVar("S"))
    for archive, checksum in zip(archives, stated):
        path = os.path.join(d.getVar("NVIDIA_DOWNLOADS"), archive)
        if not os.path.exists(path):
            bb.fatal("%s: %s is not there: download it from NVIDIA" % (name, path))
        found = bb.utils.sha256_file(path)
        if found != checksum:
            bb.fatal("%s: %s has the SHA-256 %s, and %s is stated" % (name, path, found, checksum))
        if archive.endswith(".run"):
            bb.utils.remove(d.getVar("S"), recurse=True)
            subprocess.run(["sh", path, "--extract-only", "--target", d.getVar("S")], check=True)
        else:
            subprocess.run(["tar", "xf", path, "--strip-components=1", "-C", d.getVar("S")], check=True)
}
