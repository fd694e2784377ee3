"""The twin: the appliance of image/ built of Debian's packages, and a machine for it in QEMU."""
