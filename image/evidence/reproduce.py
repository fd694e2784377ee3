"""Whether a root can be made again: built twice from nothing, in two places, and compared byte by byte."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from qemu import debian, keys
from qemu.debian import inside
from qemu.store import SOURCE, STORE, Failed

# What a root must not depend on: where it is built and by whom. Both builds have the keys, the tools and the programs of this checkout.
PLACES = {"first": {"umask": 0o022, "TZ": "UTC", "LANG": "C.UTF-8", "HOME": "/root"},
          "second-with-a-longer-name": {"umask": 0o077, "TZ": "Pacific/Kiritimati", "LANG": "C", "HOME": "/nonexistent"}}
SHARED = ("tools", "tools.of", "keys", "keys.of")
IMAGE = "root.img"


def run(version):
    """builds the root twice from nothing, in two places, and tells each difference"""
    debian.tools()
    keys.folder()
    shutil.rmtree(STORE / "reproduce", ignore_errors=True)
    images = [build(version, STORE / "reproduce" / name, dict(place)) for name, place in PLACES.items()]
    different = differences(*images)
    for line in different:
        print(line)
    if different:
        print(f"{len(different)} differences; both are kept in {STORE / 'reproduce'}")
        return 1
    print(f"the same to the bit: {images[0].stat().st_size} bytes, root hash {(images[0].parent / 'verity').read_text().split(',')[3]}")
    shutil.rmtree(STORE / "reproduce")
    return 0


def build(version, place, environment):
    place.mkdir(parents=True)
    for name in SHARED:
        (place / name).symlink_to(STORE / name)
    begun = time.monotonic()
    mask = environment.pop("umask")
    # cargo finds its crates by the home of who calls it.
    home = {name: os.environ.get(name, str(Path.home() / folder)) for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"))}
    ended = subprocess.run([sys.executable, SOURCE / "twin", "root"], umask=mask,
                           env={**os.environ, **home, **environment, "SUND_TWIN_STORE": str(place)})
    if ended.returncode:
        raise Failed(f"the root is not built in {place}")
    print(f"built in {place}, in {time.monotonic() - begun:.0f} s", flush=True)
    return place / f"root-{version}" / IMAGE


def differences(one, other):
    """A line for each file that differs in content, owner, mode, time or target; one for a layout that does."""
    if same(one, other):
        return []
    trees = [extracted(image) for image in (one, other)]
    lines = [f"{at}: {what}" for at, what in compared(*trees)]
    return lines or [f"the files are the same; where they lie in {IMAGE} is not"]


def same(one, other):
    return subprocess.run(["cmp", "--silent", one, other]).returncode == 0


def extracted(image):
    tree = image.parent / "extracted"
    at = f"/work/{image.parent.relative_to(STORE)}"
    inside("fsck.erofs", "--preserve", f"--extract={at}/extracted", f"{at}/{IMAGE}")
    return tree


def compared(one, other):
    """Path and what is different, of two trees."""
    paths = {str(path.relative_to(tree)) for tree in (one, other) for path in tree.rglob("*")}
    for at in sorted(paths):
        pair = [tree / at for tree in (one, other)]
        there = [os.path.lexists(path) for path in pair]
        if not all(there):
            yield at, f"only in the {'first' if there[0] else 'second'}"
            continue
        states = [path.lstat() for path in pair]
        for what, form in (("mode", "o"), ("uid", "d"), ("gid", "d"), ("mtime_ns", "d")):
            values = [getattr(state, f"st_{what}") for state in states]
            if values[0] != values[1]:
                yield at, f"{what} {values[0]:{form}} and {values[1]:{form}}"
        if all(path.is_symlink() for path in pair):
            if os.readlink(pair[0]) != os.readlink(pair[1]):
                yield at, f"to {os.readlink(pair[0])} and {os.readlink(pair[1])}"
        elif all(path.is_file() for path in pair) and not same(*pair):
            yield at, f"content, {states[0].st_size} and {states[1].st_size} bytes"
