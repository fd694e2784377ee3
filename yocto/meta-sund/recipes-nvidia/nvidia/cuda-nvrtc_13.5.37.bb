SUMMARY = "CUDA's compiler at run time"
DESCRIPTION = "Compiles the agent's kernels on a card that is newer than the image."
HOMEPAGE = "https://developer.nvidia.com/cuda-toolkit"

inherit nvidia_archive

NVIDIA_ARCHIVES = "cuda_nvrtc-linux-x86_64-${PV}-archive.tar.xz"

COMPATIBLE_MACHINE = "^sund-x86-64$"

do_install() {
    install -d ${D}${libdir}
    install -m 0755 ${S}/lib/libnvrtc.so.${PV} ${S}/lib/libnvrtc-builtins.so.${PV} ${D}${libdir}
    ln -s libnvrtc.so.${PV} ${D}${libdir}/libnvrtc.so.13
    ln -s libnvrtc-builtins.so.${PV} ${D}${libdir}/libnvrtc-builtins.so.13.5
}

RDEPENDS:${PN} = "nvidia-driver"
