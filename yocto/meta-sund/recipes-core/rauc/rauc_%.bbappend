# Any bus will do: the recipe names one that dbus-broker does not stand beside.
RDEPENDS:${PN}-service:remove:sund = "dbus"
RDEPENDS:${PN}-service:append:sund = " ${VIRTUAL-RUNTIME_dbus}"
