"""What is known of parts, by a small database of advisories as osv.dev publishes them."""
import json
import tempfile
import unittest
import zipfile
from pathlib import Path

from evidence import vulnerabilities
from evidence.tests.case import crate, package
from qemu.store import Failed

DATABASE = Path(__file__).parent / "osv"


def ids(*parts, database=DATABASE):
    return [record["id"] for _, record, _ in vulnerabilities.findings(parts, opened(parts, database))[0]]


def opened(parts, database=DATABASE):
    return vulnerabilities.Database(database, {part.ecosystem for part in parts})


class Matching(unittest.TestCase):
    def test_a_crate_in_any_of_the_ranges_is_found_and_one_past_them_is_not(self):
        for version, found in (("0.20.9", True), ("0.21.10", True), ("0.21.11", False), ("0.22.3", True), ("0.22.4", False), ("0.23.4", True), ("0.23.46", False)):
            with self.subTest(version=version):
                self.assertEqual(ids(crate("rustls", version)), ["RUSTSEC-2024-0336"] if found else [])

    def test_a_pre_release_of_the_fix_is_still_affected(self):
        self.assertEqual(ids(crate("idna", "1.0.0-rc.1")), ["RUSTSEC-2024-0421"])
        self.assertEqual(ids(crate("idna", "1.0.0")), [])

    def test_a_debian_package_is_known_by_its_source(self):
        self.assertEqual(ids(package("libssl3t64", "3.5.1-1", "openssl")), ["DSA-6015-1"])
        self.assertEqual(ids(package("libssl3t64", "3.5.1-1+deb13u1", "openssl")), [])
        self.assertEqual(ids(package("openssl", "3.5.1-1", "another")), [])

    def test_a_version_that_only_looks_older_is_not_affected(self):
        self.assertEqual(ids(package("liblzma5", "5.6.1-1", "xz-utils")), ["DEBIAN-CVE-2024-3094"])
        self.assertEqual(ids(package("liblzma5", "5.6.1+really5.4.5-1", "xz-utils")), [])
        self.assertEqual(ids(package("liblzma5", "5.8.1-1", "xz-utils")), [])

    def test_a_binary_rebuild_is_judged_by_the_version_of_its_source(self):
        self.assertEqual(ids(package("libssl3t64", "3.5.1-1+b2", "openssl (3.5.1-1)")), ["DSA-6015-1"])

    def test_the_same_name_in_another_ecosystem_is_another_package(self):
        self.assertEqual(ids(crate("openssl", "0.1.0"), package("rustls", "0.20.0")), [])

    def test_the_signed_kernel_is_known_as_the_kernel(self):
        kernel = package("linux-image-6.12.9+deb13-amd64", "6.12.9-1", "linux-signed-amd64 (6.12.9+1)")
        self.assertEqual((kernel.source, kernel.source_version), ("linux", "6.12.9-1"))

    def test_a_record_that_was_withdrawn_does_not_count(self):
        record = json.loads((DATABASE / "RUSTSEC-2021-0153.json").read_text())
        with folder_with({**record, "withdrawn": "2026-01-01T00:00:00Z"}) as folder:
            self.assertEqual(ids(crate("encoding", "0.2.33"), database=Path(folder)), [])

    def test_last_affected_is_affected_itself(self):
        events = [{"introduced": "1.0.0"}, {"last_affected": "1.2.0"}]
        self.assertEqual([vulnerabilities.within(version, events, vulnerabilities.ORDER["crates.io"]) for version in ("0.9.0", "1.2.0", "1.2.1")],
                         [False, True, False])

    def test_a_zip_says_what_a_folder_says(self):
        parts = [crate("encoding", "0.2.33"), crate("ring", "0.17.8")]
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(Path(folder) / "all.zip", "w") as archive:
                for path in sorted(DATABASE.iterdir()):
                    archive.write(path, path.name)
            self.assertEqual(ids(*parts, database=Path(folder) / "all.zip"), ids(*parts))
            self.assertEqual(ids(*parts), ["RUSTSEC-2021-0153", "RUSTSEC-2025-0009"])


class Honesty(unittest.TestCase):
    def test_without_a_database_nothing_is_called_clean(self):
        told = vulnerabilities.table([crate("ring", "0.17.14")], None)
        self.assertIn("not looked at", told.splitlines()[0])
        self.assertIn("not a clean report", told)

    def test_an_ecosystem_that_the_database_lacks_is_named(self):
        parts = [crate("ring", "0.17.14"), package("rauc", "1.15.2-1")]
        told = vulnerabilities.table(parts, opened(parts))
        self.assertIn("1 parts of Debian:14: the database has no record of it", told)

    def test_a_bound_that_cannot_be_read_is_told_and_not_passed_over(self):
        record = json.loads((DATABASE / "RUSTSEC-2025-0009.json").read_text())
        record["affected"][0]["ranges"][0]["events"][1]["fixed"] = "soon"
        with folder_with(record) as folder:
            parts = [crate("ring", "0.17.14")]
            told = vulnerabilities.table(parts, opened(parts, Path(folder)))
        self.assertIn("Not judged, and so not clean:", told)
        self.assertIn("RUSTSEC-2025-0009: ring 0.17.14", told)

    def test_a_record_that_names_no_version_is_told_and_not_passed_over(self):
        record = json.loads((DATABASE / "RUSTSEC-2025-0009.json").read_text())
        record["affected"][0]["ranges"] = [{"type": "GIT", "repo": "https://example.org/ring", "events": [{"introduced": "0"}]}]
        with folder_with(record) as folder:
            parts = [crate("ring", "0.17.14")]
            self.assertIn("RUSTSEC-2025-0009: ring 0.17.14, it names no versions", vulnerabilities.table(parts, opened(parts, Path(folder))))

    def test_a_file_that_is_no_database_ends_the_build(self):
        for name, content in (("all.zip", b"not a zip"), ("one.json", b"{}"), ("one.json", b"[")):
            with self.subTest(content=content), tempfile.TemporaryDirectory() as folder:
                (Path(folder) / name).write_bytes(content)
                with self.assertRaises(Failed):
                    opened([crate("ring", "0.17.14")], Path(folder) / name)
        with self.assertRaises(Failed):
            opened([], Path("/nonexistent"))

    def test_what_nobody_keeps_up_is_told_as_that(self):
        parts = [crate("encoding", "0.2.33")]
        told = vulnerabilities.table(parts, opened(parts))
        self.assertRegex(told, r"RUSTSEC-2021-0153 +unmaintained +encoding +0\.2\.33 +none yet")

    def test_a_package_of_which_no_file_is_left_is_not_affected_and_still_listed(self):
        parts = [package("apt", "3.0.3", present=False)]
        self.assertIn("0 known in what is in the image", vulnerabilities.table(parts, opened(parts)))
        statement, = vulnerabilities.vex(parts, opened(parts))
        self.assertEqual((statement["analysis"]["state"], statement["analysis"]["justification"]), ("not_affected", "code_not_present"))
        statement, = vulnerabilities.vex([package("apt", "3.0.3")], opened(parts))
        self.assertEqual(statement["analysis"], {"state": "in_triage"})


def folder_with(record):
    class Folder(tempfile.TemporaryDirectory):
        def __enter__(self):
            name = super().__enter__()
            (Path(name) / "record.json").write_text(json.dumps(record))
            return name
    return Folder()
