"""The order of the scenarios: `python -m qemu.tests` in image/. What they do is seen by `twin test` alone."""
import contextlib
import io
import unittest
from types import SimpleNamespace
from unittest import mock

from qemu import scenarios
from qemu.steps import FIRST
from qemu.store import Failed


class Order(unittest.TestCase):
    def run_of(self, *names, fails=()):
        """Which scenarios a pass runs, and whether it holds; the box is a name and a version."""
        done = []

        def made(*_):
            return SimpleNamespace(version=FIRST, close=lambda: done.append("close"))

        def step(name):
            def scenario(hospital):
                done.append(name)
                if name in fails:
                    raise Failed(name)
                hospital.version = FIRST if name in scenarios.FACTORY else "9.0.0"
            return scenario

        changed = {"serves": made, "Hospital": made, "bundle": lambda version: None, "next_start": step("next start"),
                   "ALL": {name: step(name) for name in scenarios.ALL}}
        with mock.patch.multiple(scenarios, **changed), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return done, scenarios.run(names)

    def test_a_box_that_was_updated_starts_once_more_before_another_one_takes_its_place(self):
        self.assertEqual(self.run_of("good-update", "screen", "stick"), (["good-update", "next start", "screen", "stick", "close"], 0))

    def test_it_does_at_the_end_of_a_pass_as_well(self):
        self.assertEqual(self.run_of("good-update"), (["good-update", "next start", "close"], 0))

    def test_a_box_as_it_was_made_does_not(self):
        self.assertEqual(self.run_of("screen", "reset"), (["screen", "reset", "close"], 0))

    def test_a_start_that_fails_fails_the_pass_and_ends_the_box(self):
        done, failed = self.run_of("good-update", "screen", fails=("next start",))
        self.assertEqual((done, failed), (["good-update", "next start", "close", "screen", "close"], 1))


if __name__ == "__main__":
    unittest.main()
