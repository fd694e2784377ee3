SUMMARY ?= "The appliance"
DESCRIPTION ?= "A read-only root for a rack server with a GPU: the agent, the updater, and as little else as they need."
LICENSE = "Apache-2.0"

IMAGE_INSTALL = " \
    base-files \
    base-passwd \
    chrony \
    cryptsetup \
    dbus-broker \
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    efibootmgr \
    kernel-modules \
    libtss2 \
    netbase \
    nftables \
    os-release \
    rauc \
    sund-agent \
    sund-base \
    sund-ota \
    systemd \
    systemd-crypt \
    systemd-extra-utils \
    systemd-networkd \
    tzdata-core \
    udev \
    ${@'cuda-nvrtc nvidia-driver nvidia-open-modules tensorrt-rtx' if d.getVar('SUND_GPU') == 'nvidia' else ''} \
"
# systemd opens these at run time, and goes on without what it does not find: system calls would not be filtered.
IMAGE_INSTALL += "\
    libacl \
    libcrypto \
    libkmod \
    libseccomp \
    util-linux-libblkid \
    util-linux-libfdisk \
    util-linux-libmount \
"
IMAGE_FEATURES = "read-only-rootfs"
IMAGE_LINGUAS = ""
# Above all not rauc-mark-good, which would hold every system on trial for a good one.
NO_RECOMMENDATIONS = "1"
IMAGE_FSTYPES = "verity wic"
WKS_FILE = "sund.wks.in"

inherit core-image sund_slot

# No shell, no interpreter, nothing to log in by: what image/programs.txt lets the twin have, and what stands here in the place of it.
SUND_PROGRAMS = "dbus-broker dbus-broker-launch nvidia-modprobe"
ROOTFS_POSTPROCESS_COMMAND += "sund_programs sund_rights sund_mounts"
do_rootfs[file-checksums] += "${SUND_REPOSITORY}/image/programs.txt:True"

# What installs itself by a script has done so when this runs.
sund_programs() {
    kept=" $(grep -v '^#' ${SUND_REPOSITORY}/image/programs.txt | tr '\n' ' ') ${SUND_PROGRAMS} "
    for program in ${IMAGE_ROOTFS}${bindir}/* ${IMAGE_ROOTFS}${sbindir}/*; do
        name=$(basename "$program")
        # `mount` is a link to `mount.util-linux`.
        case "$kept" in
        *" $name "*|*" ${name%.*} "*) ;;
        *) rm -rf "$program" ;;
        esac
    done
    for name in sund sund-updater; do
        if [ ! -x ${IMAGE_ROOTFS}${bindir}/$name ]; then
            bbfatal "$name is not in the image"
        fi
    done
}

# No file lends another user's rights.
sund_rights() {
    find ${IMAGE_ROOTFS} -xdev -type f -perm /6000 -exec chmod ug-s {} +
}

# What is mounted, and how, is said by units alone: by a line of fstab systemd would mount the root, /run and others anew, softer.
sund_mounts() {
    rm -f ${IMAGE_ROOTFS}${sysconfdir}/fstab
}
