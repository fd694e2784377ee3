"""The order of versions, held against dpkg and the examples of SemVer."""
import itertools
import subprocess
import unittest

from evidence import versions

DEBIAN = ["0", "0.9", "1.0~~", "1.0~rc1-1", "1.0~rc1+b2-1", "1.0", "1.0-0", "1.0-1", "1.0-1~bpo1", "1.0-1+deb13u1", "1.0-1+deb13u10", "1.0-1+deb13u2",
          "1.0a", "1.0+dfsg-1", "1.0.0", "1.00", "1.0-1.1", "2:0.1", "1:9", "5.6.1-1", "5.6.1+really5.4.5-1", "3.5.1-1", "3.5.1-1+deb13u1", "1:1.3.dfsg+really1.3.1-1",
          "257.13-1~deb13u1", "257.13-1", "10", "9", "6.12.117-1"]
# SemVer 2.0.0, clause 11.
SEMVER = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]


class Order(unittest.TestCase):
    def test_debian_versions_are_ordered_as_dpkg_orders_them(self):
        for one, other in itertools.combinations(DEBIAN, 2):
            with self.subTest(one=one, other=other):
                a, b = versions.debian(one), versions.debian(other)
                word = "lt" if a < b else "gt" if a > b else "eq"
                subprocess.run(["dpkg", "--compare-versions", one, word, other], check=True)

    def test_semantic_versions_are_ordered_as_their_standard_says(self):
        self.assertEqual(sorted(reversed(SEMVER), key=versions.semver), SEMVER)

    def test_build_metadata_does_not_count(self):
        self.assertEqual(versions.semver("1.0.0+a"), versions.semver("1.0.0+b"))

    def test_what_is_no_version_is_refused(self):
        for order, version in ((versions.debian, "1 2"), (versions.debian, ""), (versions.semver, "1.0"), (versions.semver, "latest")):
            with self.subTest(version=version), self.assertRaises(versions.Unreadable):
                order(version)
