"""The least that a box fetches for a change of the agent: blocks of a release that the release before does not have, and the lists of their hashes.
What lies around them in the bundle, and its hash tree, come on top: the updater's log says what it was."""
import hashlib
import os
from pathlib import Path

from . import appliance, boot, disk, root
from .store import Failed

BEFORE, AFTER = "1.0.0", "1.1.0"
# Of a bundle, for a change in the agent's source.
MOST = 0.15
# A release is of a later day than the one before, and its files say so.
DAY = 86400
# A SHA-256 for each block: RAUC fetches the whole list.
HASH = 32


def run(agent):
    """builds a release with another build of the agent, and tells what a box that runs it fetches for the present one"""
    if not agent.is_file():
        raise Failed(f"{agent} is not there: it is the agent's program before the change, built in this folder")
    before = images(BEFORE, {"SUND_TWIN_AGENT": str(agent.resolve()), "SUND_TWIN_EPOCH": str(appliance.epoch() - DAY)})
    after = images(AFTER, {})
    bundle = (disk.bundle(AFTER) / "bundle.raucb").stat().st_size
    total = 0
    for image, earlier in zip(after, before):
        blocks, new = compared(image, earlier)
        total += new * root.BLOCK + blocks * HASH
        print(f"{image.name}: {new} of {blocks} blocks are new, {new * root.BLOCK / 1e6:.1f} MB; the list of their hashes has {blocks * HASH / 1e6:.1f} MB")
    print(f"fetched at least: {total / 1e6:.1f} MB, {total / bundle:.1%} of a bundle of {bundle / 1e6:.1f} MB; {MOST:.0%} are allowed")
    return int(total > MOST * bundle)


def images(version, settings):
    """Root and ESP of a release that is made with these settings."""
    os.environ.update(settings)
    try:
        return root.image(version) / "root.img", boot.esp(version) / "esp.img"
    finally:
        for name in settings:
            del os.environ[name]


def compared(image, before):
    """Blocks of an image, and how many of them are nowhere in the one before."""
    known = set(hashes(before))
    found = list(hashes(image))
    return len(found), sum(block not in known for block in found)


def hashes(image: Path):
    with image.open("rb") as file:
        while block := file.read(root.BLOCK):
            yield hashlib.sha256(block).digest()
