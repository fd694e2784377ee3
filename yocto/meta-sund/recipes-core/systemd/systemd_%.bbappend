# The data partition is made and opened by the TPM: image/root/usr/lib/repart.d, image/root/etc/crypttab.
PACKAGECONFIG:append:sund = " cryptsetup openssl repart tpm2"
