# What changes with each release is compressed by it: sund_slot.bbclass.
DEPENDS:append:sund = " zstd"
EXTRA_OECONF:append:sund = " --with-libzstd"
