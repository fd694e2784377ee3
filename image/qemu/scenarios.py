"""The life of a box, one scenario a function; each ends in what runs after it."""
import itertools
import os
import random
import re
import subprocess
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from . import appliance, disk, keys, rescue, surface
from .box import PATIENCE, wait
from .hospital import Hospital
from .store import Failed

FIRST = "1.0.0"
# What each scenario offers, and who signed it. Each offer has a version of its own: a region lists one bundle for each.
OFFERS = {"stranger": ("1.0.2", "stranger"), "corrupted": ("1.0.1", "release"), "downgrade": ("0.0.9", "release"), "good-update": ("1.1.0", "release"),
          "watchdog": ("1.2.0-hangs", "release"), "failed-health": ("1.2.0-unhealthy", "release"), "panic": ("1.2.0-panics", "release"),
          "power-cut": ("1.2.0", "release"), "channel-down": ("1.3.0", "release"),
          "rescue-old": ("1.3.1", "release"), "rescue": ("1.4.0", "release")}
# Moments of the install at which the power goes, in seconds after RAUC began.
CUTS = (0.5, 2.0, 5.0, 9.0, 14.0)
# So many images are acknowledged when the power goes, of twice as many.
CUT_AFTER = 5
# As systemd makes it: letters that lie at the same place on every keyboard.
RECOVERY_KEY = re.compile(r"[cbdefghijklnrtuv]{8}(-[cbdefghijklnrtuv]{8}){7}")
# What never is healthy need not be waited for longer, in seconds.
SHORT = 5


def serves():
    """A new box that has its model, and whose region has what opens its disk on the day that its TPM is gone."""
    hospital = Hospital("test", FIRST)
    try:
        hospital.start()
        hospital.await_echo()
        hospital.region.publish_state("first")
        expect(hospital.rolls_out("first") == "finished", "the box takes its model")
        kept = hospital.box.until("the region keeps the recovery key of the disk", lambda: hospital.region.recovery_key("twin"))
        expect(RECOVERY_KEY.fullmatch(kept), "what the region keeps is a recovery key")
    except BaseException:
        hospital.close()
        raise
    return hospital


def offers(hospital, name, damaged=False):
    """Brings the box a state with an operating system, and says which."""
    version, key = OFFERS[name]
    hospital.region.publish_state(name, version, disk.bundle(version, key))
    if damaged:
        hospital.region.damage(version)
    hospital.region.roll_out(name, name)
    return version


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


def goes_back(hospital, name, health=PATIENCE):
    """A system is tried and given up; the box works with the one that it had."""
    version = offers(hospital, name)
    expect(ends(hospital, name, health) == "failed", "the update is given up")
    expect(f"Welcome to Sund {version}!" in hospital.box.said(), f"{version} was tried")
    runs(hospital, hospital.version)
    answers(hospital)


def refuses(hospital, name, damaged=False):
    """What is offered is not even started."""
    boots = hospital.box.boots
    offers(hospital, name, damaged)
    expect(ends(hospital, name) == "failed", "the bundle is refused")
    expect(hospital.box.boots == boots, "the box has not restarted")
    answers(hospital)


def stranger(hospital):
    """A bundle that the region lists and somebody else has signed: RAUC refuses it."""
    refuses(hospital, "stranger")


def corrupted(hospital):
    """A bundle that is damaged where it is served: its first block that is looked at ends the install."""
    refuses(hospital, "corrupted", damaged=True)


def downgrade(hospital):
    """A system older than the least that the box takes is refused, whoever signed and listed it."""
    refuses(hospital, "downgrade")


def good_update(hospital):
    """A new system holds, and is committed: what comes next starts it without a trial."""
    holds(hospital, "good-update", offers(hospital, "good-update"))


def watchdog(hospital):
    """A new system that hangs: the hardware's watchdog restarts the box into the old slot."""
    goes_back(hospital, "watchdog")


def failed_health(hospital):
    """A new system whose agent does not come up: back on the old slot, which answers."""
    goes_back(hospital, "failed-health", SHORT)


def panic(hospital):
    """A new system whose kernel panics: back on the old slot."""
    goes_back(hospital, "panic")


def power_cut(hospital):
    """The power goes at a random moment of the install: the box comes back, and the update ends well."""
    box = hospital.box
    before = box.journal.stat().st_size
    version = offers(hospital, "power-cut")
    box.await_journal("rauc[", "installing", since=before)
    wait(box.machine, random.choice(CUTS))
    box.cut_power()
    hospital.start()
    holds(hospital, "power-cut", version)


def channel_down(hospital):
    """The region is not reached while a new system is on trial: it waits, and is committed when the region is back."""
    box = hospital.box
    version = offers(hospital, "channel-down")
    box.machine.wait(PATIENCE)
    hospital.region.stop()
    box.end()
    hospital.start()
    hospital.await_echo()
    hospital.region.serve()
    holds(hospital, "channel-down", version)


def power_cut_receiving(hospital):
    """The power goes while images arrive: each that was acknowledged is there afterwards, and has its result."""
    acknowledged = hospital.sends_until(CUT_AFTER)
    hospital.start()
    hospital.await_echo()
    hospital.box.until("each acknowledged image has its result", lambda: acknowledged <= hospital.studies_answered() or None)


def rescue_old(hospital):
    """Both roots are damaged, and what the region releases is older than the least in the TPM: refused again and again, nothing is written."""
    box = hospital.box
    rescue.damage(box)
    rescue.offer(hospital, *OFFERS["rescue-old"], too_old=True)
    before = box.log.stat().st_size
    hospital.start()
    given_up = "there is no recovery bundle for this box"
    rescue.comes_to(hospital, "the box gives up twice", lambda: True if box.said(before).count(given_up) > 1 else None)
    said = box.said(before)
    expect(said.count("[version-too-old]") > 1, "what is offered is too old each time")
    expect("Welcome to Sund" not in said and "is made anew" not in said, "nothing was installed")
    box.cut_power()


def rescued(hospital):
    """Both roots are damaged: the box gets what its region has released, starts it, and has its data."""
    box = hospital.box
    version = OFFERS["rescue"][0]
    rescue.damage(box)
    rescue.offer(hospital, *OFFERS["rescue"])
    before, journal = box.log.stat().st_size, box.journal.stat().st_size
    hospital.start()
    welcomed = rescue.comes_to(hospital, "the box starts a system", lambda: re.search(r"Welcome to Sund (\S+)!", box.said(before)))
    expect(welcomed[1] == version, f"{version} starts")
    answers(hospital)
    box.await_journal("the system is healthy, and was taken on", version, since=journal)
    hospital.version = version


def locked(hospital):
    """Another TPM, none, or other keys of the firmware: the data partition stays closed, the box restarts and asks nobody; with its own it works."""
    box = hospital.box
    box.power_off()
    for elsewhere in (box.another_tpm, box.no_tpm, lambda: box.another_key(disk.python_tools(), keys.folder() / "stranger-ca.pem")):
        before = box.log.stat().st_size
        with elsewhere():
            hospital.start()
            box.until("the box restarts", lambda: True if box.machine.poll() is not None else None)
            box.end()
        said = box.said(before)
        expect(f"Welcome to Sund {hospital.version}!" in said, "the system itself starts")
        expect("Started sund.service" not in said, "nothing of it serves")
    hospital.start()
    answers(hospital)


def next_start(hospital):
    """What a box was brought to is what it starts when nothing is on trial."""
    box = hospital.box
    box.power_off()
    before = box.log.stat().st_size
    hospital.start()
    welcomed = box.until("the box says what it starts", lambda: re.search(r"Welcome to Sund (\S+)!", box.said(before)))
    expect(welcomed[1] == hospital.version, f"{hospital.version} starts")
    box.cut_power()


# In this order, so that one box lives through them. After one that fails there is a new box.
ALL = {"stranger": stranger, "corrupted": corrupted, "downgrade": downgrade, "good-update": good_update, "watchdog": watchdog,
       "failed-health": failed_health, "panic": panic, "power-cut": power_cut, "channel-down": channel_down,
       "power-cut-receiving": power_cut_receiving, "rescue-old": rescue_old, "rescue": rescued, "locked": locked}
SURFACE = "attack-surface"
NAMES = (SURFACE, *ALL)
CONTINUOUS = (SURFACE, "stranger", "good-update", "watchdog", "failed-health", "power-cut")


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
    named = [name for name in ALL if name in names]
    # The box leaves this machine time to build what comes next.
    builder = ThreadPoolExecutor(1)
    for name in named:
        if name in OFFERS:
            builder.submit(disk.bundle, *OFFERS[name])
    try:
        with Stay() as stay:
            for name in named:
                if stay.hospital is None and not told("a new box", stay.begin):
                    return 1
                if not told(name, lambda: ALL[name](stay.hospital)):
                    failed = 1
                    stay.end()
            if stay.hospital and stay.hospital.version != FIRST:
                failed |= not told("the next start", lambda: next_start(stay.hospital))
    finally:
        builder.shutdown(cancel_futures=True)
    return int(failed)


class Stay:
    """The box that the scenarios have in common."""

    hospital = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def begin(self):
        self.hospital = serves()

    def end(self):
        if self.hospital:
            self.hospital.close()
        self.hospital = None
