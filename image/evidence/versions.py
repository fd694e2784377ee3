"""The order of versions: Debian's and that of Semantic Versioning, as keys to sort by."""
import re


class Unreadable(ValueError):
    """A version that its scheme does not know."""


def debian(version):
    """Debian Policy 5.6.12: epoch, upstream version and revision, compared in this order."""
    if not re.fullmatch(r"(\d+:)?[A-Za-z0-9.+:~_-]+", version):
        raise Unreadable(version)
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        # An absent revision is the revision 0.
        upstream, revision = rest, "0"
    return int(epoch), alternating(upstream), alternating(revision)


def alternating(text):
    """Turns of what is no digit and what is: a tilde sorts before the end, the end before letters, letters before the rest."""
    def rank(character):
        return -1 if character == "~" else ord(character) if character.isalpha() else ord(character) + 256
    # The last match is empty: it stands for the end, so that a longer text is compared with it.
    return [([*map(rank, words), 0], int(digits or 0)) for words, digits in re.findall(r"([^0-9]*)([0-9]*)", text)]


def semver(version):
    """SemVer 2.0.0, clause 11: a version with a pre-release comes before the one without; build metadata does not count."""
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", version)
    if not found:
        raise Unreadable(version)
    *numbers, before = found.groups()
    identifiers = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in before.split(".")] if before else []
    return [int(number) for number in numbers], not before, identifiers
