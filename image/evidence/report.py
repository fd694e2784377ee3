"""What a build leaves beside an image: bill of materials, licences, vulnerabilities."""
import hashlib
import shutil
from datetime import datetime, timezone
from pathlib import Path

from qemu import appliance, boot, disk, root, store
from qemu.store import STORE, Failed, run

from . import assessments, contents, sbom, vulnerabilities

HERE = Path(__file__).parent


def made(version, database=None):
    """The folder `evidence-VERSION`; `database` is a file or folder of OSV records."""
    if database and not Path(database).exists():
        raise Failed(f"{database} is not there: give a folder or a zip of OSV records, or leave the option out")
    image, esp = root.image(version), boot.esp(version)
    # Of today: one that has ended is not applied any more, though nothing else has changed.
    given, ended = assessments.read(datetime.now(timezone.utc).date())
    made_of = [(STORE / f"{folder.name}.of").read_text() for folder in (image, esp)]
    inputs = [HERE, *made_of, version, Path(database) if database else "no database", *(str(one) for one in ended)]
    return store.made(f"evidence-{version}", inputs, lambda folder: make(folder, version, database, given, ended))


def make(folder, version, database, given, ended):
    image, esp, tree = STORE / f"root-{version}", STORE / f"esp-{version}", appliance.made()
    parts, ours, files, boots = contents.load(tree / "contents.json")
    artefacts = {"root.img": digest(image / "root.img"), "esp.img": digest(esp / "esp.img"), "verity": (image / "verity").read_text().split(",")[3]}
    told = sbom.document(version, appliance.epoch(), parts, ours, files, boots, artefacts)
    (folder / "sbom.cdx.json").write_text(sbom.written(told))
    known = vulnerabilities.Database(database, {part.ecosystem for part in parts}) if database else None
    statements = vulnerabilities.vex(parts, known, given) if known else []
    examined = f"OSV records, SHA-256 {known.digest}" if known else "not looked at: no database was given"
    (folder / "vulnerabilities.cdx.json").write_text(sbom.written(sbom.with_vulnerabilities(told, statements, examined)))
    (folder / "vulnerabilities.txt").write_text(vulnerabilities.table(parts, known, given, ended))
    shutil.copytree(tree / "licences", folder / "licences")
    for name in ("sbom.cdx.json", "vulnerabilities.cdx.json"):
        valid(folder / name)


def valid(file):
    """Holds a document against the schema of CycloneDX 1.6."""
    run(disk.python_tools() / "python", HERE / "schema.py", file)


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def summary(folder):
    """The first line of what was found, for the terminal."""
    return f"{folder}: sbom.cdx.json, licences/, vulnerabilities.txt\n{(folder / 'vulnerabilities.txt').read_text().splitlines()[0]}"
