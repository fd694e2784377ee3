SUMMARY = "An update of the appliance with a shell: DEBUG, not for patients"

require sund-bundle.inc

# Neither box takes the other's.
RAUC_BUNDLE_COMPATIBLE = "sund-x86_64-debug"
SUND_BUNDLE_IMAGE = "sund-image-debug"
SUND_BUNDLE_KEYS = "${SUND_DEBUG_KEYS}"
