"""The root file system of a release: the tree that all have, its version, and an erofs of it with its hash tree."""
import os
import shutil
from pathlib import Path

from . import appliance, store
from .debian import inside
from .store import SOURCE, STORE, Failed, run

BLOCK = 4096
SLOT = 256 << 20
# With all that the twin has; what NVIDIA's drivers and engines add comes on top.
LARGEST = 250_000_000
# Releases with a fault.
VARIANTS = SOURCE / "qemu/variants"
# Fixed, so that the same files make the same bytes: a hash tree needs no secret salt.
SALT = "53756e64" * 8
MKFS = SOURCE / "mkfs-root"


def image(version):
    """`root.img` and, for the command line, `verity`. `1.1.0-NAME` is a release with the fault of that name."""
    common = appliance.made()
    _, _, variant = version.partition("-")
    fault = [VARIANTS / variant] if variant else []
    inputs = [(STORE / "tree.of").read_text(), Path(__file__), MKFS, version, *fault]
    return store.made(f"root-{version}", inputs, lambda folder: make(folder, common, version, fault))


def make(folder, common, version, fault):
    files = folder / "tree"
    run("cp", "-a", "--reflink=auto", common / "tree", files)
    for overlay in fault:
        appliance.lay(overlay, files)
    (files / "usr/lib/os-release").write_text(f'NAME="Sund"\nID=sund\nID_LIKE=debian\nPRETTY_NAME="Sund {version}"\nIMAGE_ID=sund\n'
                                              f'IMAGE_VERSION={version}\nVERSION_ID={version}\n')
    at = f"/work/{folder.name}"
    inside("/image/mkfs-root", f"{at}/tree", f"{at}/root.img", str(appliance.epoch()), "-x-1")
    image = folder / "root.img"
    size = image.stat().st_size
    padded = -(-size // BLOCK) * BLOCK
    os.truncate(image, padded)
    told = inside("veritysetup", "format", "--no-superblock", f"--salt={SALT}", f"--hash-offset={padded}",
                  f"--data-blocks={padded // BLOCK}", f"{at}/root.img", f"{at}/root.img")
    root_hash = next(line.split()[-1] for line in told.splitlines() if line.startswith("Root hash:"))
    if image.stat().st_size > min(LARGEST, SLOT):
        raise Failed(f"the root has {image.stat().st_size / 1e6:.0f} MB; {LARGEST / 1e6:.0f} are allowed, and its slot has {SLOT / 1e6:.0f}")
    (folder / "verity").write_text(f"{padded // 512},{padded // BLOCK},{padded // BLOCK},{root_hash},{SALT}")
    shutil.rmtree(files)
