SUMMARY = "Kernel modules of NVIDIA's GPUs"
DESCRIPTION = "NVIDIA's open modules, built against this image's kernel and signed with its key, so that lockdown loads them."
HOMEPAGE = "https://github.com/NVIDIA/open-gpu-kernel-modules"
SECTION = "kernel/modules"
LICENSE = "MIT | GPL-2.0-only"
LIC_FILES_CHKSUM = "file://COPYING;md5=1d5fa2a493e937d5a4b96e5e03b90f7c"

DEPENDS = "openssl-native"
SRC_URI = "git://github.com/NVIDIA/open-gpu-kernel-modules.git;protocol=https;nobranch=1"
SRCREV = "1a5075f82128be3603d4a4657c7b689234306778"

inherit module

COMPATIBLE_MACHINE = "^sund-x86-64$"

EXTRA_OEMAKE += "\
    SYSSRC=${STAGING_KERNEL_DIR} \
    SYSOUT=${STAGING_KERNEL_BUILDDIR} \
    TARGET_ARCH=x86_64 \
    ARCH=x86_64 \
    HOSTCC='${BUILD_CC}' \
    CXX='${CXX}' \
"
# The kernel's build looks for the key in its own folder or in its sources, by release, and goes on where it is in neither.
SUND_MODULE_KEY = "${STAGING_KERNEL_BUILDDIR}/certs/sund_modules.pem"
EXTRA_OEMAKE += "CONFIG_MODULE_SIG_KEY=${SUND_MODULE_KEY}"
MAKE_TARGETS = "modules"
MODULES_MODULE_SYMVERS_LOCATION = "kernel-open"

do_install:append() {
    sund_modules_are_signed
}

# A module of which that is not so would be in the image, and no box would load it. Behind its code it has its signature (CMS), twelve
# bytes that end with the length of that, and a line.
sund_modules_are_signed() {
    modules=$(find ${D} -name '*.ko')
    if [ -z "$modules" ]; then
        bbfatal "no module was installed"
    fi
    for module in $modules; do
        name=$(basename $module)
        if [ "$(tail -c 28 $module)" != "~Module signature appended~" ]; then
            bbfatal "$name is not signed"
        fi
        length=$(tail -c 32 $module | head -c 4 | od -An -tu1 | awk '{ print (($1 * 256 + $2) * 256 + $3) * 256 + $4 }')
        head -c -$(expr $length + 40) $module > ${WORKDIR}/$name.code
        tail -c $(expr $length + 40) $module | head -c $length > ${WORKDIR}/$name.signature
        if ! openssl cms -verify -binary -noverify -inform DER -in ${WORKDIR}/$name.signature -content ${WORKDIR}/$name.code \
                -certfile ${SUND_MODULE_KEY} -out /dev/null; then
            bbfatal "$name is signed by another key than modules.pem"
        fi
    done
}

# CUDA needs these two; the box draws on no screen.
KERNEL_MODULE_AUTOLOAD += "nvidia nvidia-uvm"
KERNEL_MODULE_PROBECONF += "nvidia"
# Without these every account could use the GPUs; 606 is the group sund-gpu.
module_conf_nvidia = "options nvidia NVreg_OpenRmEnableUnsupportedGpus=0 NVreg_DeviceFileUID=0 NVreg_DeviceFileGID=606 NVreg_DeviceFileMode=0660"

RDEPENDS:${PN} = "nvidia-driver"
CVE_PRODUCT = "nvidia:gpu_display_driver"
