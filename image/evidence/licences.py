"""The licences of an image for people: a page for each with who uses it, and the notices that have to go with the box."""
from qemu import debian
from qemu.store import STORE

from . import crates, packages, policy

# What Debian keeps once for all packages; a licence's page ends with it where it is there.
COMMON = "usr/share/common-licenses"
LINE = "-" * 100


def write(folder, parts, ours):
    """`by-licence/NAME.txt`, `notices/debian/PACKAGE.txt` and `notices/crates.txt`, of what is in the image."""
    pages, notices = folder / "by-licence", folder / "notices/debian"
    pages.mkdir(parents=True)
    notices.mkdir(parents=True)
    for name, users in sorted(by_licence([*parts, *ours]).items()):
        (pages / f"{name}.txt").write_text(page(name, users))
    for part in parts:
        if part.present and part.kind != "crate":
            (notices / f"{part.name}.txt").write_text(copyright_text(part.name))
    (folder / "notices/crates.txt").write_text(crate_notices([part for part in [*parts, *ours] if part.kind == "crate"]))


def by_licence(parts):
    found = {}
    for part in parts:
        if part.present:
            for name in policy.used(part):
                found.setdefault(name, []).append(part)
    return found


def page(name, users):
    """Who uses a licence, and its text where Debian has it in one place."""
    lines = [name, "=" * len(name)]
    for title, kinds in (("Crates", ("crate",)), ("Debian's packages", ("package",)), ("Kernel", ("kernel",))):
        names = sorted(f"{part.name} {part.version}" for part in users if part.kind in kinds)
        if names:
            lines += ["", f"{title}:", *(f"  {one}" for one in names)]
    lines += ["", "The notices of each are in notices/crates.txt and notices/debian/."]
    text = STORE / "base" / COMMON / name.removesuffix("-only").removesuffix("-or-later").removesuffix(".0")
    if not text.is_file():
        text = text.with_name(name)
    if text.is_file():
        lines += ["", LINE, "", text.read_text(errors="replace").rstrip()]
    return "\n".join(lines) + "\n"


def copyright_text(package):
    """Of the root, of what starts before it, or of the kernel: a package is in one of them."""
    for root in (STORE / "base", STORE / "tools", debian.kernel()):
        if (root / "usr/share/doc" / package / "copyright").is_file():
            break
    return packages.copyright_file(root, package).read_text(errors="replace")


def crate_notices(parts):
    """Each distinct text once, under the crates that bring it."""
    bearers, silent = {}, []
    for part in sorted(parts, key=lambda part: (part.name, part.version)):
        texts = crates.texts(part.name, part.version)
        for text in texts:
            bearers.setdefault(text, []).append(f"{part.name} {part.version}")
        if not texts:
            silent.append(f"{part.name} {part.version}: {part.licences[0]}")
    lines = ["Crates that declare a licence and bring no text of it:", "", *silent]
    for text, names in sorted(bearers.items(), key=lambda item: item[1]):
        lines += ["", LINE, ", ".join(names), LINE, "", text]
    return "\n".join(lines) + "\n"
