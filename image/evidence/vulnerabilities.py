"""Known vulnerabilities of what is in an image, from a file of OSV records; nothing is asked of the network.

What was not looked at is never told as clean: no database, an ecosystem of which the database has nothing and a record that cannot be
read are each said.
"""
import hashlib
import json
import zipfile
from pathlib import Path

from qemu.store import Failed

from . import assessments, versions

# Against a database that was made to fill the memory.
MOST_RECORDS = 2_000_000
LARGEST_RECORD = 16 << 20

WHERE = "https://osv.dev/vulnerability/"
ORDER = {"Debian": versions.debian, "crates.io": versions.semver}


class Database:
    """OSV records by ecosystem and package, of the ecosystems that are asked for."""

    def __init__(self, path, ecosystems):
        self.path = Path(path)
        self.by_package = {}
        self.counts = dict.fromkeys(ecosystems, 0)
        self.newest = ""
        total = hashlib.sha256()
        for number, (name, content) in enumerate(records(self.path)):
            if number >= MOST_RECORDS:
                raise Failed(f"{path} has more than {MOST_RECORDS} records")
            total.update(hashlib.sha256(content).digest())
            try:
                self.take(json.loads(content))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Failed(f"{name} is no OSV record ({error!r}): fetch the database again") from error
        self.digest = total.hexdigest()

    def take(self, record):
        if record.get("withdrawn"):
            return
        self.newest = max(self.newest, record["modified"])
        ecosystems = {affected["package"]["ecosystem"] for affected in record.get("affected", []) if "package" in affected}
        for ecosystem in ecosystems & self.counts.keys():
            self.counts[ecosystem] += 1
        for affected in record.get("affected", []):
            package = affected.get("package", {})
            if package.get("ecosystem") in self.counts:
                self.by_package.setdefault((package["ecosystem"], package["name"]), []).append((record, affected))

    def of(self, ecosystem, name):
        return self.by_package.get((ecosystem, name), [])


def records(path):
    """Name and bytes of each record, in a fixed order: of a folder, of a zip as osv.dev gives it for each ecosystem, of zips in a folder."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.suffix in (".json", ".zip"):
                yield from records(inner)
    elif path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
                    if entry.filename.endswith(".json"):
                        bounded(entry.file_size, f"{path}: {entry.filename}")
                        yield f"{path}: {entry.filename}", archive.read(entry)
        except zipfile.BadZipFile as error:
            raise Failed(f"{path} is no zip file: fetch the database again") from error
    elif path.is_file():
        bounded(path.stat().st_size, path)
        yield str(path), path.read_bytes()
    else:
        raise Failed(f"{path} is not there: give a folder or a zip of OSV records, or leave the option out")


def bounded(size, name):
    if size > LARGEST_RECORD:
        raise Failed(f"{name} has more than {LARGEST_RECORD >> 20} MB: no OSV record is that long")


def is_affected(version, affected, order):
    """The evaluation of the OSV schema: listed by name, or within a range of its ecosystem's order."""
    if version in affected.get("versions", []):
        return True
    return any(within(version, events, order) for events in ordered(affected))


def ordered(affected):
    """The events of each range that goes by versions; one that goes by commits says nothing of a package."""
    return [one["events"] for one in affected.get("ranges", []) if one["type"] in ("SEMVER", "ECOSYSTEM")]


def within(version, events, order):
    at = order(version)
    inside = False
    # Of two events at one version the introduction counts last: better one finding too many.
    steps = [step for event in events for step in event.items()]
    for word, bound in sorted(steps, key=lambda step: (*key_of(step[1], order), step[0] == "introduced")):
        _, key = key_of(bound, order)
        if word == "introduced" and (bound == "0" or at >= key):
            inside = True
        elif word == "fixed" and at >= key or word == "last_affected" and at > key:
            inside = False
    return inside


def key_of(bound, order):
    """`0` is before every version, whatever the order."""
    return (0, ()) if bound == "0" else (1, order(bound))


def fixes(version, affected, order):
    """The first version above this one that is without it, or nothing."""
    bounds = [event["fixed"] for events in ordered(affected) for event in events if "fixed" in event]
    above = sorted((bound for bound in bounds if order(bound) > order(version)), key=order)
    return above[0] if above else ""


def findings(parts, database):
    """Each (part, record, first version without it), in a fixed order, and what could not be judged."""
    found, unjudged = [], []
    for part in parts:
        order = ORDER[part.ecosystem.split(":")[0]]
        for record, affected in database.of(part.ecosystem, part.source):
            if not affected.get("versions") and not ordered(affected):
                unjudged.append(f"{record['id']}: {part.name} {part.version}, it names no versions")
                continue
            try:
                if is_affected(part.source_version, affected, order):
                    found.append((part, record, fixes(part.source_version, affected, order)))
            except versions.Unreadable as error:
                unjudged.append(f"{record['id']}: {part.name} {part.version}, for its version {error}")
    return sorted(found, key=lambda one: (one[1]["id"], one[0].reference)), sorted(set(unjudged))


def gaps(parts, database):
    """Of which ecosystem the database has nothing, and how many parts it leaves unjudged."""
    return {name: sum(part.ecosystem == name for part in parts) for name, count in sorted(database.counts.items()) if not count}


def kind(record):
    """RustSec lists crates that nobody keeps up as well; a finding of that kind is no hole by itself."""
    kinds = [affected.get("database_specific", {}).get("informational") for affected in record.get("affected", [])]
    return next((word for word in kinds if word), "vulnerability")


def others(record):
    """The names of the same, or of what it was made of, in other lists."""
    return sorted({*record.get("aliases", []), *record.get("upstream", [])})


def table(parts, database, given=(), ended=()):
    """The report for people, with the assessments that hold and those that have ended."""
    if database is None:
        return ("Vulnerabilities: not looked at.\n\n"
                f"No database was given, so nothing is known of the {len(parts)} parts of this image: this is not a clean report.\n"
                "image/twin build --vulnerabilities FILE reads OSV records (image/README.md says where they come from).\n")
    found, unjudged = findings(parts, database)
    missing = gaps(parts, database)
    here = [one for one in found if one[0].present]
    open_ones = {record["id"] for part, record, _ in here if not assessments.of(part, record, given)}
    lines = [f"Vulnerabilities: {len({one[1]['id'] for one in here})} known in what is in the image, {len(open_ones)} of them not assessed.", "",
             f"Database: {database.path.name}, SHA-256 of its records {database.digest}, newest record {database.newest or 'none'}",
             *(f"  {name}: {count} records" for name, count in sorted(database.counts.items()))]
    if missing or unjudged:
        lines += ["", "Not judged, and so not clean:"]
        lines += [f"  {count} parts of {name}: the database has no record of it" for name, count in missing.items()]
        lines += [f"  {line}" for line in unjudged]
    idle = assessments.idle(given, ended, found)
    if idle:
        lines += ["", "Assessments that are not applied:", *(f"  {line}" for line in idle)]
    for title, rows in (("In the image", here), ("In packages of which no file is in the image", [one for one in found if not one[0].present])):
        if rows:
            cells = [("id", "also", "kind", "part", "version", "without it from", "assessed")]
            cells += [(record["id"], ", ".join(others(record)), kind(record), part.name, part.version, fix or "none yet", judged(part, record, given))
                      for part, record, fix in rows]
            widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
            lines += ["", f"{title}:", ""] + ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join(lines) + "\n"


def judged(part, record, given):
    found = assessments.of(part, record, given)
    return f"{found.state}, until {found.until}" if found else "not yet" if part.present else "no file is there"


def vex(parts, database, given=()):
    """The `vulnerabilities` of a CycloneDX document (1.6), with references to its components: one for each record, and one more for what is
    said of some of its parts alone."""
    grouped = {}
    for part, record, fix in findings(parts, database)[0]:
        found = assessments.of(part, record, given)
        reference = f"{record['id']}{'#absent' if not part.present else f'#{found.package}@{found.version}' if found else ''}"
        grouped.setdefault(reference, (record, found, []))[2].append((part, fix))
    return [statement(reference, *grouped[reference]) for reference in sorted(grouped)]


def statement(reference, record, found, affected):
    present = affected[0][0].present
    told = {"bom-ref": reference, "id": record["id"], "source": {"name": "OSV", "url": WHERE + record["id"]}}
    if others(record):
        told["references"] = [{"id": other, "source": {"name": "OSV", "url": WHERE + other}} for other in others(record)]
    known = [one for one in record.get("severity") or [] if one["type"] in METHODS]
    ratings = [{"method": METHODS[one["type"]](one["score"]), "vector": one["score"]} for one in known]
    if ratings:
        told["ratings"] = ratings
    if record.get("summary"):
        told["description"] = record["summary"]
    fixed = sorted({f"{part.name} {fix}" for part, fix in affected if fix})
    if fixed:
        told["recommendation"] = f"Without it from {', '.join(fixed)}."
    for name, word in (("published", "published"), ("modified", "updated")):
        if record.get(name):
            told[word] = record[name]
    told["properties"] = [{"name": "sund:kind", "value": kind(record)}]
    if found:
        told["analysis"], status = assessments.analysis(found), assessments.STATES[found.state]
        told["properties"] += [{"name": "sund:assessed-by", "value": found.who}, {"name": "sund:assessed-until", "value": str(found.until)}]
    elif present:
        told["analysis"], status = {"state": "in_triage"}, "affected"
    else:
        told["analysis"], status = NOT_THERE, "unaffected"
    told["affects"] = [{"ref": part.reference, "versions": [{"version": part.version, "status": status}]} for part, _ in affected]
    return told


# No person has to look at what is not in the image.
NOT_THERE = {"state": "not_affected", "justification": "code_not_present", "detail": "No file of the package is in the image."}
# OSV's types of severity, and CycloneDX's name for each vector of it.
METHODS = {"CVSS_V2": lambda _: "CVSSv2", "CVSS_V3": lambda vector: "CVSSv31" if vector.startswith("CVSS:3.1") else "CVSSv3",
           "CVSS_V4": lambda _: "CVSSv4"}
