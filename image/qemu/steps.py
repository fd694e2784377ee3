"""What scenarios are made of."""
import itertools
import re

from . import disk, hardening
from .box import PATIENCE
from .hospital import Hospital
from .store import Failed

FIRST = "1.0.0"
# What each scenario offers. Each version is listed once by a region.
OFFERS = {"stranger": ["1.0.2"], "corrupted": ["1.0.1"], "downgrade": ["1.0.9"], "good-update": ["1.1.0"], "watchdog": ["1.2.0-hangs"],
          "failed-health": ["1.2.0-unhealthy"], "panic": ["1.2.0-panics"], "two-failures": ["1.2.0-unhealthy", "1.2.0-panics"],
          "guard": ["1.2.0-mute"], "no-network": ["1.2.0-deaf"], "stands": ["1.2.0-stands"], "power-cut": ["1.2.0"], "channel-down": ["1.3.0"],
          "migration": ["1.4.0"], "power-cuts": ["1.5.0", "1.5.1"], "data-full": ["1.6.0"], "second-disk": ["1.6.1"], "rescue-old": ["1.7.0"],
          "rescue": ["1.7.1"], "stick-update": ["1.8.0"]}
# Who signed a bundle, where it was not the region's release key.
SIGNED = {"1.0.2": "stranger"}
# What a bundle has in it, where that is not what the region lists it as: only RAUC sees it.
CARRIES = {"1.0.9": "0.0.9"}
# As systemd makes it: letters that lie at the same place on every keyboard.
RECOVERY_KEY = re.compile(r"[cbdefghijklnrtuv]{8}(-[cbdefghijklnrtuv]{8}){7}")


def serves():
    """A new box that has its model, and whose region has what opens its disk on the day that its TPM is gone."""
    hospital = Hospital("test", FIRST)
    try:
        hospital.start()
        hospital.await_echo()
        hardening.check(hospital.box)
        expect(hospital.gets_its_model(), "the box takes its model")
        kept = hospital.box.until("the region keeps the recovery key of the disk", lambda: hospital.region.recovery_key("twin"))
        expect(RECOVERY_KEY.fullmatch(kept), "what the region keeps is a recovery key")
    except BaseException:
        hospital.close()
        raise
    return hospital


def bundle(version):
    return disk.bundle(CARRIES.get(version, version), SIGNED.get(version, "release"))


def offers(hospital, name, version=None, damaged=False):
    """Brings the box a state of this name with an operating system: the first one of the scenario, or this one. Which it is."""
    version = version or OFFERS[name][0]
    hospital.region.publish_state(name, version, bundle(version))
    if damaged:
        hospital.region.damage(version)
    hospital.roll_out(name, name)
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


def goes_back(hospital, name, version=None, health=PATIENCE):
    """A system is tried and given up; the box works with the one that it had."""
    before = hospital.box.log.stat().st_size
    version = offers(hospital, name, version)
    expect(ends(hospital, name, health) == "failed", "the update is given up")
    expect(f"Welcome to Sund {version}!" in hospital.box.said(before), f"{version} was tried")
    runs(hospital, hospital.version)
    answers(hospital)


def refuses(hospital, name, words, damaged=False):
    """What is offered is not even started: RAUC says so in these words."""
    boots, since = hospital.box.boots, hospital.box.journal.stat().st_size
    offers(hospital, name, damaged=damaged)
    expect(ends(hospital, name) == "failed", "the bundle is refused")
    expect(hospital.box.boots == boots, "the box has not restarted")
    hospital.box.await_journal("rauc[", words, since=since)
    hospital.box.await_journal("the action ended", "os-refused", words, since=since)
    answers(hospital)


def comes_to(hospital, what, look):
    """Waits for something to be seen, and starts the box each time that it restarts."""
    box = hospital.box
    def looked():
        if box.machine.poll() is not None:
            box.end()
            hospital.start()
        return look()
    return box.until(what, looked, 2 * PATIENCE)
