"""The bill of materials of an image: CycloneDX 1.6, the same bytes for the same image."""
import hashlib
import json
import uuid
from datetime import datetime, timezone

from . import policy

FORMAT = {"bomFormat": "CycloneDX", "specVersion": "1.6", "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json"}
# Of serial numbers that are made of the content.
NAMESPACE = uuid.UUID("5a6d0020-7375-4e64-8000-000000000020")


def document(version, epoch, parts, ours, files, boot, artefacts):
    """`artefacts` are the images by name: path, or other properties as text."""
    image = f"sund-image@{version}"
    owned = {}
    for file in files:
        owned.setdefault(file["package"], []).append(file)
    workspace = [part for part in ours if part.name in PROGRAMS.values()]
    programs = [program(file, workspace) for file in owned.get("", []) if file["path"] in PROGRAMS]
    components = [*programs, *(file_component(file) for file in owned.get("", []) if file["path"] not in PROGRAMS),
                  *(component(part, owned.get(part.name, []) if part.kind != "crate" else [], part.name in boot) for part in [*parts, *ours])]
    linked = {f"file:{path}": sorted(part.reference for part in [*parts, *ours] if path.rsplit("/", 1)[1] in part.programs) for path in PROGRAMS}
    direct = sorted([*(one["bom-ref"] for one in programs), *(part.reference for part in parts if part.present and part.kind != "crate")])
    told = {
        **FORMAT,
        "version": 1,
        "metadata": {
            # The time of the sources: a later build of the same is the same.
            "timestamp": datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "operating-system", "bom-ref": image, "name": "sund", "version": version,
                          "properties": [{"name": f"sund:{name}", "value": value} for name, value in sorted(artefacts.items())]},
        },
        "components": sorted(components, key=lambda one: one["bom-ref"]),
        "dependencies": [{"ref": image, "dependsOn": direct}, *({"ref": one["bom-ref"], "dependsOn": linked[one["bom-ref"]]} for one in programs)],
    }
    return numbered(told)


# Where ours lie in a root, and in the signed file that the firmware starts.
PROGRAMS = {"/usr/bin/sund": "sund-agent", "/usr/bin/sund-updater": "sund-ota", "boot:/bin/sund-rescue": "sund-rescue"}


def numbered(told):
    """With a serial number that is made of the content."""
    content = {name: value for name, value in told.items() if name != "serialNumber"}
    number = uuid.uuid5(NAMESPACE, hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
    return {**told, "serialNumber": f"urn:uuid:{number}"}


def written(told):
    return json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def component(part, files, starts_first):
    """A part; CycloneDX calls `excluded` what was used on the way and is not in the product."""
    properties = [{"name": "sund:ecosystem", "value": part.ecosystem}]
    if part.source != part.name or part.source_version != part.version:
        properties.append({"name": "sund:source", "value": f"{part.source} {part.source_version}"})
    if starts_first:
        properties.append({"name": "sund:in", "value": "boot file"})
    told = {"type": {"kernel": "operating-system", "crate": "library", "package": "library"}[part.kind], "bom-ref": part.reference, "name": part.name,
            "version": part.version, "purl": part.reference, "scope": "required" if part.present else "excluded", "properties": properties}
    if part.licences:
        told["licenses"] = licences(part)
    if part.checksum:
        told["hashes"] = [{"alg": "SHA-256", "content": part.checksum}]
    if files:
        told["components"] = [file_component(file) for file in files]
    return told


def licences(part):
    """A crate has an expression; of a package's licences all hold, and CycloneDX keeps a list of such by identifiers and names."""
    if part.kind == "crate":
        return [{"expression": part.licences[0]}]
    return [{"license": {"id" if policy.is_spdx(expression) else "name": expression}} for expression in part.licences]


def file_component(file):
    return {"type": "file", "bom-ref": f"file:{file['path']}", "name": file["path"], "hashes": [{"alg": "SHA-256", "content": file["sha256"]}]}


def program(file, workspace):
    """One of ours, with the version and licence of its crate."""
    crate = next(part for part in workspace if part.name == PROGRAMS[file["path"]])
    return {**file_component(file), "type": "application", "version": crate.version, "licenses": licences(crate)}


def with_vulnerabilities(told, statements, examined):
    """The same document with what is known of its parts; `examined` says against what."""
    metadata = {**told["metadata"], "properties": [{"name": "sund:vulnerabilities", "value": examined}]}
    return numbered({**told, "metadata": metadata, **({"vulnerabilities": statements} if statements else {})})
