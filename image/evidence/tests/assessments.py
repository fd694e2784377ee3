"""What people have found out is told of what they looked at, and of nothing else."""
import tempfile
import unittest
from datetime import date
from pathlib import Path

from evidence import assessments, vulnerabilities
from evidence.tests.case import crate, package
from evidence.tests.vulnerabilities import opened
from qemu.store import Failed

DAY = date(2026, 12, 1)
ONE = {"id": '"RUSTSEC-2021-0153"', "package": '"encoding"', "version": '"0.2.33"', "state": '"not_affected"', "justification": '"code_not_reachable"',
       "detail": '"Nothing calls it."', "who": '"Ane Holm"', "when": "2026-11-30", "until": "2027-05-31"}


def given(*entries, today=DAY):
    return read("".join("[[assessment]]\n" + "".join(f"{name} = {value}\n" for name, value in entry.items()) for entry in entries), today)


def read(text, today=DAY):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "assessments.toml"
        file.write_text(text)
        return assessments.read(today, file)


def told(parts, *entries, today=DAY):
    """Statements and table, with these assessments."""
    holds, ended = given(*entries, today=today)
    database = opened(parts)
    return vulnerabilities.vex(parts, database, holds), vulnerabilities.table(parts, database, holds, ended)


class Applied(unittest.TestCase):
    def test_a_finding_that_somebody_has_looked_at_is_told_with_what_they_found_and_who(self):
        (statement,), table = told([crate("encoding", "0.2.33")], ONE)
        self.assertEqual(statement["analysis"], {"state": "not_affected", "justification": "code_not_reachable", "detail": "Nothing calls it.",
                                                 "firstIssued": "2026-11-30T00:00:00Z"})
        self.assertEqual(statement["affects"][0]["versions"], [{"version": "0.2.33", "status": "unaffected"}])
        self.assertIn({"name": "sund:assessed-by", "value": "Ane Holm"}, statement["properties"])
        self.assertIn("1 known in what is in the image, 0 of them not assessed", table.splitlines()[0])
        self.assertRegex(table, r"RUSTSEC-2021-0153 .* not_affected, until 2027-05-31")

    def test_another_version_and_another_record_stay_in_triage(self):
        for other in ({"version": '"0.2.32"'}, {"id": '"RUSTSEC-2021-0154"'}, {"package": '"encode"'}):
            with self.subTest(other=other):
                (statement,), table = told([crate("encoding", "0.2.33")], {**ONE, **other})
                self.assertEqual(statement["analysis"], {"state": "in_triage"})
                self.assertIn("1 of them not assessed", table.splitlines()[0])
                self.assertIn("nothing that is known of the image", table)

    def test_one_that_has_ended_is_told_and_applied_no_more(self):
        (statement,), table = told([crate("encoding", "0.2.33")], ONE, today=date(2027, 5, 31))
        self.assertEqual(statement["analysis"]["state"], "not_affected", "its last day")
        (statement,), table = told([crate("encoding", "0.2.33")], ONE, today=date(2027, 6, 1))
        self.assertEqual(statement["analysis"], {"state": "in_triage"})
        self.assertIn("RUSTSEC-2021-0153 of encoding 0.2.33: it has ended on 2027-05-31", table)

    def test_what_is_exploitable_stays_affected(self):
        exploitable = {**ONE, "state": '"exploitable"'}
        del exploitable["justification"]
        (statement,), _ = told([crate("encoding", "0.2.33")], exploitable)
        self.assertEqual((statement["analysis"]["state"], statement["affects"][0]["versions"][0]["status"]), ("exploitable", "affected"))

    def test_what_is_said_of_one_version_is_not_said_of_another_that_is_there_too(self):
        exploitable = {**ONE, "version": '"0.2.32"', "state": '"exploitable"', "detail": '"Everything calls it."'}
        del exploitable["justification"]
        statements, _ = told([crate("encoding", "0.2.32"), crate("encoding", "0.2.33")], ONE, exploitable)
        states = {affected["versions"][0]["version"]: one["analysis"]["state"] for one in statements for affected in one["affects"]}
        self.assertEqual(states, {"0.2.32": "exploitable", "0.2.33": "not_affected"})

    def test_what_is_said_of_one_package_is_not_said_of_another_of_the_same_record(self):
        parts = [package("libssl3t64", "3.5.1-1", "openssl"), package("openssl", "3.5.1-1"), package("openssl-provider", "3.5.0-1", "openssl")]
        entry = {**ONE, "id": '"DSA-6015-1"', "package": '"openssl"', "version": '"3.5.1-1"'}
        statements, table = told(parts, entry)
        states = {affected["ref"].split("/")[2].split("@")[0]: one["analysis"]["state"] for one in statements for affected in one["affects"]}
        self.assertEqual(states, {"libssl3t64": "not_affected", "openssl": "not_affected", "openssl-provider": "in_triage"})
        self.assertEqual(len({one["bom-ref"] for one in statements}), 2)
        self.assertIn("1 known in what is in the image, 1 of them not assessed", table.splitlines()[0])

    def test_a_package_of_which_no_file_is_left_needs_nobody_to_look_at_it(self):
        entry = {**ONE, "id": '"DEBIAN-CVE-2011-3374"', "package": '"apt"', "version": '"3.0.3"'}
        (statement,), table = told([package("apt", "3.0.3", present=False)], entry)
        self.assertEqual(statement["analysis"]["justification"], "code_not_present")
        self.assertIn("nothing that is known of the image", table)

    def test_what_the_repository_says_can_be_read(self):
        self.assertEqual(assessments.read(date.max)[0], [], "none holds for ever")


class Strict(unittest.TestCase):
    def test_what_is_not_said_rightly_ends_the_build(self):
        for altered, words in (({"state": '"in_triage"'}, "state is one of"), ({"state": '"resolved_with_pedigree"'}, "state is one of"),
                               ({"state": '"exploitable"'}, "justification is of not_affected"), ({"justification": '"trust me"'}, "justification"),
                               ({"who": '" "'}, "who is a line"), ({"detail": '"a\\nb"'}, "detail is a line"), ({"detail": f'"{"x" * 1001}"'}, "detail is a line"),
                               ({"version": "1"}, "version is a line"), ({"when": '"2026-11-30"'}, "when is a day"), ({"until": "2027-05-31T00:00:00"}, "until is a day"),
                               ({"when": "2026-12-02"}, "still to come"), ({"until": "2026-11-30"}, "until is a day after"),
                               ({"until": "2027-12-02"}, "at most 366 days"), ({"reason": '"x"'}, "reason is no key")):
            with self.subTest(altered=altered), self.assertRaisesRegex(Failed, words):
                given({**ONE, **altered})
        for name in ONE:
            if name != "justification":
                with self.subTest(missing=name), self.assertRaisesRegex(Failed, f"{name} is missing"):
                    given({key: value for key, value in ONE.items() if key != name})

    def test_two_of_one_finding_and_a_file_that_is_something_else_are_refused(self):
        with self.assertRaisesRegex(Failed, "2 assessments of"):
            given(ONE, {**ONE, "detail": '"It is called by nothing."'})
        for text in ("[[assessments]]\n", "assessment = 1\n", "assessment = [1]\n", "[[assessment]\n"):
            with self.subTest(text=text), self.assertRaises(Failed):
                read(text)
        self.assertEqual(read("# nothing yet\n"), ([], []))
        with self.assertRaisesRegex(Failed, "at most 1000"):
            read("[[assessment]]\n" * 1001)
        with self.assertRaisesRegex(Failed, "more than"):
            read("#" * (assessments.LARGEST + 1))
