"""What is in a root: parts of others, programs of ours, and the digest of every program and library."""
import hashlib
import json
from dataclasses import asdict

from qemu import debian
from qemu.store import STORE, Failed

from . import crates, packages, policy
from .parts import Part

# What starts before the root is there, of the chroot of the tools: in the initrd, and systemd's stub before the kernel.
BOOT = ("/usr/bin/busybox", "/usr/sbin/dmsetup", "/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
MODULES = "usr/lib/modules"
# Ours that lies in the initrd.
RESCUE = "sund-rescue"


def read(tree, programs):
    """`parts`, `ours` and `files` of a tree that has become a root; `programs` are the paths of ours by name."""
    parts, ours = crates.parts(programs)
    base, tools = STORE / "base", STORE / "tools"
    found = {}
    for fields in packages.installed(base):
        present = any((tree / at).is_symlink() or (tree / at).is_file() for at in packages.files(base, fields))
        add(found, packages.part(fields, licences(base, fields["Package"], present), present))
    booted = started_first(tools)
    for fields in packages.installed(tools):
        if fields["Package"] in booted:
            add(found, packages.part(fields, licences(tools, fields["Package"], True), True))
    control = next(packages.stanzas((debian.kernel() / "control").read_text()))
    add(found, packages.part(control, licences(debian.kernel(), control["Package"], True), True))
    places = {f"boot:/bin/{name}" if name == RESCUE else f"/usr/bin/{name}" for name in programs}
    listed = [*files(tree, base), *boot_files(tools, control["Package"], programs[RESCUE])]
    parts = sorted([*parts, *found.values()], key=lambda part: part.reference)
    refused = policy.refused([*parts, *ours])
    refused += [f"{file['path']} is of no package and none of ours" for file in listed if not file["package"] and file["path"] not in places]
    if refused:
        raise Failed("; ".join(refused))
    return {"parts": [asdict(part) for part in parts], "ours": [asdict(part) for part in ours], "files": listed, "boot": sorted(booted)}


def licences(root, package, present):
    """Of a package of which nothing is left, nothing has to be kept."""
    return packages.licences(root, package) if present else ()


def add(found, part):
    """A package that is in the initrd and in the root is one part."""
    known = found.get(part.reference)
    if not known or part.present:
        found[part.reference] = part


def started_first(tools):
    """The packages of what is started before the root."""
    return {package for _, package in boot_owners(tools)}


def boot_owners(tools):
    """Path and package of each file that is taken from the tools."""
    owner = packages.owners(tools)
    for path in [*BOOT, *debian.libraries(BOOT[1])]:
        at = path if path.startswith("/usr/") else f"/usr{path}"
        if at.lstrip("/") not in owner:
            raise Failed(f"{path} starts before the root, and is of no package")
        yield at, owner[at.lstrip("/")]


def files(tree, base):
    """Every program and library of a root, kernel modules apart: path, package and SHA-256."""
    owner = packages.owners(base)
    for path in sorted(tree.rglob("*")):
        at = str(path.relative_to(tree))
        if path.is_file() and not path.is_symlink() and not at.startswith(MODULES):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    file.seek(0)
                    yield {"path": f"/{at}", "package": owner.get(at, ""), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def boot_files(tools, kernel, rescue):
    """What is in the signed file that the firmware starts, as `boot:PATH`."""
    yield {"path": f"boot:/bin/{RESCUE}", "package": "", "sha256": hashlib.sha256(rescue.read_bytes()).hexdigest()}
    taken = [*((tools, path, package) for path, package in boot_owners(tools)),
             (debian.kernel(), f"/boot/vmlinuz-{debian.release(debian.kernel())}", kernel)]
    for root, path, package in taken:
        with (root / path.lstrip("/")).open("rb") as file:
            yield {"path": f"boot:{path}", "package": package, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def load(file):
    """What `read` gave, from a file: (parts, ours, files, packages that start first)."""
    told = json.loads(file.read_text())
    parts, ours = ([Part(**{**part, "licences": tuple(part["licences"]), "programs": tuple(part["programs"])}) for part in told[name]]
                   for name in ("parts", "ours"))
    return parts, ours, told["files"], told["boot"]
