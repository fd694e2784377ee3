SUMMARY = "Libraries and firmware of NVIDIA's driver"
DESCRIPTION = "libcuda, NVML, the compiler of PTX and the GPU's firmware: what CUDA needs, and nothing that draws."
HOMEPAGE = "https://www.nvidia.com/drivers"

inherit nvidia_archive

NVIDIA_ARCHIVES = "NVIDIA-Linux-x86_64-${PV}.run"

COMPATIBLE_MACHINE = "^sund-x86-64$"

do_install() {
    install -d ${D}${libdir} ${D}${nonarch_base_libdir}/firmware/nvidia/${PV}
    for library in libcuda libnvidia-ml libnvidia-ptxjitcompiler libnvidia-nvvm; do
        install -m 0755 ${S}/$library.so.* ${D}${libdir}
        ln -s $(basename ${S}/$library.so.*) ${D}${libdir}/$library.so.1
    done
    install -m 0644 ${S}/firmware/*.bin ${D}${nonarch_base_libdir}/firmware/nvidia/${PV}
    # Makes the device nodes at boot: udev does not know this driver's character devices.
    install -D -m 0755 ${S}/nvidia-modprobe ${D}${bindir}/nvidia-modprobe
}

FILES:${PN} += "${nonarch_base_libdir}/firmware"
