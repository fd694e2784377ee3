"""What people have found out about known vulnerabilities: `assessments.toml`, read strictly, and applied as long as it holds."""
import tomllib
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

from qemu.store import SOURCE, Failed

FILE = SOURCE / "evidence/assessments.toml"
# Against a file that nobody reads to its end any more.
LARGEST = 1 << 20
MOST = 1000
LONGEST_TEXT = 1000
# What was found out a year ago is looked at again.
LONGEST = timedelta(days=366)

# CycloneDX 1.6, impact analysis state: what a person can have found out. Whether the part is affected by it is what the state says too.
STATES = {"exploitable": "affected", "not_affected": "unaffected", "false_positive": "unaffected", "resolved": "unaffected"}
# Impact analysis justification.
JUSTIFICATIONS = ("code_not_present", "code_not_reachable", "requires_configuration", "requires_dependency", "requires_environment",
                  "protected_by_compiler", "protected_at_runtime", "protected_at_perimeter", "protected_by_mitigating_control")
TEXTS = ("id", "package", "version", "state", "detail", "who")
DAYS = ("when", "until")


@dataclass(frozen=True)
class Assessment:
    id: str
    package: str
    version: str
    state: str
    detail: str
    who: str
    when: date
    until: date
    justification: str = ""

    def __str__(self):
        return f"{self.id} of {self.package} {self.version}"

    def matches(self, part, record):
        return part.present and (record["id"], part.source, part.source_version) == (self.id, self.package, self.version)


def read(today, file=FILE):
    """Those that hold on this day, and those that have ended."""
    if not file.is_file():
        raise Failed(f"{file} is not there: it may be empty, and says so itself")
    if file.stat().st_size > LARGEST:
        raise Failed(f"{file} has more than {LARGEST} bytes")
    try:
        told = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failed(f"{file} is no TOML: {error}") from error
    entries = told.pop("assessment", [])
    if told or not isinstance(entries, list) or len(entries) > MOST:
        raise Failed(f"{file} has at most {MOST} [[assessment]] and nothing else")
    given = [checked(entry, today, f"{file.name}, assessment {number}") for number, entry in enumerate(entries, 1)]
    for about, count in Counter(str(one) for one in given).items():
        if count > 1:
            raise Failed(f"{file} has {count} assessments of {about}: one counts")
    return [one for one in given if one.until >= today], [one for one in given if one.until < today]


def checked(entry, today, where):
    def expect(holds, what):
        if not holds:
            raise Failed(f"{where}: {what}")
    expect(isinstance(entry, dict), "no table")
    known = {*TEXTS, *DAYS, "justification"}
    expect(not entry.keys() - known, f"{', '.join(sorted(entry.keys() - known))} is no key of it")
    expect(not known - {"justification"} - entry.keys(), f"{', '.join(sorted(known - {'justification'} - entry.keys()))} is missing")
    for name in (*TEXTS, "justification"):
        text = entry.get(name, "-")
        expect(isinstance(text, str) and text.strip() and len(text) <= LONGEST_TEXT and text.isprintable(),
               f"{name} is a line of 1 to {LONGEST_TEXT} characters")
    for name in DAYS:
        expect(type(entry[name]) is date, f"{name} is a day, 2027-05-31")
    found = Assessment(**entry)
    expect(found.state in STATES, f"state is one of {', '.join(STATES)}")
    expect(not found.justification or found.state == "not_affected" and found.justification in JUSTIFICATIONS,
           f"justification is of not_affected, and one of {', '.join(JUSTIFICATIONS)}")
    expect(found.when <= today, f"{found.when} is still to come")
    expect(found.when < found.until <= found.when + LONGEST, f"until is a day after {found.when}, and at most {LONGEST.days} days later")
    return found


def of(part, record, given):
    """What was found out about a finding, or nothing."""
    return next((one for one in given if one.matches(part, record)), None)


def analysis(found):
    """As CycloneDX has it."""
    told = {"state": found.state, "detail": found.detail, "firstIssued": f"{found.when}T00:00:00Z"}
    return {**told, "justification": found.justification} if found.justification else told


def idle(given, ended, found):
    """A sentence for each that is not applied."""
    used = {of(part, record, given) for part, record, _ in found}
    return [*(f"{one}: nothing that is known of the image" for one in given if one not in used),
            *(f"{one}: it has ended on {one.until}, look at it again" for one in ended)]
