"""What may be in a box, and what Debian's copyright files say."""
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from evidence import crates, packages, policy
from evidence.tests.case import crate, package
from qemu.store import Failed


class Crates(unittest.TestCase):
    def test_every_crate_that_is_linked_has_a_licence_that_is_allowed(self):
        for program, ours in crates.PROGRAMS.items():
            linked = crates.linked(ours)
            self.assertGreater(len(linked), 50, program)
            parts = [crate(name, version, crates.expression(crates.described()[name, version])) for name, version in sorted(linked)]
            self.assertEqual(policy.refused(parts), [])

    def test_what_is_linked_has_the_checksum_of_the_lock(self):
        sums = crates.checksums()
        for name, version in crates.linked("sund-ota"):
            if crates.described()[name, version]["source"]:
                self.assertRegex(sums[name, version], r"^[0-9a-f]{64}$", name)

    def test_procedural_macros_and_build_scripts_are_not_linked(self):
        names = {name for name, _ in crates.linked("sund-agent")}
        self.assertIn("rustls", names)
        self.assertFalse(names & {"serde_derive", "syn", "cc", "pynetdicom"})

    def test_a_licence_that_is_not_allowed_is_refused(self):
        for licence in ("AGPL-3.0-only", "MIT AND AGPL-3.0-only", "GPL-2.0-only OR LGPL-3.0-only", ""):
            with self.subTest(licence=licence):
                self.assertEqual(len(policy.refused([crate("one", "1.0.0", licence)])), 1)

    def test_of_alternatives_one_that_is_allowed_is_taken(self):
        self.assertEqual(policy.used(crate("one", "1.0.0", "Unlicense OR MIT")), ["MIT"])
        self.assertEqual(policy.used(crate("one", "1.0.0", "(Apache-2.0 OR AGPL-3.0-only) AND ISC")), ["Apache-2.0", "ISC"])

    def test_a_crate_without_a_licence_ends_the_build(self):
        with self.assertRaises(Failed):
            crates.expression({"name": "one", "version": "1.0.0", "license": None})

    def test_an_old_slash_is_an_or(self):
        self.assertEqual(crates.expression({"license": "MIT/Apache-2.0"}), "MIT OR Apache-2.0")


class Packages(unittest.TestCase):
    def test_debians_names_become_those_of_spdx(self):
        for line, expression in (("GPL-2+", "GPL-2.0-or-later"), ("LGPL-2.1", "LGPL-2.1-only"), ("GPLv3+", "GPL-3.0-or-later"), ("Expat", "MIT"),
                                 ("BSD-3-clause or GPL-2", "BSD-3-Clause OR GPL-2.0-only"), ("GPL-2+ with OpenSSL exception", "GPL-2.0-or-later WITH OpenSSL-exception"),
                                 ("GPL-1+ or Artistic, and Expat", "(GPL-1.0-or-later OR Artistic-1.0-Perl) AND MIT")):
            with self.subTest(line=line):
                self.assertEqual(policy.debian_terms(line), [expression])

    def test_a_licence_that_nobody_has_read_is_refused(self):
        part = package("one", "1", licences=("BSD-3-Clause", "Something-new"))
        self.assertEqual(policy.refused([part]), ["one 1: Something-new is not allowed by image/evidence/licences.toml"])
        self.assertEqual(policy.refused([replace(part, licences=())]), ["one 1: no licence is not allowed by image/evidence/licences.toml"])

    def test_a_package_of_which_nothing_is_left_binds_nobody(self):
        self.assertEqual(policy.refused([package("one", "1", licences=(), present=False)]), [])

    def test_a_copyright_file_is_read_and_one_that_cannot_be_read_ends_the_build(self):
        with tempfile.TemporaryDirectory() as folder:
            text = copyright_of(Path(folder), "one")
            text.write_text("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: 2026 One\nLicense: GPL-2+\n Text.\n"
                            "\nFiles: lib/*\nCopyright: 2026 Two\nLicense: Expat\n\nLicense: LGPL-2+\n Only a text that nothing refers to.\n")
            self.assertEqual(packages.licences(Path(folder), "one"), ("GPL-2.0-or-later", "MIT"))
            text.write_text("This package was made by One.\n")
            with self.assertRaises(Failed):
                packages.licences(Path(folder), "one")
            text.unlink()
            with self.assertRaises(Failed):
                packages.licences(Path(folder), "one")

    def test_what_a_person_has_read_is_allowed(self):
        for package_name, found in policy.table()["packages"].items():
            self.assertEqual(policy.refused([package(package_name, "1", licences=tuple(found))]), [])


def copyright_of(root, name):
    path = root / "usr/share/doc" / name / "copyright"
    path.parent.mkdir(parents=True)
    return path
