FILESEXTRAPATHS:prepend:sund-x86-64 := "${THISDIR}/files:"

COMPATIBLE_MACHINE:sund-x86-64 = "^sund-x86-64$"
KMACHINE:sund-x86-64 = "common-pc-64"
KBRANCH:sund-x86-64 = "v6.18/standard/base"

SRC_URI:append:sund-x86-64 = " \
    file://lockdown.cfg \
    file://verity.cfg \
    file://module-signing.cfg \
    file://hardening.cfg \
    file://server.cfg \
"

# One key signs the kernel's own modules and NVIDIA's, in this build. It is the integrator's.
do_configure:append:sund-x86-64() {
    if [ ! -r "${SUND_KEYS}/modules.pem" ]; then
        bbfatal "SUND_KEYS names no folder with modules.pem, the key that signs kernel modules: see yocto/README.md"
    fi
    install -D -m 0600 ${SUND_KEYS}/modules.pem ${B}/certs/signing_key.pem
}
