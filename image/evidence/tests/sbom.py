"""The bill of materials: valid, the same again, and complete."""
import json
import unittest
from datetime import date

from evidence import crates, sbom, schema, vulnerabilities
from evidence.assessments import Assessment
from evidence.tests.case import package
from evidence.tests.vulnerabilities import opened

FILES = [{"path": "/usr/bin/sund", "package": "", "sha256": "a" * 64}, {"path": "/usr/bin/sund-updater", "package": "", "sha256": "b" * 64},
         {"path": "boot:/bin/sund-rescue", "package": "", "sha256": "e" * 64},
         {"path": "/usr/lib/x86_64-linux-gnu/libssl.so.3", "package": "libssl3t64", "sha256": "c" * 64}]
EPOCH = 1_790_000_000
ASSESSED = Assessment("RUSTSEC-2021-0153", "encoding", "0.2.33", "not_affected", "Nothing calls it.", "Ane Holm", date(2026, 11, 30), date(2027, 5, 31),
                      "code_not_reachable")


def linked():
    """The crates of this checkout."""
    others, ours, sums = [], [], crates.checksums()
    of_rescue = crates.linked("sund-rescue")
    for name, version in sorted(crates.linked("sund-agent") | crates.linked("sund-ota") | of_rescue):
        told = crates.described()[name, version]
        programs = ["sund", "sund-rescue"] if (name, version) in of_rescue else ["sund"]
        part = crates.crate_part(name, version, crates.expression(told), programs, sums[name, version])
        (others if told["source"] else ours).append(part)
    return others, ours


def document(database=False):
    others, ours = linked()
    parts = [*others, package("libssl3t64", "3.5.1-1", "openssl", licences=("Apache-2.0", "Artistic-1.0-Perl OR GPL-1.0-or-later", "public-domain")),
             package("zlib1g", "1:1.3.dfsg+really1.3.1-1", "zlib", licences=("Zlib",)), package("apt", "3.0.3", present=False, licences=()),
             package("rauc", "1.15.2-1", licences=("LGPL-2.1-or-later",)),
             package("linux-image-6.12.9+deb13-amd64", "6.12.9-1", "linux-signed-amd64 (6.12.9+1)", licences=("GPL-2.0-only",))]
    told = sbom.document("1.0.0", EPOCH, parts, ours, FILES, ["zlib1g"], {"root.img": "d" * 64})
    if database:
        told = sbom.with_vulnerabilities(told, vulnerabilities.vex(parts, opened(parts), [ASSESSED]), "a database")
    return told


class Document(unittest.TestCase):
    def test_it_is_cyclonedx(self):
        for database in (False, True):
            self.assertIsNone(schema.fault(sbom.written(document(database))))

    def test_the_schema_refuses_what_is_not(self):
        part = package("one", "1", licences=("Zlib",))
        told = sbom.document("1.0.0", EPOCH, [part], linked()[1], FILES[:3], [], {})
        self.assertIsNone(schema.fault(sbom.written(told)))
        next(one for one in told["components"] if one["name"] == "one")["licenses"] = [{"license": {"id": "No-Such-Licence"}}]
        self.assertIsNotNone(schema.fault(sbom.written(told)))

    def test_the_same_image_has_the_same_bytes(self):
        self.assertEqual(sbom.written(document()), sbom.written(document()))
        changed = sbom.document("1.0.1", EPOCH, [], linked()[1], FILES, [], {})
        self.assertNotEqual(changed["serialNumber"], document()["serialNumber"])

    def test_names_are_package_urls(self):
        references = {component["name"]: component.get("purl") for component in document()["components"]}
        self.assertEqual(references["zlib1g"], "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1?arch=amd64&distro=trixie")
        self.assertEqual(references["rauc"], "pkg:deb/debian/rauc@1.15.2-1?arch=amd64&distro=forky")
        self.assertRegex(references["rustls"], r"^pkg:cargo/rustls@0\.23\.")

    def test_a_program_names_what_is_linked_into_it(self):
        told = document()
        depends = {one["ref"]: one["dependsOn"] for one in told["dependencies"]}
        known = {component["bom-ref"] for component in told["components"]}
        self.assertIn("file:/usr/bin/sund", depends["sund-image@1.0.0"])
        self.assertTrue(any(reference.startswith("pkg:cargo/rustls@") for reference in depends["file:/usr/bin/sund"]))
        self.assertTrue(any(reference.startswith("pkg:cargo/embedded-tls@") for reference in depends["file:boot:/bin/sund-rescue"]))
        self.assertFalse([reference for references in depends.values() for reference in references if reference not in known])

    def test_a_vulnerability_names_a_part_of_the_document(self):
        told = document(database=True)
        known = {component["bom-ref"] for component in told["components"]}
        found = {one["id"]: one for one in told["vulnerabilities"]}
        self.assertEqual(set(found), {"DSA-6015-1", "RUSTSEC-2021-0153", "DEBIAN-CVE-2011-3374"})
        self.assertEqual(found["RUSTSEC-2021-0153"]["analysis"]["state"], "not_affected")
        self.assertFalse([affects["ref"] for one in found.values() for affects in one["affects"] if affects["ref"] not in known])

    def test_a_document_without_a_database_says_so(self):
        told = sbom.with_vulnerabilities(document(), [], "not looked at: no database was given")
        self.assertEqual(told["metadata"]["properties"], [{"name": "sund:vulnerabilities", "value": "not looked at: no database was given"}])
        self.assertNotIn("vulnerabilities", json.loads(sbom.written(told)))
