"""A box of which neither slot starts: how it comes to that, and what it is offered then."""
import re

from . import disk, tpm
from .steps import OFFERS, answers, bundle, comes_to, expect
from .store import run

# So much of a root is overwritten.
DAMAGE = 1 << 20


def rescue_old(hospital):
    """Both roots are damaged, and what the region releases is older than the least in the TPM: refused again and again, nothing is written."""
    box = hospital.box
    damage(box)
    offer(hospital, OFFERS["rescue-old"][0], too_old=True)
    before = box.log.stat().st_size
    hospital.start()
    given_up = "there is no recovery bundle for this box"
    comes_to(hospital, "the box gives up twice", lambda: True if box.said(before).count(given_up) > 1 else None)
    said = box.said(before)
    expect(said.count("[version-too-old]") > 1, "what is offered is too old each time")
    expect("Welcome to Sund" not in said and "is made anew" not in said, "nothing was installed")
    box.cut_power()


def rescued(hospital):
    """Both roots are damaged: the box gets what its region has released, starts it, and has its data."""
    box = hospital.box
    version = OFFERS["rescue"][0]
    damage(box)
    offer(hospital, version)
    before, journal = box.log.stat().st_size, box.journal.stat().st_size
    hospital.start()
    welcomed = comes_to(hospital, "the box starts a system", lambda: re.search(r"Welcome to Sund (\S+)!", box.said(before)))
    expect(welcomed[1] == version, f"{version} starts")
    answers(hospital)
    box.await_journal("the system is healthy, and was taken on", version, since=journal)
    hospital.version = version


def damage(box):
    """Switches a box off, and overwrites the beginning of both roots."""
    box.power_off()
    for _, _, start, _, label in disk.partitions(disk.disk(box.version) / "disk.raw"):
        if label in ("root-a", "root-b"):
            run("qemu-io", "-f", "qcow2", "-c", f"write -P 0xff {start * 512} {DAMAGE}", box.folder / "disk.qcow2")


def offer(hospital, version, too_old=False):
    """The region releases a recovery bundle under the least number that the box's TPM takes, or under one that it takes no more."""
    state = hospital.box.folder / "tpm"
    least = tpm.count_up(state) if too_old else tpm.number(state)
    hospital.region.publish_rescue(version, least - too_old, bundle(version))

