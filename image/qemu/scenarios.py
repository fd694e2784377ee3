"""The life of a box, one scenario a function; each ends in what runs after it."""
import itertools
import os
import random
import re
import subprocess
import time
import traceback

from . import appliance, disk, surface
from .box import PATIENCE, wait
from .hospital import Hospital
from .store import Failed

# Each offer has a version of its own: a region lists one bundle for each.
OLDER, FIRST, DAMAGED, STRANGE, SECOND, THIRD, FOURTH = "0.9.0", "1.0.0", "1.0.1", "1.0.2", "1.1.0", "1.2.0", "1.3.0"
# Moments of the install at which the power goes, in seconds after RAUC began.
CUTS = (0.5, 2.0, 5.0, 9.0, 14.0)
# What never is healthy need not be waited for longer, in seconds.
SHORT = 20


def serves():
    """A new box that has its model."""
    hospital = Hospital("test", FIRST)
    try:
        hospital.start()
        hospital.await_echo()
        hospital.region.publish_state("first")
        expect(hospital.rolls_out("first") == "finished", "the box takes its model")
    except BaseException:
        hospital.close()
        raise
    return hospital


def offers(hospital, name, version, key="release", damaged=False):
    """Brings the box a state with an operating system."""
    hospital.region.publish_state(name, version, disk.bundle(version, key))
    if damaged:
        hospital.region.damage(version)
    hospital.region.roll_out(name, name)


def ends(hospital, name, health=PATIENCE):
    """How the box says that the update ended; it is started again each time that it restarts, first with so much time to be healthy."""
    box = hospital.box
    allowed = itertools.chain([health], itertools.repeat(PATIENCE))
    def look():
        if box.machine.poll() is not None:
            box.end()
            hospital.start(next(allowed))
        return hospital.region.ended(name)
    return box.until(f"the box has ended {name}", look)


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


def holds(hospital, name, version):
    """The update ends well, and the box works with it."""
    expect(ends(hospital, name) == "finished", "the update holds")
    runs(hospital, version)
    answers(hospital)
    hospital.version = version


def goes_back(hospital, name, version, health=PATIENCE):
    """A system is tried and given up; the box works with the one that it had."""
    offers(hospital, name, version)
    expect(ends(hospital, name, health) == "failed", "the update is given up")
    expect(f"Welcome to Sund {version}!" in hospital.box.said(), f"{version} was tried")
    runs(hospital, hospital.version)
    answers(hospital)


def refuses(hospital, name):
    """What is offered is not even started."""
    boots = hospital.box.boots
    expect(ends(hospital, name) == "failed", "the bundle is refused")
    expect(hospital.box.boots == boots, "the box has not restarted")
    answers(hospital)


def stranger(hospital):
    """A bundle that the region lists and somebody else has signed: RAUC refuses it."""
    offers(hospital, "stranger", STRANGE, "stranger")
    refuses(hospital, "stranger")


def corrupted(hospital):
    """A bundle that is damaged where it is served: its first block that is looked at ends the install."""
    offers(hospital, "corrupted", DAMAGED, damaged=True)
    refuses(hospital, "corrupted")


def downgrade(hospital):
    """A system older than the one that runs is refused, whoever signed it."""
    offers(hospital, "downgrade", OLDER)
    refuses(hospital, "downgrade")


def failed_health(hospital):
    """A new system whose agent does not come up: back on the old slot, which answers."""
    goes_back(hospital, "failed-health", "1.1.0-unhealthy", SHORT)


def panic(hospital):
    """A new system whose kernel panics: back on the old slot."""
    goes_back(hospital, "panic", "1.1.0-panics")


def watchdog(hospital):
    """A new system that hangs: the hardware's watchdog restarts the box into the old slot."""
    goes_back(hospital, "watchdog", "1.1.0-hangs")


def good_update(hospital):
    """A new system holds, and is committed: a start without a trial is into the new slot."""
    offers(hospital, "good-update", SECOND)
    holds(hospital, "good-update", SECOND)
    hospital.box.power_off()
    hospital.start()
    hospital.await_echo()
    runs(hospital, SECOND)


def power_cut(hospital):
    """The power goes at a random moment of the install: the box comes back, and the update ends well."""
    box = hospital.box
    before = box.journal.stat().st_size
    offers(hospital, "power-cut", THIRD)
    box.await_journal("rauc[", "installing", since=before)
    wait(box.machine, random.choice(CUTS))
    box.cut_power()
    hospital.start()
    holds(hospital, "power-cut", THIRD)


def channel_down(hospital):
    """The region is not reached while a new system is on trial: it waits, and is committed when the region is back."""
    box = hospital.box
    offers(hospital, "channel-down", FOURTH)
    box.machine.wait(PATIENCE)
    hospital.region.stop()
    box.end()
    hospital.start()
    hospital.await_echo()
    hospital.region.serve()
    holds(hospital, "channel-down", FOURTH)


# In this order, so that one box lives through them: what goes back before what stays. After one that fails there is a new box.
ALL = {"stranger": stranger, "corrupted": corrupted, "downgrade": downgrade, "watchdog": watchdog, "failed-health": failed_health,
       "panic": panic, "good-update": good_update, "power-cut": power_cut, "channel-down": channel_down}
SURFACE = "attack-surface"
NAMES = (SURFACE, *ALL)
CONTINUOUS = (SURFACE, "stranger", "failed-health", "watchdog", "good-update", "power-cut")


def told(name, scenario):
    """One line with the time; whether it holds."""
    begun = time.monotonic()
    try:
        scenario()
        word = "holds"
    except (Failed, OSError, subprocess.SubprocessError) as error:
        word = f"FAILS: {error}"
        traceback.print_exc()
    print(f"{time.strftime('%F %TZ', time.gmtime())}  load {os.getloadavg()[0]:4.1f}  {name:16} {time.monotonic() - begun:5.0f} s  {word}", flush=True)
    return word == "holds"


def run(names):
    """One line for each; 1 where one does not hold."""
    failed = 0
    if SURFACE in names:
        # What can be attacked is what `surface.txt` lists, and our units are closed.
        failed |= not told(SURFACE, lambda: surface.check(appliance.made()))
    stay = Stay()
    for name in [name for name in ALL if name in names]:
        if stay.hospital is None and not told("a new box", stay.begin):
            failed = 1
        elif not told(name, lambda: ALL[name](stay.hospital)):
            failed = 1
            stay.end()
    stay.end()
    return int(failed)


class Stay:
    """The box that the scenarios have in common."""

    hospital = None

    def begin(self):
        self.hospital = serves()

    def end(self):
        if self.hospital:
            self.hospital.close()
        self.hospital = None
