"""The root file system: Debian's packages without what a box does not need, and our files; an erofs with its hash tree."""
import glob
import os
import shutil
import subprocess
from pathlib import Path

from . import debian, keys, store, surface
from .debian import inside
from .store import REPOSITORY, SOURCE, STORE, Failed, run

BLOCK = 4096
SLOT = 512 << 20
# The appliance, and what the twin alone has.
OVERLAYS = (SOURCE / "root", SOURCE / "qemu/guest")
VARIANTS = SOURCE / "qemu/variants"
PROGRAMS = ("sund", "sund-updater")
SOURCES = ("image/root", "image/initrd", "image/packages.txt", "image/programs.txt", "image/absent.txt", "image/qemu/guest",
           "image/qemu/variants", "agent", "ota", "kernels", "Cargo.lock")
# Fixed, so that the same files make the same bytes; a hash tree needs no secret salt.
UUID = "5a6d0010-7375-4e64-8000-000000000010"
SALT = "53756e64" * 8


def overlays(version):
    """Whose files lie over Debian's; `1.1.0-NAME` is a release with a fault of that name."""
    _, _, variant = version.partition("-")
    return [*OVERLAYS, *([VARIANTS / variant] if variant else [])]


def epoch():
    """The time of the build is that of the newest change of what goes into a box: its clock never goes back behind it."""
    return int(run("git", "-C", REPOSITORY, "log", "-1", "--format=%ct", "--", *SOURCES))


def built(name, *profiles):
    """The latest build of a program of this repository; what runs in a box is a release build."""
    paths = [REPOSITORY / "target" / profile / name for profile in profiles or ("release",)]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise Failed(f"{paths[0]} is not there: cargo build --release -p sund-agent, then with -p sund-ota -p sund-channel")
    return max(found, key=lambda path: path.stat().st_mtime)


def programs():
    """What runs in the box, without its symbols."""
    def make(folder):
        for name in PROGRAMS:
            run("strip", "-o", folder / name, built(name))
    return store.made("programs", [built(name).resolve() for name in PROGRAMS], make)


def image(version):
    """`root.img` and, for the command line, `verity`."""
    inputs = [debian.base(), debian.kernel(), programs(), keys.folder() / "release-ca.pem", *overlays(version), SOURCE / "programs.txt",
              SOURCE / "absent.txt", REPOSITORY / "agent/units", REPOSITORY / "ota/units", Path(__file__), Path(surface.__file__), version, epoch()]
    inputs[0] = (STORE / "base.of").read_text()
    inputs[1] = (STORE / "kernel.of").read_text()
    return store.made(f"root-{version}", inputs, lambda folder: make(folder, version))


def make(folder, version):
    tree = folder / "tree"
    run("cp", "-a", STORE / "base", tree)
    prune(tree)
    install(tree, version)
    inside("systemd-sysusers", f"--root=/work/{folder.name}/tree")
    inside("systemctl", f"--root=/work/{folder.name}/tree", "preset-all")
    (folder / "surface.txt").write_text("\n".join(surface.lines(tree, f"/work/{folder.name}/tree")) + "\n")
    released = folder.name
    inside("mkfs.erofs", "-zlz4hc", f"-T{epoch()}", f"-U{UUID}", "-x-1", f"/work/{released}/root.img", f"/work/{released}/tree")
    image = folder / "root.img"
    size = image.stat().st_size
    padded = -(-size // BLOCK) * BLOCK
    os.truncate(image, padded)
    told = inside("veritysetup", "format", "--no-superblock", f"--salt={SALT}", f"--hash-offset={padded}",
                  f"--data-blocks={padded // BLOCK}", f"/work/{released}/root.img", f"/work/{released}/root.img")
    root_hash = next(line.split()[-1] for line in told.splitlines() if line.startswith("Root hash:"))
    if image.stat().st_size > SLOT:
        raise Failed(f"the root has {image.stat().st_size >> 20} MB and its slot {SLOT >> 20}")
    (folder / "verity").write_text(f"{padded // 512},{padded // BLOCK},{padded // BLOCK},{root_hash},{SALT}")
    shutil.rmtree(tree)


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


def install(tree, version):
    kernel = debian.kernel()
    shutil.copytree(kernel / "usr/lib/modules", tree / "usr/lib/modules", symlinks=True, dirs_exist_ok=True)
    for overlay in overlays(version):
        shutil.copytree(overlay, tree, dirs_exist_ok=True, symlinks=True)
    units = tree / "usr/lib/systemd/system"
    for source in ("agent/units", "ota/units"):
        for path in sorted((REPOSITORY / source).glob("*")):
            if path.suffix in (".service", ".socket"):
                shutil.copy(path, units)
    shutil.copy(REPOSITORY / "agent/units/sund.sysusers", tree / "usr/lib/sysusers.d/sund.conf")
    for name in PROGRAMS:
        shutil.copy(programs() / name, tree / "usr/bin" / name)
    share = tree / "usr/share/sund"
    share.mkdir()
    shutil.copy(keys.folder() / "release-ca.pem", share / "release-ca.pem")
    release = tree / "usr/lib/os-release"
    release.write_text(f'NAME="Sund"\nID=sund\nID_LIKE=debian\nPRETTY_NAME="Sund {version}"\nIMAGE_ID=sund\nIMAGE_VERSION={version}\n'
                       f'VERSION_ID={version}\n')
    (tree / "etc/hostname").write_text("sund\n")
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (tree / "usr/lib/clock-epoch").touch()
    for name in ("etc/sund", "var", "efi"):
        (tree / name).mkdir(exist_ok=True)
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000:
            path.chmod(path.stat().st_mode & 0o1777)
    # Files of this repository have the mode of a checkout, whatever the umask of who made it.
    for overlay in overlays(version):
        for path in overlay.rglob("*"):
            if not path.is_symlink():
                os.chmod(tree / path.relative_to(overlay), 0o755 if path.is_dir() else 0o644)
