SUMMARY = "From the kernel to the root file system"
DESCRIPTION = "The scripts of image/initrd, as they are in the twin: find the slot, check it, and hand over, or rescue the box."
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
    if [ ! -r "${SUND_KEYS}/rescuers.toml" ]; then
        bbfatal "SUND_KEYS names no folder with rescuers.toml, the persons who may release a recovery bundle: see yocto/README.md"
    fi
    install -d ${D}/dev ${D}/proc ${D}/run ${D}/sys ${D}/root
    install -D -m 0755 ${S}/image/initrd/init ${D}/init
    install -D -m 0644 ${S}/image/initrd/rescue ${D}/rescue
    install -D -m 0755 ${S}/image/initrd/lease ${D}${bindir}/lease
    install -D -m 0644 ${S}/image/initrd/rescue.toml ${D}${sysconfdir}/sund/rescue.toml
    date -u -d @${SUND_EPOCH} '+built = "%Y-%m-%dT%H:%M:%SZ"' >>${D}${sysconfdir}/sund/rescue.toml
    cat ${SUND_KEYS}/rescuers.toml >>${D}${sysconfdir}/sund/rescue.toml
    touch ${D}/modules ${D}/rescue-modules
    # It looks for programs in one place.
    ln -s ../sbin/dmsetup ${D}${bindir}/dmsetup
}

FILES:${PN} += "/"
RDEPENDS:${PN} = "busybox libdevmapper sund-rescue"
