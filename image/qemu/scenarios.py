"""The life of a box, one scenario a function; each ends in what runs after it."""
import os
import random
import re
import subprocess
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from . import appliance, disk, release, services, surface
from .box import PATIENCE, wait
from .days import damaged, data_full, locked, power_cut_receiving, reset, screen, second_disk, stick, stick_update
from .firmware import stranger_kernel
from .hospital import Hospital
from .rescue import rescue_old, rescued
from .steps import FIRST, OFFERS, answers, bundle, ends, expect, goes_back, holds, offers, refuses, runs, serves
from .store import Failed

# Moments of the install at which the power goes, in seconds after RAUC began.
CUTS = (0.5, 2.0, 5.0, 9.0, 14.0)
# Of the first boot of a new system, in seconds after the machine was switched on: from the firmware to what starts last.
BOOT_CUTS = (2.0, 8.0, 15.0, 22.0, 30.0)
# What never is healthy need not be waited for longer, in seconds.
SHORT = 5
# What is healthy, and waits for its region alone, has so long to be healthy.
AWAY = 120


def stranger(hospital):
    """A bundle that the region lists and somebody else has signed: RAUC refuses it."""
    refuses(hospital, "stranger", "signature verification failed")


def corrupted(hospital):
    """A bundle that is damaged where it is served: its first block that is looked at ends the install."""
    refuses(hospital, "corrupted", "Check read from dm-verity device failed", damaged=True)


def downgrade(hospital):
    """A system older than the least that the box takes is refused, whoever signed it and under whatever version it is listed."""
    refuses(hospital, "downgrade", "Expected at least")


def good_update(hospital):
    """A new system holds, and is committed: what comes next starts it without a trial."""
    holds(hospital, "good-update", offers(hospital, "good-update"))


def watchdog(hospital):
    """A new system that hangs: the hardware's watchdog restarts the box into the old slot."""
    goes_back(hospital, "watchdog")


def failed_health(hospital):
    """A new system whose agent does not come up: back on the old slot, which answers."""
    goes_back(hospital, "failed-health", health=SHORT)


def panic(hospital):
    """A new system whose kernel panics: back on the old slot."""
    goes_back(hospital, "panic")


def two_failures(hospital):
    """Two releases in a row that do not hold, each in its own way: the box goes back from both."""
    unhealthy, panics = OFFERS["two-failures"]
    goes_back(hospital, "two-failures", unhealthy, SHORT)
    goes_back(hospital, "two-failures-again", panics)


def guard(hospital):
    """A new system whose updater cannot be started, so that nobody would end its trial: the guard restarts the box into the old slot."""
    before = hospital.box.journal.stat().st_size
    goes_back(hospital, "guard")
    hospital.box.await_journal("sund-guard.service", "Failed with result", since=before)


def no_network(hospital):
    """A new system that has no address on the management network, where nobody would reach it any more: back on the old slot, which says why."""
    before = hospital.box.journal.stat().st_size
    goes_back(hospital, "no-network", health=AWAY)
    hospital.box.await_journal("the action ended", "os-without-network", "`management` has no address", since=before)


def stands(hospital):
    """A new system whose start never comes so far that a guard could be started: the start's own time restarts the box into the old slot."""
    before = hospital.box.log.stat().st_size
    goes_back(hospital, "stands")
    expect("job timed out" in hospital.box.said(before), "the time of the start was it")


def power_cut(hospital):
    """The power goes at a random moment of the install: the box comes back, and the update ends well."""
    before = hospital.box.journal.stat().st_size
    version = offers(hospital, "power-cut")
    cut_install(hospital, random.choice(CUTS), before)
    holds(hospital, "power-cut", version)


def cut_install(hospital, seconds, since):
    box = hospital.box
    box.await_journal("rauc[", "installing", since=since)
    wait(box.machine, seconds)
    box.cut_power()
    hospital.start()


def power_cuts(hospital):
    """The power goes at each of ten moments, of the install and of the first boot: the box always comes back, and takes the update at last."""
    box = hospital.box
    first, second = OFFERS["power-cuts"]
    before = box.journal.stat().st_size
    offers(hospital, "power-cuts", first)
    for moment in CUTS:
        cut_install(hospital, moment + random.random(), before)
        before = box.journal.stat().st_size
    holds(hospital, "power-cuts", first)
    for count, moment in enumerate(BOOT_CUTS):
        version = offers(hospital, f"power-cuts-{count}", second if hospital.version == first else first)
        box.machine.wait(PATIENCE)
        box.end()
        hospital.start()
        wait(box.machine, moment + random.random())
        box.cut_power()
        hospital.start()
        # What a cut ends was no trial that held. Before the firmware has begun it, it is still to come.
        if ends(hospital, f"power-cuts-{count}") == "finished":
            hospital.version = version
        runs(hospital, hospital.version)
    holds(hospital, "power-cuts-last", offers(hospital, "power-cuts-last", second if hospital.version == first else first))


def channel_down(hospital):
    """The region is not reached while a new system is on trial, for longer than that has to be healthy: it waits, and is committed when the region
    is back."""
    box = hospital.box
    version = offers(hospital, "channel-down")
    box.machine.wait(PATIENCE)
    hospital.region.stop()
    box.end()
    before = box.journal.stat().st_size
    hospital.start(AWAY)
    hospital.await_echo()
    box.await_journal("the action waits", since=before)
    expect(not wait(box.machine, AWAY), "the system on trial runs on")
    expect(not re.search(r"Marked slot esp\.. as good", box.journal_said(before)), "nothing is committed without the region")
    hospital.region.serve()
    holds(hospital, "channel-down", version)
    box.await_journal("Marked slot", "as good", since=before)


def migration(hospital):
    """Forward to a newer system and back to the older one, while the archive is away: what was queued before and between is delivered then."""
    box = hospital.box
    older = hospital.version
    hospital.close_archive()
    queued = {hospital.sends()}
    newer = offers(hospital, "migration")
    expect(ends(hospital, "migration") == "finished", "the newer system holds")
    runs(hospital, newer)
    hospital.await_echo()
    queued.add(hospital.sends())
    offers(hospital, "migration-back", older)
    expect(ends(hospital, "migration-back") == "finished", "the older system holds")
    runs(hospital, older)
    hospital.open_archive()
    box.until("what was queued is delivered", lambda: queued <= hospital.studies_answered() or None)


def next_start(hospital):
    """What a box was brought to is what it starts when nothing is on trial; what its region keeps opens its disk."""
    box = hospital.box
    box.power_off()
    disk.opens(box.folder, hospital.region.recovery_key(hospital.name))
    before = box.log.stat().st_size
    hospital.start()
    welcomed = box.until("the box says what it starts", lambda: re.search(r"Welcome to Sund (\S+)!", box.said(before)))
    expect(welcomed[1] == hospital.version, f"{hospital.version} starts")
    box.cut_power()


# In this order, so that one box lives through them. After one that fails there is a new box.
ALL = {"stranger": stranger, "corrupted": corrupted, "downgrade": downgrade, "good-update": good_update, "stranger-kernel": stranger_kernel,
       "watchdog": watchdog, "failed-health": failed_health, "panic": panic, "two-failures": two_failures, "guard": guard,
       "no-network": no_network, "stands": stands, "power-cut": power_cut, "channel-down": channel_down, "migration": migration,
       "power-cuts": power_cuts, "power-cut-receiving": power_cut_receiving, "data-full": data_full, "damaged": damaged,
       "second-disk": second_disk, "rescue-old": rescue_old, "rescue": rescued, "locked": locked, "stick-update": stick_update,
       "screen": screen, "stick": stick, "reset": reset}
# These begin with a box of their own.
FACTORY = ("screen", "stick", "reset")
# Of the root alone: nothing is started.
STILL = {"attack-surface": surface.check, "services": lambda made: services.check(made / "tree"), "release": release.check}
NAMES = (*STILL, *ALL)
CONTINUOUS = (*STILL, "stranger", "good-update", "watchdog", "failed-health", "power-cut")


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
    for name in (name for name in STILL if name in names):
        failed |= not told(name, lambda: STILL[name](appliance.made()))
    named = [name for name in ALL if name in names]
    # The box leaves this machine time to build what comes next.
    builder = ThreadPoolExecutor(1)
    for name in named:
        for version in OFFERS.get(name, ()):
            builder.submit(bundle, version)
    try:
        with Stay() as stay:
            for name in named:
                if name in FACTORY:
                    failed |= not stay.starts_again()
                if stay.hospital is None and name in FACTORY:
                    stay.hospital = Hospital("test", FIRST)
                elif stay.hospital is None and not told("a new box", stay.begin):
                    return 1
                if not told(name, lambda: ALL[name](stay.hospital)):
                    failed = 1
                    stay.end()
            failed |= not stay.starts_again()
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

    def starts_again(self):
        """A box that was brought to another system than it was made with is started once more, before another one takes its place. Whether that holds."""
        if self.hospital is None or self.hospital.version == FIRST or told("the next start", lambda: next_start(self.hospital)):
            return True
        self.end()
        return False

    def end(self):
        if self.hospital:
            self.hospital.close()
        self.hospital = None
