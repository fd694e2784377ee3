"""A box of which neither slot starts: how it comes to that, and what it is offered then."""
from . import disk, tpm
from .box import PATIENCE
from .store import run

# So much of a root is overwritten.
DAMAGE = 1 << 20


def damage(box):
    """Switches a box off, and overwrites the beginning of both roots."""
    box.power_off()
    for _, _, start, _, label in disk.partitions(disk.disk(box.version) / "disk.raw"):
        if label in ("root-a", "root-b"):
            run("qemu-io", "-f", "qcow2", "-c", f"write -P 0xff {start * 512} {DAMAGE}", box.folder / "disk.qcow2")


def offer(hospital, version, key, too_old=False):
    """The region releases a recovery bundle under the least number that the box's TPM takes, or under one that it takes no more."""
    state = hospital.box.folder / "tpm"
    least = tpm.count_up(state) if too_old else tpm.number(state)
    hospital.region.publish_rescue(version, least - too_old, disk.bundle(version, key))


def comes_to(hospital, what, look):
    """Waits for something to be seen, and starts the box each time that it restarts."""
    box = hospital.box
    def looked():
        if box.machine.poll() is not None:
            box.end()
            hospital.start()
        return look()
    return box.until(what, looked, 2 * PATIENCE)
