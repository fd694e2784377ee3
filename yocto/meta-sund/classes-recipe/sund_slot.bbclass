# What a slot holds: an erofs with its hash tree behind it (root.img), and an ESP whose one file is the signed kernel, initramfs and
# command line that name the root by its hash (esp.img). Source of the format: image/initrd/init.
inherit image_types_verity uki

VERITY_IMAGE_FSTYPE = "erofs-lz4hc"
VERITY_SALT = "7375d0000000000000000000000000000000000000000000000000000000dead"

INITRAMFS_IMAGE = "sund-initramfs"
UKI_FILENAME = "sund.efi"
UKI_SB_KEY = "${SUND_KEYS}/db.key"
UKI_SB_CERT = "${SUND_KEYS}/db.pem"
# What the TPM asks for before it opens the data partition: PCR 11 of this very file, signed. systemd-measure is the build host's.
UKIFY_CMD = "ukify build --pcr-private-key='${SUND_KEYS}/pcr.key' --pcr-public-key='${SUND_KEYS}/pcr.pub' --phases=enter-initrd"
SUND_CMDLINE ?= "lockdown=confidentiality panic=10 systemd.show_status=no systemd.import_credentials=no"

# The initramfs is built against musl, by its own configuration.
do_uki[depends] = "systemd-boot:do_deploy virtual/kernel:do_deploy sbsigntool-native:do_populate_sysroot"
do_uki[mcdepends] = "mc::initramfs:sund-initramfs:do_image_complete"
do_image_complete[depends] = ""

do_uki[prefuncs] += "sund_kernel_command_line"
python sund_kernel_command_line() {
    for name in ("db.key", "db.pem", "pcr.key", "pcr.pub"):
        if not os.access(os.path.join(d.getVar("SUND_KEYS"), name), os.R_OK):
            bb.fatal("SUND_KEYS names no folder with %s, which signs what the firmware starts: see yocto/README.md" % name)
    path = d.expand("${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.${VERITY_IMAGE_FSTYPE}.verity-params")
    with open(path) as file:
        verity = dict(line.strip().removeprefix("VERITY_").split("=", 1) for line in file)
    blocks = int(verity["DATA_BLOCKS"])
    # The hash tree begins where the data ends.
    root = ",".join([verity["DATA_SECTORS"], str(blocks), str(blocks), verity["ROOT_HASH"], verity["SALT"]])
    d.setVar("UKI_CMDLINE", "%s sund.verity=%s" % (d.getVar("SUND_CMDLINE"), root))
    # Where the other configuration put it.
    initramfs = d.expand("${TOPDIR}/tmp-initramfs/deploy/images/${MACHINE}/sund-initramfs-${MACHINE}.cpio.xz")
    bb.utils.copyfile(initramfs, d.expand("${DEPLOY_DIR_IMAGE}/sund-initramfs-${MACHINE}.cpio.xz"))
}
addtask uki after do_image_verity before do_image_wic

do_sund_slot[doc] = "Makes esp.img and root.img, which the bundle and the disk are made of"
do_sund_slot[depends] = "dosfstools-native:do_populate_sysroot mtools-native:do_populate_sysroot"
do_sund_slot() {
    rm -f ${DEPLOY_DIR_IMAGE}/esp.img
    # One serial number and no time: the same kernel gives the same blocks. Not SUND: that is the label of the region's stick.
    mkfs.vfat --invariant -F 32 -n SUND-ESP -C ${DEPLOY_DIR_IMAGE}/esp.img 98304
    mmd -i ${DEPLOY_DIR_IMAGE}/esp.img ::/EFI ::/EFI/BOOT
    mcopy -i ${DEPLOY_DIR_IMAGE}/esp.img ${DEPLOY_DIR_IMAGE}/${UKI_FILENAME} ::/EFI/BOOT/BOOTX64.EFI
    install -m 0644 ${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.${VERITY_IMAGE_FSTYPE}.verity ${DEPLOY_DIR_IMAGE}/root.img
}
addtask sund_slot after do_uki before do_image_wic do_image_complete
