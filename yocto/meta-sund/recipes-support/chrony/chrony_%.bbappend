# Time that its server can prove, from a daemon that is not root. Unit, configuration and user are those of image/root.
PACKAGECONFIG:append:sund = " nts privdrop scfilter"

do_install:append:sund() {
    rm -r ${D}${systemd_unitdir} ${D}${sysconfdir}
}

SYSTEMD_SERVICE:${PN}:sund = ""
CONFFILES:${PN}:sund = ""
USERADD_PARAM:${PN}:sund = "--system --home-dir ${localstatedir}/lib/chrony --no-create-home --shell /sbin/nologin --user-group _chrony"
GROUPADD_PARAM:${PN}:sund = ""
