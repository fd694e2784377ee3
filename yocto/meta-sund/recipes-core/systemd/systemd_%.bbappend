# The data partition is made and opened by the TPM: image/root/usr/lib/repart.d, image/root/etc/crypttab.
PACKAGECONFIG:append:sund = " cryptsetup openssl repart tpm2"
# No login on a serial line, whatever the command line of the kernel calls a console.
PACKAGECONFIG:remove:sund = "serial-getty-generator"
# The firewall lets nobody but systemd-resolved ask a name server.
RESOLV_CONF:sund = "stub-resolv"
