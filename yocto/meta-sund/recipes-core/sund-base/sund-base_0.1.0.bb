SUMMARY = "The appliance as data: units, users, firewall, partitions, updates"
DESCRIPTION = "The files of image/root, as they are in the twin. Trust anchors and the names of ports are the integrator's."
SECTION = "base"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

FILESEXTRAPATHS:prepend := "${SUND_REPOSITORY}:"
SRC_URI = " \
    file://LICENSE \
    file://image/root \
"

S = "${UNPACKDIR}"

# The ports are a server's.
PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    cp -r --no-preserve=ownership ${S}/image/root/. ${D}
    # What the site said of this box is mounted here.
    install -d ${D}${sysconfdir}/sund
    for name in release-ca.pem provisioning.pem; do
        if [ ! -r "${SUND_KEYS}/$name" ]; then
            bbfatal "SUND_KEYS names no folder with $name, which says whom a box believes: see yocto/README.md"
        fi
        install -D -m 0644 ${SUND_KEYS}/$name ${D}${datadir}/sund/$name
    done
    if [ "${SUND_CLINICAL_PORT}" = "${SUND_MANAGEMENT_PORT}" ]; then
        bbfatal "SUND_CLINICAL_PORT and SUND_MANAGEMENT_PORT are one port: the networks are apart. See yocto/README.md"
    fi
    name_port clinical "${SUND_CLINICAL_PORT}"
    name_port management "${SUND_MANAGEMENT_PORT}"
}

# By its name the firewall and networkd know a port.
name_port() {
    printf '[Match]\nProperty=%s\nType=ether\n\n[Link]\nName=%s\n' "$2" "$1" > ${D}${nonarch_libdir}/systemd/network/10-$1.link
}

FILES:${PN} += "/"
RDEPENDS:${PN} = "chrony nftables rauc sund-agent sund-ota systemd"
# It is RAUC's configuration too.
RPROVIDES:${PN} = "virtual-rauc-conf"
