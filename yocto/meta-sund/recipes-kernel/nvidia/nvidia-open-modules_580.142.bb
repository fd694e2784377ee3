SUMMARY = "Kernel modules of NVIDIA's GPUs"
DESCRIPTION = "NVIDIA's open modules, built against this image's kernel and signed with its key, so that lockdown loads them."
HOMEPAGE = "https://github.com/NVIDIA/open-gpu-kernel-modules"
SECTION = "kernel/modules"
LICENSE = "MIT | GPL-2.0-only"
LIC_FILES_CHKSUM = "file://COPYING;md5=1d5fa2a493e937d5a4b96e5e03b90f7c"

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
MAKE_TARGETS = "modules"
MODULES_MODULE_SYMVERS_LOCATION = "kernel-open"

# CUDA needs these two; the box draws on no screen.
KERNEL_MODULE_AUTOLOAD += "nvidia nvidia-uvm"
KERNEL_MODULE_PROBECONF += "nvidia"
module_conf_nvidia = "options nvidia NVreg_OpenRmEnableUnsupportedGpus=0"

RDEPENDS:${PN} = "nvidia-driver"
CVE_PRODUCT = "nvidia:gpu_display_driver"
