"""A part of an image: what somebody else made, under a name and a version that the world knows it by."""
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Part:
    # `package` of Debian, `crate` that is linked into a program of ours, `kernel`.
    kind: str
    name: str
    version: str
    # The purl: the part's name in the world.
    reference: str
    # An ecosystem of OSV, and the name and version under which it lists the part; Debian's records are of source packages.
    ecosystem: str
    source: str
    source_version: str
    # What has to be kept, in SPDX's form: as declared, and whether that is an expression or a list of which all hold.
    licences: tuple
    # Whether anything of it is in the image. Of some packages no file is left.
    present: bool
    # Programs of ours into which a crate is linked.
    programs: tuple = ()
    # SHA-256 of what was downloaded, where it is known.
    checksum: str = ""


def purl(kind, *path, version, **qualifiers):
    """Package URL: every segment percent-encoded, qualifiers in the order of their names."""
    name = "/".join(quote(segment, safe=".-_~") for segment in path)
    more = "&".join(f"{key}={quote(value, safe='.-_~')}" for key, value in sorted(qualifiers.items()))
    return f"pkg:{kind}/{name}@{quote(version, safe='.-_~')}{'?' if more else ''}{more}"
