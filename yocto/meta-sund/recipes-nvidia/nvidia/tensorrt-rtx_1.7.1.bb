SUMMARY = "TensorRT-RTX"
DESCRIPTION = "Runs the compiled networks. The agent opens it at run time and checks its version before anything else."
HOMEPAGE = "https://developer.nvidia.com/tensorrt-rtx"

inherit nvidia_archive

# The name differs from release to release: the integrator's, with one folder at its top that holds LICENSE and lib.
NVIDIA_ARCHIVES ?= "TensorRT-RTX-${PV}-Linux-x86_64-cuda-13.tar.gz"

COMPATIBLE_MACHINE = "^sund-x86-64$"

# Where `[worker] tensorrt_rtx` of the configuration looks for it. A box compiles what a package brings no plan of: the parser lies beside it.
do_install() {
    install -d ${D}${libdir}/sund
    install -m 0755 ${S}/lib/libtensorrt_rtx.so.1 ${S}/lib/libtensorrt_onnxparser_rtx.so.1 ${D}${libdir}/sund
}

FILES:${PN} += "${libdir}/sund"
RDEPENDS:${PN} = "cuda-cudart nvidia-driver"
