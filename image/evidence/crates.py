"""Crates that are linked into the programs of an image, from Cargo.lock and what cargo resolves of it for the target."""
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

from qemu.store import REPOSITORY, Failed

from .parts import Part, purl

TARGET = "x86_64-unknown-linux-gnu"
# The package of each program.
PROGRAMS = {"sund": "sund-agent", "sund-updater": "sund-ota", "sund-rescue": "sund-rescue"}
# What rustc links into every program, under the licence of its sources.
STANDARD_LIBRARY = "MIT OR Apache-2.0"


def cargo(*arguments):
    ended = subprocess.run(["cargo", *arguments, "--locked"], cwd=REPOSITORY, capture_output=True, text=True)
    if ended.returncode:
        raise Failed(f"cargo {' '.join(arguments)}: {ended.stderr.strip()[-2000:]}")
    return ended.stdout


def linked(package):
    """Name and version of what is linked: no build scripts, no procedural macros, only this target, only this package's features."""
    told = cargo("tree", "-p", package, "-e", "normal,no-proc-macro", "--target", TARGET, "--prefix", "none", "-f", "{p}")
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in told.splitlines() if line}


@cache
def described():
    """What each crate says of itself, by name and version."""
    told = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", TARGET))
    return {(package["name"], package["version"]): package for package in told["packages"]}


def checksums():
    lock = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())
    return {(package["name"], package["version"]): package.get("checksum", "") for package in lock["package"]}


def compiler(program):
    """The version of rustc that a program was made by, as it says itself."""
    found = re.search(rb"rustc version (\d+\.\d+\.\d+)", program.read_bytes())
    if not found:
        raise Failed(f"{program} does not tell by which rustc it was made")
    return found[1].decode()


def parts(programs):
    """The parts of the programs, given as paths by name; and ours, apart: (others', ours)."""
    users = {}
    for name, path in programs.items():
        for crate in linked(PROGRAMS[name]):
            users.setdefault(crate, set()).add(name)
    sums = checksums()
    others, ours = [], []
    for (name, version), by in sorted(users.items()):
        package = described()[name, version]
        (others if package["source"] else ours).append(crate_part(name, version, expression(package), by, sums[name, version]))
    for version in sorted({compiler(path) for path in programs.values()}):
        by = {name for name, path in programs.items() if compiler(path) == version}
        others.append(crate_part("std", version, STANDARD_LIBRARY, by, ""))
    return others, ours


def crate_part(name, version, licence, programs, checksum):
    return Part(kind="crate", name=name, version=version, reference=purl("cargo", name, version=version), ecosystem="crates.io", source=name,
                source_version=version, licences=(licence,), present=True, programs=tuple(sorted(programs)), checksum=checksum)


def expression(package):
    """The crate's licence as an SPDX expression; a slash is how it was once written."""
    if not package["license"]:
        raise Failed(f"the crate {package['name']} {package['version']} declares no licence")
    return re.sub(r"\s*/\s*", " OR ", package["license"])


def texts(name, version):
    """The texts on licences and copyright that a crate brings."""
    package = described().get((name, version))
    if not package:
        return []
    folder = Path(package["manifest_path"]).parent
    named = [path for path in folder.iterdir() if re.match(r"(?i)(un)?licen[cs]e|copying|copyright|notice", path.name) and path.is_file()]
    declared = package["license_file"]
    if declared and (folder / declared).is_file():
        named.append(folder / declared)
    return [path.read_text(errors="replace").strip() for path in sorted(set(named)) if path.suffix not in (".rs", ".toml")]
