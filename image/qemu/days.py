"""Days of a box beside its updates: the first, the last, and bad ones."""
import hashlib
import re
import time

from . import disk, keys
from .steps import OFFERS, answers, bundle, comes_to, ends, expect, holds, offers, runs
from .store import digest, run

# So many images are acknowledged when the power goes, of twice as many.
CUT_AFTER = 5
# The boxes that a stick provisions have these names.
BY_STICK = "twin-by-stick"
BY_SCREEN = "twin-by-screen"
# In seconds.
TYPED_AGAIN = 60


def power_cut_receiving(hospital):
    """The power goes while images arrive: each that was acknowledged is there afterwards, and has its result."""
    acknowledged = hospital.sends_until(CUT_AFTER)
    hospital.start()
    hospital.await_echo()
    hospital.box.until("each acknowledged image has its result", lambda: acknowledged <= hospital.studies_answered() or None)


def locked(hospital):
    """Another TPM, none, a key that the firmware takes or one file that it takes no more, or a word that its tables add to the command line: the
    data partition stays closed, the box says so, restarts and asks nobody; with its own it works."""
    box = hospital.box
    box.power_off()
    programs = disk.python_tools()
    for elsewhere in (box.another_tpm, box.no_tpm, lambda: box.other_keys(programs, "--add-db", keys.folder() / "stranger-ca.pem"),
                      lambda: box.other_keys(programs, "--add-dbx-hash", hashlib.sha256(b"withdrawn").hexdigest()), box.longer_command_line):
        before = box.log.stat().st_size
        with elsewhere():
            hospital.restarts()
        said = box.said(before)
        expect(f"Welcome to Sund {hospital.version}!" in said, "the system itself starts")
        expect("Started sund.service" not in said, "nothing of it serves")
        expect("its data partition does not open" in said, "it says why")
    hospital.start()
    answers(hospital)


def data_full(hospital):
    """The data partition is full when an image and an update come: both are refused, nothing is lost, and both are taken once there is room."""
    box = hospital.box
    hospital.close_archive()
    acknowledged = hospital.sends()
    box.power_off()
    before = box.log.stat().st_size
    hospital.start(fill="now")
    hospital.await_echo()
    box.await_console("Finished twin-fill.service", since=before)
    _, told = hospital.tries()
    expect("OutOfResources" in told, f"an image is refused for want of room: {told}")
    said = box.journal.stat().st_size
    version = offers(hospital, "data-full")
    expect(ends(hospital, "data-full") == "failed", "the update is refused")
    box.await_journal("the action ended", "disk-full", since=said)
    # So it is after a start that finds it full.
    box.power_off()
    hospital.start()
    hospital.await_echo()
    _, told = hospital.tries()
    expect("OutOfResources" in told, f"an image is refused for want of room: {told}")
    box.power_off()
    hospital.open_archive()
    hospital.start(provision="r /var/twin-fill\n")
    hospital.roll_out("data-full-again", "data-full")
    holds(hospital, "data-full-again", version)
    box.until("what was acknowledged has its result", lambda: acknowledged in hospital.studies_answered() or None)


def damaged(hospital):
    """What the data partition keeps of its free blocks is overwritten: the box restarts when it comes upon that, the next start mends it, and all
    that was acknowledged is there."""
    box = hospital.box
    hospital.close_archive()
    acknowledged = hospital.sends()
    box.power_off()
    disk.damage_data(box.folder)
    console, journal = box.log.stat().st_size, box.journal.stat().st_size
    hospital.open_archive()
    hospital.start()
    comes_to(hospital, "what was acknowledged has its result", lambda: acknowledged in hospital.studies_answered() or None)
    expect("panic forced after error" in box.said(console), "the box goes no further with a damaged partition")
    box.await_journal("systemd-fsck", "FILE SYSTEM WAS MODIFIED", since=journal)
    answers(hospital)


def second_disk(hospital):
    """With a disk of somebody else that has the names of its partitions a box starts, answers and updates as without it, and writes nothing there.
    With the disk of another box it does not start, and says why."""
    box = hospital.box
    box.power_off()
    image = disk.foreign(box.folder)
    before = digest(image)
    with box.second_disk(image, "raw"):
        hospital.start()
        holds(hospital, "second-disk", offers(hospital, "second-disk"))
        box.power_off()
    expect(digest(image) == before, "nothing was written to the other disk")
    other = box.folder / "other.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk.disk(box.version) / "disk.raw", other)
    console = box.log.stat().st_size
    with box.second_disk(other, "qcow2"):
        hospital.start()
        box.await_console("two partitions are called esp-", since=console)
        box.cut_power()
    expect("Welcome to Sund" not in box.said(console), "nothing starts")
    hospital.start()
    answers(hospital)


def stick(hospital):
    """The first day of a box that is nobody's: by the region's stick it enrols with a key of its TPM, gets its model, and answers."""
    hospital.from_the_factory(BY_STICK)
    first_day(hospital)


def screen(hospital):
    """The first day of a box whose stick has no one-time code: somebody types it at the screen. Ctrl-Alt-Del does nothing."""
    hospital.from_the_factory(BY_SCREEN)
    hospital.restarts(hospital.first_stick())
    box = hospital.box
    before = box.log.stat().st_size
    hospital.start(screen=True)
    box.await_console("Started sund-screen.service", since=before)
    box.presses("ctrl", "alt", "delete")
    types_the_code(hospital)
    serves_its_model(hospital)
    box.shows()


def types_the_code(hospital):
    """Whoever sees that nothing has come of it types it again: a keyboard is found later than the screen."""
    box, code, typed = hospital.box, hospital.enrolment_code(), -TYPED_AGAIN
    def look():
        nonlocal typed
        if hospital.region.has_enrolled(hospital.name):
            return True
        if time.monotonic() - typed > TYPED_AGAIN:
            typed = time.monotonic()
            box.presses("ctrl", "u")
            box.types(code)
        return None
    box.until("the box is the region's", look)


def first_day(hospital):
    hospital.restarts(hospital.first_stick(hospital.enrolment_code()))
    hospital.start()
    serves_its_model(hospital)


def serves_its_model(hospital):
    hospital.await_echo()
    expect(hospital.gets_its_model(), "the box takes its model")
    answers(hospital)


def stick_update(hospital):
    """A box that doesn't reach its region takes a new system from a stick, and is committed to it; the region hears of it once it is reached."""
    box = hospital.box
    [version] = OFFERS["stick-update"]
    hospital.region.publish_state("stick-update", version, bundle(version))
    stick = hospital.emptied("update")
    hospital.region.writes_bundle("stick-update", stick)
    box.power_off()
    hospital.region.stop()
    console, journal = box.log.stat().st_size, box.journal.stat().st_size
    hospital.start(stick=stick)
    comes_to(hospital, "the system of the stick is good", lambda: re.search(r"Marked slot esp\.. as good", box.journal_said(journal)))
    expect(f"Welcome to Sund {version}!" in box.said(console), f"{version} was started")
    runs(hospital, version)
    answers(hospital)
    hospital.version = version
    hospital.region.serve()
    box.until("the region hears what the box serves", lambda: hospital.region.serves(hospital.name, "stick-update") or None)


def reset(hospital):
    """A signed order on a stick: the next start erases what the box has, it is nobody's, and another stick makes it the region's again."""
    if hospital.name != BY_STICK:
        stick(hospital)
    box = hospital.box
    box.power_off()
    hospital.restarts(hospital.reset_stick())
    before = box.log.stat().st_size
    hospital.start()
    box.await_console("Finished sund-factory-reset.service", since=before)
    box.await_console("Reached target multi-user.target", since=before)
    expect("Started sund.service" not in box.said(before), "nothing of it serves")
    box.power_off()
    first_day(hospital)
