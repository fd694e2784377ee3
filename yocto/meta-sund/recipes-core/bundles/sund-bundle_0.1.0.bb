SUMMARY = "An update of the appliance"
DESCRIPTION = "Both halves of a slot, as image/rauc/manifest.raucm names them, signed by the release key."
LICENSE = "Apache-2.0"

inherit bundle

RAUC_BUNDLE_COMPATIBLE = "sund-x86_64"
RAUC_BUNDLE_VERSION = "${DISTRO_VERSION}"
RAUC_BUNDLE_FORMAT = "verity"

RAUC_BUNDLE_SLOTS = "esp root"
# Adaptive: a box fetches only the blocks that it does not have.
RAUC_SLOT_esp = "sund-image"
RAUC_SLOT_esp[type] = "file"
RAUC_SLOT_esp[file] = "sund-image-esp.img"
RAUC_SLOT_esp[rename] = "esp.img"
RAUC_SLOT_esp[depends] = "sund-image:do_image_complete"
RAUC_SLOT_esp[adaptive] = "block-hash-index"
RAUC_SLOT_root = "sund-image"
RAUC_SLOT_root[type] = "file"
RAUC_SLOT_root[file] = "sund-image-root.img"
RAUC_SLOT_root[rename] = "root.img"
RAUC_SLOT_root[depends] = "sund-image:do_image_complete"
RAUC_SLOT_root[adaptive] = "block-hash-index"

# Not the key of the channel: whoever can list what is to be installed cannot make it.
RAUC_KEY_FILE = "${SUND_KEYS}/release.key"
RAUC_CERT_FILE = "${SUND_KEYS}/release.pem"
RAUC_KEYRING_FILE = "${SUND_KEYS}/release-ca.pem"
