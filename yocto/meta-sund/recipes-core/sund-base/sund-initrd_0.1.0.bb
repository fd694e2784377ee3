SUMMARY = "From the kernel to the root file system"
DESCRIPTION = "The program of image/initrd, as it is in the twin: finds the slot, checks it, and hands over."
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

inherit allarch

FILESEXTRAPATHS:prepend := "${SUND_REPOSITORY}:"
SRC_URI = " \
    file://LICENSE \
    file://image/initrd \
"

S = "${UNPACKDIR}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

# What the start needs is built into this kernel: the lists of modules are empty.
do_install() {
    install -d ${D}/dev ${D}/proc ${D}/sys ${D}/root ${D}/run ${D}${bindir}
    for file in ${S}/image/initrd/*; do
        case "$file" in
        *.txt) touch ${D}/$(basename $file .txt) ;;
        *) install -m 0755 $file ${D} ;;
        esac
    done
    # It looks for programs in one place.
    ln -s ../sbin/dmsetup ${D}${bindir}/dmsetup
}

FILES:${PN} += "/"
RDEPENDS:${PN} = "busybox libdevmapper"
