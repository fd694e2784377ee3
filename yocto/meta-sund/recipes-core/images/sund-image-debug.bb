SUMMARY = "The appliance with a shell, for the workbench"
DESCRIPTION = "Signed by the same keys as production only where the integrator says so. It calls itself DEBUG wherever it speaks."

require sund-image.bb

IMAGE_INSTALL += "\
    busybox \
    dropbear \
    gdb \
    strace \
"
SUND_FORBIDDEN = ""
SUND_CMDLINE = "panic=10 console=ttyS0,115200"

ROOTFS_POSTPROCESS_COMMAND += "sund_says_debug"
sund_says_debug() {
    echo 'VARIANT="DEBUG: not for patients"' >> ${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    echo 'VARIANT_ID=debug' >> ${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    echo 'DEBUG: not for patients' > ${IMAGE_ROOTFS}${sysconfdir}/issue
}
