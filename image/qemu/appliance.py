"""The files of every release: Debian's packages without what a box does not need, and ours."""
import glob
import json
import os
import re
import shutil
from pathlib import Path

from evidence import contents, licences

from . import debian, keys, place, store, surface
from .debian import inside
from .store import REPOSITORY, SOURCE, STORE, Failed, run

# The appliance, and what the twin alone has.
OVERLAYS = (SOURCE / "root", SOURCE / "qemu/guest")
PROGRAMS = ("sund", "sund-updater")
# In the initrd; its folder below target/.
RESCUE = "sund-rescue"
STATIC = "x86_64-unknown-linux-musl/rescue"
# What the pages of licences in the root are made by.
LICENCES = ("contents.py", "crates.py", "licences.py", "licences.toml", "packages.py", "parts.py", "policy.py")
SOURCES = ("image/root", "image/initrd", "image/*.txt", "image/evidence/licences.toml", "image/qemu/guest", "image/qemu/variants",
           "agent", "ota", "kernels", "Cargo.lock")


def made():
    """`tree`, and what is said of it: `surface.txt`, `contents.json` and `licences`."""
    debian.all()
    keys.folder()
    inputs = [*((STORE / f"{name}.of").read_text() for name in ("tools", "base", "kernel", "keys")), programs(), *OVERLAYS,
              SOURCE / "programs.txt", SOURCE / "absent.txt", REPOSITORY / "agent/units", REPOSITORY / "ota/units", Path(__file__),
              Path(surface.__file__), Path(place.__file__), epoch(), *(SOURCE / "evidence" / name for name in LICENCES),
              REPOSITORY / "Cargo.lock", REPOSITORY / ".deny.toml"]
    return store.made("tree", inputs, make)


def make(folder):
    tree = folder / "tree"
    run("cp", "-a", STORE / "base", tree)
    prune(tree)
    install(tree)
    evidence(folder, tree)
    at = f"/work/{folder.name}/tree"
    without_accounts(tree)
    inside("systemd-sysusers", f"--root={at}", env={"SOURCE_DATE_EPOCH": str(epoch())})
    inside("systemctl", f"--root={at}", "preset-all")
    (folder / "surface.txt").write_text("\n".join(surface.lines(tree, at)) + "\n")


def without_accounts(tree):
    """Accounts for which this repository has numbers are made anew with those."""
    ours = [name for file in (tree / "usr/lib/sysusers.d").glob("*sund*.conf") for name in re.findall(r"^[ug] (\S+) \d", file.read_text(), re.M)]
    for name in ("passwd", "group", "shadow", "gshadow"):
        file = tree / "etc" / name
        file.write_text("".join(line for line in file.read_text().splitlines(True) if line.partition(":")[0] not in ours))
        (tree / f"etc/{name}-").unlink(missing_ok=True)


def epoch():
    """The time of the build is that of the newest change of what goes into a box: its clock never goes back behind it."""
    return int(os.environ.get("SUND_TWIN_EPOCH") or run("git", "-C", REPOSITORY, "log", "-1", "--format=%ct", "--", *SOURCES))


def built(name, *profiles):
    """The latest build of a program of this repository; what runs in a box is a release build."""
    paths = [REPOSITORY / "target" / profile / name for profile in profiles or ("release",)]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise Failed(f"{paths[0]} is not there: build what README.md names under \"Try it\"")
    return max(found, key=lambda path: path.stat().st_mtime)


def programs():
    """What runs in the box, without its symbols."""
    found = {**{name: built(name).resolve() for name in PROGRAMS}, RESCUE: built(RESCUE, STATIC).resolve()}
    # Another build of it, to be compared with.
    if "SUND_TWIN_AGENT" in os.environ:
        found["sund"] = Path(os.environ["SUND_TWIN_AGENT"])
    def make(folder):
        for name, path in found.items():
            run("strip", "-o", folder / name, path)
    return store.made("programs", list(found.values()), make)


def evidence(folder, tree):
    """What is in the tree, for the bill of materials; its licences, which go with the box."""
    read = contents.read(tree, {name: programs() / name for name in (*PROGRAMS, RESCUE)})
    (folder / "contents.json").write_text(json.dumps(read, indent=1))
    parts, ours, _, _ = contents.load(folder / "contents.json")
    licences.write(folder / "licences", parts, ours)
    shutil.copytree(folder / "licences", tree / "usr/share/sund/licences")


def prune(tree):
    allowed = set(debian.names("programs.txt"))
    for directory in ("usr/bin", "usr/sbin"):
        for path in (tree / directory).iterdir():
            if path.name not in allowed:
                path.unlink()
    for pattern in debian.names("absent.txt"):
        for found in glob.glob(str(tree / pattern)):
            path = Path(found)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def install(tree):
    kernel = debian.kernel()
    shutil.copytree(kernel / "usr/lib/modules", tree / "usr/lib/modules", symlinks=True, dirs_exist_ok=True)
    for overlay in OVERLAYS:
        lay(overlay, tree)
    units = tree / "usr/lib/systemd/system"
    for source in ("agent/units", "ota/units"):
        for path in sorted((REPOSITORY / source).glob("*")):
            if path.suffix in (".service", ".socket"):
                shutil.copy(path, units)
    shutil.copy(REPOSITORY / "agent/units/sund.sysusers", tree / "usr/lib/sysusers.d/sund.conf")
    for name in PROGRAMS:
        shutil.copy(programs() / name, tree / "usr/bin" / name)
    share = tree / "usr/share/sund"
    share.mkdir(exist_ok=True)
    shutil.copy(keys.folder() / "release-ca.pem", share / "release-ca.pem")
    shutil.copy(keys.folder() / "provisioning.pub", share / "provisioning.pem")
    (tree / "etc/hostname").write_text("sund\n")
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    for name in ("etc/sund", "var", "efi"):
        (tree / name).mkdir(exist_ok=True)
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000:
            path.chmod(path.stat().st_mode & 0o1777)


def lay(overlay, tree):
    """Puts files of this repository over a tree. They have the mode of a checkout, whatever the umask of who made it."""
    def place(source, target):
        # What is there may be a link, and it is not written through.
        Path(target).unlink(missing_ok=True)
        return shutil.copy2(source, target)
    shutil.copytree(overlay, tree, dirs_exist_ok=True, symlinks=True, copy_function=place)
    for path in overlay.rglob("*"):
        if not path.is_symlink():
            os.chmod(tree / path.relative_to(overlay), 0o755 if path.is_dir() else 0o644)
