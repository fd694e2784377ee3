"""Holds files against the schema of CycloneDX 1.6: `python schema.py FILE ...`, with what image/requirements.txt names."""
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def fault(text):
    """What is wrong with a document, or nothing."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        found = fault(Path(name).read_text())
        if found:
            sys.exit(f"{name} is no CycloneDX 1.6: {found}")
