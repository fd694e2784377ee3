# What a slot holds: an erofs with its hash tree behind it (NAME-root.img), and an ESP whose one file is the signed kernel, initramfs
# and command line that name the root by its hash (NAME-esp.img). Source of the format: image/initrd/init. All that is put into the
# common folder bears the image's name: what is signed as one image is never another's.
inherit image_types_verity uki

# A type of our own, made as the twin's root is: what image_types.bbclass says of its own types comes after this, and counts.
VERITY_IMAGE_FSTYPE = "sund-root"
# nooelint: oelint.vars.specific,oelint.vars.mispell - the override is that type, and the variable one of image.bbclass
IMAGE_CMD:sund-root = "${SUND_REPOSITORY}/image/mkfs-root ${IMAGE_ROOTFS} ${IMGDEPLOYDIR}/${IMAGE_NAME}.sund-root ${SUND_EPOCH}"
do_image_sund_root[depends] += "erofs-utils-native:do_populate_sysroot"
do_image_sund_root[file-checksums] += "${SUND_REPOSITORY}/image/mkfs-root:True"
# As image/root/usr/lib/repart.d has them; a test holds the two against each other.
SUND_ESP_MIB = "256"
SUND_ROOT_MIB = "2048"

VERITY_SALT = "7375d0000000000000000000000000000000000000000000000000000000dead"

# Built against musl, by a configuration of its own.
INITRAMFS_IMAGE = "sund-initramfs"
INITRAMFS_MULTICONFIG = "initramfs"

SUND_IMAGE_KEYS ?= "${SUND_KEYS}"
UKI_FILENAME = "${IMAGE_BASENAME}.efi"
UKI_SB_KEY = "${SUND_IMAGE_KEYS}/db.key"
UKI_SB_CERT = "${SUND_IMAGE_KEYS}/db.pem"
# What the TPM asks for before it opens the data partition: PCR 11 of this very file, signed. systemd-measure is the build host's.
UKIFY_CMD = "ukify build --pcr-private-key='${SUND_IMAGE_KEYS}/pcr.key' --pcr-public-key='${SUND_IMAGE_KEYS}/pcr.pub' --phases=enter-initrd"
SUND_CMDLINE ?= "ro loglevel=4 panic=5 oops=panic lockdown=confidentiality init_on_alloc=1 slab_nomerge module.sig_enforce=1 \
    systemd.gpt_auto=0 systemd.machine_id=firmware systemd.import_credentials=no fsck.repair=yes \
    systemd.show_status=no"

do_uki[depends] = "systemd-boot:do_deploy virtual/kernel:do_deploy sbsigntool-native:do_populate_sysroot"
do_uki[mcdepends] = "mc::initramfs:sund-initramfs:do_image_complete"
do_image_complete[depends] = ""

do_uki[prefuncs] += "sund_kernel_command_line"
python sund_kernel_command_line() {
    for name in ("db.key", "db.pem", "pcr.key", "pcr.pub"):
        if not os.access(os.path.join(d.getVar("SUND_IMAGE_KEYS"), name), os.R_OK):
            bb.fatal("%s names no folder with %s, which signs what the firmware starts: see yocto/README.md"
                     % (d.getVar("SUND_IMAGE_KEYS", False).strip("${}"), name))
    path = d.expand("${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.${VERITY_IMAGE_FSTYPE}.verity-params")
    with open(path) as file:
        verity = dict(line.strip().removeprefix("VERITY_").split("=", 1) for line in file)
    blocks = int(verity["DATA_BLOCKS"])
    # The hash tree begins where the data ends.
    root = ",".join([verity["DATA_SECTORS"], str(blocks), str(blocks), verity["ROOT_HASH"], verity["SALT"]])
    d.setVar("UKI_CMDLINE", "%s sund.verity=%s" % (" ".join(d.getVar("SUND_CMDLINE").split()), root))
    # Where the other configuration put it; do_uki looks for it under this name.
    initramfs = d.expand("${TOPDIR}/tmp-initramfs/deploy/images/${MACHINE}/${INITRAMFS_IMAGE}-${MACHINE}.cpio.xz")
    d.setVar("INITRAMFS_IMAGE", d.expand("${IMAGE_BASENAME}-initramfs"))
    bb.utils.copyfile(initramfs, d.expand("${DEPLOY_DIR_IMAGE}/${IMAGE_BASENAME}-initramfs-${MACHINE}.cpio.xz"))
}
addtask uki after do_image_verity before do_image_wic

do_sund_slot[doc] = "Makes the two halves of a slot, which the bundle and the disk are made of"
do_sund_slot[depends] = "dosfstools-native:do_populate_sysroot mtools-native:do_populate_sysroot"
do_sund_slot() {
    esp=${DEPLOY_DIR_IMAGE}/${IMAGE_BASENAME}-esp.img
    rm -f $esp
    # One serial number and no time: the same kernel gives the same blocks. Not SUND: that is the label of the region's stick.
    mkfs.vfat --invariant -F 32 -n SUND-ESP -C $esp $(expr ${SUND_ESP_MIB} \* 1024)
    # The path that the firmware's boot entries name.
    mmd -i $esp ::/EFI ::/EFI/sund
    mcopy -i $esp ${DEPLOY_DIR_IMAGE}/${UKI_FILENAME} ::/EFI/sund/sund.efi
    install -m 0644 ${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.${VERITY_IMAGE_FSTYPE}.verity ${DEPLOY_DIR_IMAGE}/${IMAGE_BASENAME}-root.img
    sund_root_fits ${DEPLOY_DIR_IMAGE}/${IMAGE_BASENAME}-root.img
}

# A box would refuse it at its install, when it is published and signed.
sund_root_fits() {
    mib=$(expr \( $(stat -c %s $1) + 1048575 \) / 1048576)
    if [ $mib -gt ${SUND_ROOT_MIB} ]; then
        bbfatal "the root has $mib MiB, and a box's slot for it ${SUND_ROOT_MIB}: a slot never grows"
    fi
}
addtask sund_slot after do_uki before do_image_wic do_image_complete
