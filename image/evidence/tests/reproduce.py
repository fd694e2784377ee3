"""The comparison of two roots: each difference has a line."""
import os
import tempfile
import unittest
from pathlib import Path

from evidence import reproduce


class Comparison(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.trees = [Path(folder.name) / name for name in ("one", "other")]
        for tree in self.trees:
            (tree / "etc").mkdir(parents=True)
            (tree / "etc/file").write_text("same")
            (tree / "link").symlink_to("etc/file")
            for path in (tree / "etc/file", tree / "etc"):
                os.utime(path, (1, 1))
            os.utime(tree / "link", (1, 1), follow_symlinks=False)

    def test_two_that_are_the_same_have_none(self):
        self.assertEqual(list(reproduce.compared(*self.trees)), [])

    def test_content_mode_time_target_and_absence_are_each_told(self):
        other = self.trees[1]
        (other / "etc/file").write_text("else")
        (other / "etc/file").chmod(0o600)
        (other / "link").unlink()
        (other / "link").symlink_to("elsewhere")
        os.utime(other / "link", (1, 1), follow_symlinks=False)
        (other / "more").write_text("")
        os.utime(other / "etc/file", (2, 2))
        self.assertEqual(list(reproduce.compared(*self.trees)),
                         [("etc/file", "mode 100644 and 100600"), ("etc/file", "mtime_ns 1000000000 and 2000000000"), ("etc/file", "content, 4 and 4 bytes"),
                          ("link", "to etc/file and elsewhere"), ("more", "only in the second")])
