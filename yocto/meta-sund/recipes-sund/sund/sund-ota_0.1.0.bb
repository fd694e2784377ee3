SUMMARY = "The box's side of the signed channel"
DESCRIPTION = "Polls, verifies, installs, tries and takes back what the region approved. It cannot sign."

require sund.inc

inherit systemd

do_install:append() {
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/ota/units/sund-updater.service
}

SYSTEMD_SERVICE:${PN} = "sund-updater.service"
FILES:${PN} += "${systemd_system_unitdir}"
RDEPENDS:${PN} = "rauc sund-agent"
