SUMMARY = "The appliance as data: units, users, firewall, partitions, updates"
DESCRIPTION = "The files of image/root, as they are in the twin. Trust anchors come with the integrator's keys."
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

inherit allarch

FILESEXTRAPATHS:prepend := "${SUND_REPOSITORY}:"
SRC_URI = " \
    file://LICENSE \
    file://image/root \
"

S = "${UNPACKDIR}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    if [ ! -r "${SUND_KEYS}/release-ca.pem" ]; then
        bbfatal "SUND_KEYS names no folder with release-ca.pem, which vouches for updates: see yocto/README.md"
    fi
    cp -r --no-preserve=ownership ${S}/image/root/. ${D}
    install -D -m 0644 ${SUND_KEYS}/release-ca.pem ${D}${datadir}/sund/release-ca.pem
}

FILES:${PN} += "/"
RDEPENDS:${PN} = "chrony nftables rauc sund-agent sund-ota systemd"
# It is RAUC's configuration too.
RPROVIDES:${PN} = "virtual-rauc-conf"
