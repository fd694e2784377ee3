SUMMARY = "An update of the appliance"

require sund-bundle.inc

RAUC_BUNDLE_COMPATIBLE = "sund-x86_64"
SUND_BUNDLE_IMAGE = "sund-image"
SUND_BUNDLE_KEYS = "${SUND_KEYS}"
