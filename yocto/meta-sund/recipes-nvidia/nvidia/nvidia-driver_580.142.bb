SUMMARY = "Libraries and firmware of NVIDIA's driver"
DESCRIPTION = "libcuda, NVML, the compiler of PTX and the GPU's firmware: what CUDA needs, and nothing that draws."
HOMEPAGE = "https://www.nvidia.com/drivers"

inherit nvidia_archive useradd

SRC_URI = " \
    file://10-nvidia.conf \
    file://nvidia-nodes.conf \
    file://nvidia-nodes.service \
    file://worker-nvidia.conf \
"
NVIDIA_ARCHIVES = "NVIDIA-Linux-x86_64-${PV}.run"

COMPATIBLE_MACHINE = "^sund-x86-64$"

do_install() {
    install -d ${D}${libdir} ${D}${nonarch_base_libdir}/firmware/nvidia/${PV}
    for library in libcuda libnvidia-ml libnvidia-ptxjitcompiler libnvidia-nvvm; do
        install -m 0755 ${S}/$library.so.* ${D}${libdir}
        ln -s $(basename ${S}/$library.so.*) ${D}${libdir}/$library.so.1
    done
    install -m 0644 ${S}/firmware/*.bin ${D}${nonarch_base_libdir}/firmware/nvidia/${PV}
    install -D -m 0755 ${S}/nvidia-modprobe ${D}${bindir}/nvidia-modprobe
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${UNPACKDIR}/nvidia-nodes.service
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/sund-worker.socket.d ${UNPACKDIR}/10-nvidia.conf
    install -D -m 0644 ${UNPACKDIR}/worker-nvidia.conf ${D}${systemd_system_unitdir}/sund-worker@.service.d/10-nvidia.conf
    install -D -m 0644 -t ${D}${datadir}/sund ${UNPACKDIR}/nvidia-nodes.conf
}

# Who may use the GPUs: workers alone.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system sund-gpu"
FILES:${PN} += "${nonarch_base_libdir}/firmware ${systemd_system_unitdir} ${datadir}/sund"
