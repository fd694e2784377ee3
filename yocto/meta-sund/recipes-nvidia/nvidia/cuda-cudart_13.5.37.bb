SUMMARY = "CUDA's runtime library"
DESCRIPTION = "TensorRT-RTX is linked against it. The agent's own kernels use the driver alone."
HOMEPAGE = "https://developer.nvidia.com/cuda-toolkit"

inherit nvidia_archive

NVIDIA_ARCHIVES = "cuda_cudart-linux-x86_64-${PV}-archive.tar.xz"

COMPATIBLE_MACHINE = "^sund-x86-64$"

do_install() {
    install -d ${D}${libdir}
    install -m 0755 ${S}/lib/libcudart.so.${PV} ${D}${libdir}
    ln -s libcudart.so.${PV} ${D}${libdir}/libcudart.so.13
}

RDEPENDS:${PN} = "nvidia-driver"
