SUMMARY = "The appliance with a shell, for the workbench"
DESCRIPTION = "Of other keys than production's, by ssh for who holds one of them. It says DEBUG wherever somebody may look."

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
ROOTFS_POSTPROCESS_COMMAND += "sund_debug sund_debug_ssh sund_debug_says"
sund_debug() {
    for name in release-ca.pem provisioning.pem authorized_keys; do
        if [ ! -r "${SUND_DEBUG_KEYS}/$name" ]; then
            bbfatal "SUND_DEBUG_KEYS names no folder with $name, which says whom a box of the workbench believes: see yocto/README.md"
        fi
    done
    install -m 0644 ${SUND_DEBUG_KEYS}/release-ca.pem ${SUND_DEBUG_KEYS}/provisioning.pem ${IMAGE_ROOTFS}${datadir}/sund
    # Neither takes the other's bundle.
    sed -i 's/^compatible=.*/&-debug/' ${IMAGE_ROOTFS}${sysconfdir}/rauc/system.conf
    if ! grep -q '^compatible=.*-debug$' ${IMAGE_ROOTFS}${sysconfdir}/rauc/system.conf; then
        bbfatal "image/root names the box in another way than this recipe looks for"
    fi
}

# By a key, from the management network; the preset of image/root starts nothing that it does not name.
sund_debug_ssh() {
    install -d -m 0700 ${IMAGE_ROOTFS}${ROOT_HOME}/.ssh
    install -m 0600 ${SUND_DEBUG_KEYS}/authorized_keys ${IMAGE_ROOTFS}${ROOT_HOME}/.ssh/authorized_keys
    sed -i '/iifname "management" tcp dport [$]console accept/{p;s/[$]console/22/}' ${IMAGE_ROOTFS}${sysconfdir}/nftables.conf
    # What dropbear comes with lets root in by nothing.
    sed -i 's|^DROPBEAR_EXTRA_ARGS=.*|DROPBEAR_EXTRA_ARGS="-s -b ${sysconfdir}/issue.net"|' ${IMAGE_ROOTFS}${sysconfdir}/default/dropbear
    if ! grep -q 'dport 22 accept' ${IMAGE_ROOTFS}${sysconfdir}/nftables.conf ||
            ! grep -q '^DROPBEAR_EXTRA_ARGS="-s ' ${IMAGE_ROOTFS}${sysconfdir}/default/dropbear; then
        bbfatal "image/root or dropbear names its ports or its arguments in another way than this recipe looks for"
    fi
    install -d ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/sockets.target.wants
    ln -sf ${systemd_system_unitdir}/dropbear.socket ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/sockets.target.wants/dropbear.socket
}

# os-release is where agent and updater read it, who tell people and the region; the rest is for who comes in by ssh.
SUND_DEBUG_NAME = "DEBUG: not for patients"
sund_debug_says() {
    echo 'VARIANT="${SUND_DEBUG_NAME}"' >> ${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    echo 'VARIANT_ID=debug' >> ${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    for file in issue issue.net motd; do
        echo '${SUND_DEBUG_NAME}' > ${IMAGE_ROOTFS}${sysconfdir}/$file
    done
}
