"""The life of a box, one scenario a function; each ends in what runs after it."""
import time
import traceback

from . import disk
from .hospital import Hospital
from .store import Failed

FIRST, SECOND = "1.0.0", "1.1.0"


def serves(hospital, state="first"):
    """A new box that has its model and answers."""
    hospital.box.start()
    hospital.await_echo()
    hospital.region.publish_state(state)
    expect(hospital.rolls_out(state) == "finished", f"the box takes {state}")


def answers(hospital):
    """An image in, a result out."""
    before = hospital.results()
    hospital.sends()
    hospital.await_result(before)


def expect(holds, what):
    if not holds:
        raise Failed(f"not so: {what}")


def good_update():
    with Hospital("good-update", FIRST) as hospital:
        serves(hospital)
        hospital.region.publish_state("second", SECOND, disk.bundle(SECOND))
        hospital.region.roll_out("second", "second")
        hospital.box.await_end()
        hospital.box.start()
        ended = hospital.box.until("the box has ended the update", lambda: hospital.region.ended("second"))
        expect(ended == "finished", "the update holds")
        answers(hospital)


ALL = {"good-update": good_update}
CONTINUOUS = ["good-update"]


def run(names):
    """One line for each; 1 where one does not hold."""
    failed = 0
    for name in names:
        begun = time.monotonic()
        try:
            ALL[name]()
            word = "holds"
        except (Failed, OSError) as error:
            word, failed = f"FAILS: {error}", 1
            traceback.print_exc()
        print(f"{name:24} {time.monotonic() - begun:5.0f} s  {word}", flush=True)
    return failed
