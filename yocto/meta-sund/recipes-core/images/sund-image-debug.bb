SUMMARY = "The appliance with a shell, for the workbench"
DESCRIPTION = "Of other keys than production's, by ssh for who holds one of them. It says DEBUG on its screen and in its os-release."

require sund-image.bb

IMAGE_INSTALL += "\
    busybox \
    dropbear \
    gdb \
    strace \
"
# A box for patients takes nothing that these sign.
SUND_IMAGE_KEYS = "${SUND_DEBUG_KEYS}"
SUND_CMDLINE:append = " console=ttyS0,115200"

ROOTFS_POSTPROCESS_COMMAND:remove = "sund_programs"
ROOTFS_POSTPROCESS_COMMAND += "sund_debug"
sund_debug() {
    for name in release-ca.pem provisioning.pem authorized_keys; do
        if [ ! -r "${SUND_DEBUG_KEYS}/$name" ]; then
            bbfatal "SUND_DEBUG_KEYS names no folder with $name, which says whom a box of the workbench believes: see yocto/README.md"
        fi
    done
    install -m 0644 ${SUND_DEBUG_KEYS}/release-ca.pem ${SUND_DEBUG_KEYS}/provisioning.pem ${IMAGE_ROOTFS}${datadir}/sund
    install -d -m 0700 ${IMAGE_ROOTFS}${ROOT_HOME}/.ssh
    install -m 0600 ${SUND_DEBUG_KEYS}/authorized_keys ${IMAGE_ROOTFS}${ROOT_HOME}/.ssh/authorized_keys
    # Neither takes the other's bundle.
    sed -i 's/^compatible=.*/&-debug/' ${IMAGE_ROOTFS}${sysconfdir}/rauc/system.conf
    sed -i '/iifname "management" tcp dport 8443 accept/{p;s/8443/22/}' ${IMAGE_ROOTFS}${sysconfdir}/nftables.conf
    if ! grep -q '^compatible=.*-debug$' ${IMAGE_ROOTFS}${sysconfdir}/rauc/system.conf ||
            ! grep -q 'dport 22 accept' ${IMAGE_ROOTFS}${sysconfdir}/nftables.conf; then
        bbfatal "image/root names the box or its ports in another way than this recipe looks for"
    fi
    echo 'VARIANT="DEBUG: not for patients"' >> ${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    echo 'VARIANT_ID=debug' >> ${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    echo 'DEBUG: not for patients' > ${IMAGE_ROOTFS}${sysconfdir}/issue
}
