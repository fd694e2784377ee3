SUMMARY ?= "The appliance"
DESCRIPTION ?= "A read-only root for a rack server with a GPU: the agent, the updater, and as little else as they need."
LICENSE = "Apache-2.0"

IMAGE_INSTALL = " \
    base-files \
    base-passwd \
    chrony \
    cryptsetup \
    dbus-broker \
    e2fsprogs-mke2fs \
    efibootmgr \
    kernel-modules \
    libtss2 \
    netbase \
    nftables \
    rauc \
    sund-agent \
    sund-base \
    sund-ota \
    systemd \
    tzdata-core \
    udev \
    ${@'cuda-nvrtc nvidia-driver nvidia-open-modules tensorrt-rtx' if d.getVar('SUND_GPU') == 'nvidia' else ''} \
"
IMAGE_FEATURES = "read-only-rootfs"
IMAGE_LINGUAS = ""
NO_RECOMMENDATIONS = "1"
IMAGE_FSTYPES = "verity wic"
WKS_FILE = "sund.wks.in"

inherit core-image sund_slot

# Not one of these is on a production image. What installs itself by a script has done so when this runs.
SUND_FORBIDDEN ?= "sh bash dash ash busybox python3 perl gcc opkg dpkg rpm dnf sshd dropbear login su sudo"
ROOTFS_POSTPROCESS_COMMAND += "sund_no_shell"
sund_no_shell() {
    for name in ${SUND_FORBIDDEN}; do
        rm -f ${IMAGE_ROOTFS}/bin/$name ${IMAGE_ROOTFS}/sbin/$name
        rm -f ${IMAGE_ROOTFS}${bindir}/$name* ${IMAGE_ROOTFS}${sbindir}/$name
    done
    find ${IMAGE_ROOTFS} -xtype l -lname '*busybox*' -delete
    found=$(find ${IMAGE_ROOTFS} -xdev -type f -perm /6000)
    if [ -n "$found" ]; then
        bbfatal "files that lend another user's rights: $found"
    fi
}
