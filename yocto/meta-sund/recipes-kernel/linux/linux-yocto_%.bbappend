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

# One key signs the kernel's own modules and NVIDIA's, in this build. It is the integrator's. Not by the name certs/signing_key.pem:
# over that one the kernel's build writes a key of its own.
do_configure:append:sund-x86-64() {
    if [ ! -r "${SUND_KEYS}/modules.pem" ]; then
        bbfatal "SUND_KEYS names no folder with modules.pem, the key that signs kernel modules: see yocto/README.md"
    fi
    install -D -m 0600 ${SUND_KEYS}/modules.pem ${B}/certs/sund_modules.pem
}

# kconfig leaves out, or makes a module of, what something else does not allow, and says so in a warning at most.
do_configure:append:sund-x86-64() {
    lost=
    for fragment in lockdown verity module-signing hardening server; do
        while read -r line; do
            option=${line#"# "}
            option=${option%%[= ]*}
            case "$line" in
            CONFIG_*) grep -qxF "$line" ${B}/.config || lost="$lost $line" ;;
            "# CONFIG_"*" is not set") if grep -q "^$option=" ${B}/.config; then lost="$lost no-$option"; fi ;;
            esac
        done < ${UNPACKDIR}/$fragment.cfg
    done
    if [ -n "$lost" ]; then
        bbfatal "the kernel would be built otherwise than its fragments say:$lost"
    fi
}

# Where the modules of other recipes are signed.
do_shared_workdir:append:sund-x86-64() {
    install -D -m 0600 ${B}/certs/sund_modules.pem $kerneldir/certs/sund_modules.pem
}
