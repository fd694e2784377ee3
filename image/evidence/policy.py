"""Which licences may be in a box: of crates as `.deny.toml` says, of Debian's packages as `licences.toml` says. What neither names is refused."""
import re
import tomllib
from fnmatch import fnmatchcase
from functools import cache

from qemu.store import REPOSITORY, SOURCE

TABLE = SOURCE / "evidence/licences.toml"
CRATES = REPOSITORY / ".deny.toml"
# Debian's short forms (copyright format 1.0, 7.1): GPL-2+, LGPLv2.1, GPL-3.0-or-later.
GNU = re.compile(r"(A?GPL|LGPL)(?:[-v]*(\d)(?:\.(\d))?)?(\+|-or-later|-only)?")
# Without a version it is any.
ANY = {"GPL": "GPL-1.0-or-later", "LGPL": "LGPL-2.0-or-later", "AGPL": "AGPL-1.0-or-later"}


@cache
def table():
    return tomllib.loads(TABLE.read_text())["debian"]


@cache
def allowed_of_crates():
    return frozenset(tomllib.loads(CRATES.read_text())["licenses"]["allow"])


@cache
def allowed_of_debian():
    return frozenset([*table()["spdx"], *table()["other"]])


def is_spdx(name):
    return name in table()["spdx"] or name in allowed_of_crates()


def read_by_hand(package):
    """What a person has read in the copyright file of a package."""
    return next((tuple(sorted(found)) for pattern, found in table()["packages"].items() if fnmatchcase(package, pattern)), ())


def debian_terms(line):
    """The licence line of a paragraph as an expression, in SPDX's names where it has one; nothing for an empty line.

    Copyright format 1.0, 7.2: `and` binds closer than `or`, and a comma ends both.
    """
    groups = []
    for group in re.split(r",\s*(?:and\s+)?", line.strip()):
        split = [word for word in re.split(r"\s+(and|or)\s+", group.strip(), flags=re.I) if word]
        words = [word.upper() if word.lower() in ("and", "or") else renamed(word) for word in split]
        if words:
            groups.append(" ".join(words))
    return [" AND ".join(f"({group})" if " OR " in group and len(groups) > 1 else group for group in groups)] if groups else []


def renamed(word):
    """One licence of Debian's by SPDX's name."""
    word, *exception = re.split(r"\s+with\s+|-WITH-|-with-(?=link)", word.strip(), maxsplit=1)
    found = GNU.fullmatch(word)
    if found:
        family, major, minor, later = found[1], found[2], found[3] or "0", found[4]
        name = f"{family}-{major}.{minor}-{'or-later' if later in ('+', '-or-later') else 'only'}" if major else ANY[family]
    else:
        name = table()["names"].get(word, word)
    return f"{name} WITH {exception[0].replace(' ', '-')}" if exception else name


def chosen(expression, allowed):
    """The licences of an expression that we go by, where they may be in a box; nothing where they may not.

    Of alternatives the first that is allowed is taken. An exception only adds to what its licence permits.
    """
    words = re.findall(r"[()]|[^\s()]+", expression)
    position = 0

    def either():
        found = both()
        while position < len(words) and words[position] == "OR":
            step()
            other = both()
            found = found or other
        return found

    def both():
        found = one()
        while position < len(words) and words[position] == "AND":
            step()
            other = one()
            found = found and other and [*found, *(name for name in other if name not in found)]
        return found

    def one():
        if step() == "(":
            found = either()
            step()
            return found
        name = words[position - 1]
        if position < len(words) and words[position] == "WITH":
            step()
            step()
        return [name] if name in allowed else []

    def step():
        nonlocal position
        position += 1
        return words[position - 1] if position <= len(words) else ""

    return either()


def allowed_of(part):
    return allowed_of_crates() if part.kind == "crate" else allowed_of_debian()


def used(part):
    """The licences that we go by of a part."""
    return sorted({name for expression in part.licences for name in chosen(expression, allowed_of(part))})


def refused(parts):
    """A sentence for each licence of what is in the image that may not be there, or is not known."""
    found = []
    for part in parts:
        for expression in part.licences or ("",) if part.present else ():
            if not expression or not chosen(expression, allowed_of(part)):
                by = ".deny.toml" if part.kind == "crate" else "image/evidence/licences.toml"
                found.append(f"{part.name} {part.version}: {expression or 'no licence'} is not allowed by {by}")
    return found
