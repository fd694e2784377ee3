SUMMARY = "CUDA's compiler"
DESCRIPTION = "Compiles the kernels ahead of time, on the machine that builds. It is no part of the image."
HOMEPAGE = "https://developer.nvidia.com/cuda-toolkit"

inherit nvidia_archive
inherit_defer native

NVIDIA_ARCHIVES = " \
    cuda_nvcc-linux-x86_64-${PV}-archive.tar.xz \
    cuda_crt-linux-x86_64-${PV}-archive.tar.xz \
    libnvvm-linux-x86_64-${PV}-archive.tar.xz \
    cuda_cudart-linux-x86_64-${PV}-archive.tar.xz \
"

do_install() {
    install -d ${D}${bindir}/cuda
    cp -r --no-preserve=ownership ${S}/. ${D}${bindir}/cuda
}
