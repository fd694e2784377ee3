SUMMARY = "DICOM node and pipeline of the appliance"
DESCRIPTION = "Receives DICOM, runs approved models in workers of their own, and returns the results to the PACS."

require sund.inc

inherit systemd useradd

# On a box with a GPU: the shim of TensorRT and the kernels of CUDA. Neither links anything of NVIDIA's.
PACKAGECONFIG ??= "${@'gpu' if d.getVar('SUND_GPU') == 'nvidia' else ''}"
PACKAGECONFIG[gpu] = "--features=tensorrt --features=fatbin,,cuda-nvcc-native"

TENSORRT_HEADERS = "${CARGO_VENDORING_DIRECTORY}/trtx-sys-0.9.1+rtx1.7/TensorRT-Headers"
export SUND_TENSORRT_RTX_INCLUDE = "${TENSORRT_HEADERS}/TRT-RTX-1.7:${TENSORRT_HEADERS}"
export SUND_TENSORRT_INCLUDE = "${TENSORRT_HEADERS}/TRT-Enterprise-11.4:${TENSORRT_HEADERS}"
export SUND_NVCC = "${STAGING_BINDIR_NATIVE}/cuda/bin/nvcc"

do_install:append() {
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/agent/units/sund.service ${S}/agent/units/sund-worker.socket \
        ${S}/agent/units/sund-worker@.service
    install -D -m 0644 ${S}/agent/units/sund.sysusers ${D}${nonarch_libdir}/sysusers.d/sund.conf
}

SYSTEMD_SERVICE:${PN} = "sund.service sund-worker.socket"
USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --home-dir ${localstatedir}/lib/sund --no-create-home --shell /sbin/nologin --user-group sund"
FILES:${PN} += "${systemd_system_unitdir} ${nonarch_libdir}/sysusers.d"
