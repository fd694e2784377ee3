SUMMARY = "From the kernel to the root file system"
DESCRIPTION = "The program of image/initrd, as it is in the twin: finds the slot, checks it, and hands over."
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

inherit allarch

FILESEXTRAPATHS:prepend := "${SUND_REPOSITORY}:"
SRC_URI = " \
    file://LICENSE \
    file://image/initrd/init \
"

S = "${UNPACKDIR}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

# What the start needs is built into this kernel: there is no module to load.
do_install() {
    install -D -m 0755 ${S}/image/initrd/init ${D}/init
    touch ${D}/modules
    install -d ${D}/dev ${D}/proc ${D}/sys ${D}/root
}

FILES:${PN} += "/"
RDEPENDS:${PN} = "busybox libdevmapper"
