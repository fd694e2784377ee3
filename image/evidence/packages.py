"""Debian's packages of an unpacked root: dpkg's own list of them, what they say of their licences, and which of their files are left."""
import re
from pathlib import Path

from qemu.debian import FROM_NEWER, NEWER, SUITE
from qemu.store import Failed

from . import policy
from .parts import Part, purl

# OSV's names of Debian's releases.
ECOSYSTEMS = {SUITE: "Debian:13", NEWER: "Debian:14"}
# The signed kernel is built of the same sources under another name; the security tracker knows the first.
SIGNED_OF = {"linux-signed-amd64": "linux"}
# Of a merged /usr: where dpkg's lists have the old places.
MERGED = ("bin", "sbin", "lib", "lib64")


def stanzas(text):
    """Fields of each paragraph of a Debian control file; a line that begins with a space goes on with the field before."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields, name = {}, None
        for line in paragraph.splitlines():
            if line[:1] in " \t" and name:
                fields[name] += f"\n{line.strip()}"
            elif ":" in line and not line.startswith("#"):
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def installed(root):
    """The stanza of each installed package."""
    for fields in stanzas((root / "var/lib/dpkg/status").read_text()):
        if fields.get("Status", "").split()[-1:] == ["installed"]:
            yield fields


def files(root, fields):
    """Where the package's files lie in a merged /usr, without what is a folder."""
    info = root / "var/lib/dpkg/info"
    name = fields["Package"]
    listed = next((path for path in (info / f"{name}.list", info / f"{name}:{fields['Architecture']}.list") if path.is_file()), None)
    if not listed:
        raise Failed(f"dpkg has no list of the files of {name}")
    for line in listed.read_text().splitlines():
        first, _, rest = line.lstrip("/").partition("/")
        at = f"usr/{first}/{rest}" if first in MERGED and rest else line.lstrip("/")
        if rest and not (root / at).is_dir():
            yield at


def owners(root):
    """Which package a file is of."""
    return {at: fields["Package"] for fields in installed(root) for at in files(root, fields)}


def part(fields, licences, present):
    """A Debian package, or the kernel, from its control stanza."""
    name, version = fields["Package"], fields["Version"]
    source = re.fullmatch(r"(\S+)(?: \((\S+)\))?", fields.get("Source", name))
    source_name, source_version = source[1], source[2] or version
    suite = NEWER if name in FROM_NEWER else SUITE
    if source_name in SIGNED_OF:
        # 6.12.1+1 was made of 6.12.1-1.
        source_name, source_version = SIGNED_OF[source_name], re.sub(r"\+(\d+)$", r"-\1", source_version)
    return Part(kind="kernel" if name.startswith("linux-image") else "package", name=name, version=version,
                reference=purl("deb", "debian", name, version=version, arch=fields["Architecture"], distro=suite),
                ecosystem=ECOSYSTEMS[suite], source=source_name, source_version=source_version, licences=licences, present=present)


def copyright_file(root, name):
    """The package's own text on its licences; some packages have that of a sibling."""
    path = root / "usr/share/doc" / name / "copyright"
    if not path.is_file():
        raise Failed(f"{name} brings no copyright file: it has no known licence")
    return path


def licences(root, name):
    """What a package's copyright file says, where a machine can read it; else what a person has read there (`licences.toml`)."""
    read = policy.read_by_hand(name)
    if read:
        return read
    found = set()
    text = copyright_file(root, name).read_text(errors="replace")
    if re.match(r"\s*Format(-Specification)?:", text):
        for fields in stanzas(text):
            # The paragraphs that speak of files; one with a licence alone is the text that these refer to.
            if "License" in fields and ("Files" in fields or "Format" in fields):
                found.update(policy.debian_terms(fields["License"].splitlines()[0] if fields["License"] else ""))
    if not found:
        raise Failed(f"{name}: no machine can read its licence in {copyright_file(root, name)}; read it and add it to image/evidence/licences.toml")
    return tuple(sorted(found))
