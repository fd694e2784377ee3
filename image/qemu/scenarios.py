"""The life of a box, one scenario a function; each ends in what runs after it."""
import random
import re
import time
import traceback

from . import disk, root, surface
from .box import wait
from .hospital import Hospital
from .store import Failed

FIRST, SECOND = "1.0.0", "1.1.0"


# Moments of the install at which the power goes, in seconds after RAUC began.
CUTS = (0.5, 2.0, 5.0, 9.0, 14.0)


def boots(hospital):
    hospital.box.start()
    hospital.await_echo()


def serves(hospital):
    """A new box that has its model."""
    boots(hospital)
    hospital.region.publish_state("first")
    expect(hospital.rolls_out("first") == "finished", "the box takes its model")


def offers(hospital, version, bundle):
    """Brings the box a state with an operating system."""
    hospital.region.publish_state("second", version, bundle)
    hospital.region.roll_out("second", "second")


def ends(hospital):
    """How the box says that the update ended; it is started again each time that it restarts."""
    box = hospital.box
    def look():
        if box.machine.poll() is not None:
            box.end()
            box.start()
        return hospital.region.ended("second")
    return box.until("the box has ended the update", look)


def answers(hospital):
    """An image in, a result out."""
    hospital.await_echo()
    before = hospital.results()
    hospital.sends()
    hospital.await_result(before)


def runs(hospital, version):
    """What the box was started from last."""
    welcomed = re.findall(r"Welcome to Sund (\S+)!", hospital.box.said())
    expect(welcomed[-1:] == [version], f"{version} runs")


def expect(holds, what):
    if not holds:
        raise Failed(f"not so: {what}")


def good_update():
    """A new system holds, and is committed."""
    with Hospital("good-update", FIRST, disk.bundle(SECOND)) as hospital:
        serves(hospital)
        offers(hospital, SECOND, hospital.bundle)
        expect(ends(hospital) == "finished", "the update holds")
        runs(hospital, SECOND)
        answers(hospital)
        # Committed: a start without a trial is into the new slot.
        hospital.box.power_off()
        boots(hospital)
        runs(hospital, SECOND)


def goes_back(name, version):
    with Hospital(name, FIRST, disk.bundle(version), health=150) as hospital:
        serves(hospital)
        offers(hospital, version, hospital.bundle)
        expect(ends(hospital) == "failed", "the update is given up")
        expect(f"Welcome to Sund {version}!" in hospital.box.said(), f"{version} was tried")
        runs(hospital, FIRST)
        answers(hospital)


def failed_health():
    """A new system whose agent does not come up: back on the old slot, which answers."""
    goes_back("failed-health", "1.1.0-unhealthy")


def panic():
    """A new system whose kernel panics: back on the old slot."""
    goes_back("panic", "1.1.0-panics")


def watchdog():
    """A new system that hangs: the hardware's watchdog restarts the box into the old slot."""
    goes_back("watchdog", "1.1.0-hangs")


def stranger():
    """A bundle that the region lists and somebody else has signed: RAUC refuses it."""
    with Hospital("stranger", FIRST, disk.bundle(SECOND, "stranger")) as hospital:
        serves(hospital)
        offers(hospital, SECOND, hospital.bundle)
        expect(ends(hospital) == "failed", "the bundle is refused")
        expect(hospital.box.boots == 1, "the box has not restarted")
        answers(hospital)


def power_cut():
    """The power goes at a random moment of the install: the box comes back, and the update ends well."""
    with Hospital("power-cut", FIRST, disk.bundle(SECOND)) as hospital:
        serves(hospital)
        offers(hospital, SECOND, hospital.bundle)
        hospital.box.await_journal("rauc[", "installing")
        wait(hospital.box.machine, random.choice(CUTS))
        hospital.box.cut_power()
        hospital.box.start()
        expect(ends(hospital) == "finished", "the update holds")
        runs(hospital, SECOND)
        answers(hospital)


def attack_surface():
    """What can be attacked is what `surface.txt` lists, and our units are closed."""
    surface.check(root.image(FIRST))


ALL = {"attack-surface": attack_surface, "good-update": good_update, "failed-health": failed_health, "power-cut": power_cut, "stranger": stranger, "watchdog": watchdog,
       "panic": panic}
CONTINUOUS = ["attack-surface", "good-update", "failed-health", "power-cut", "stranger", "watchdog"]


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
