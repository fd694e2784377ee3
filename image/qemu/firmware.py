"""What the firmware starts, and what it refuses before anything of it runs."""
import re
import shutil
from pathlib import Path

from . import boot, disk, keys, root, store
from .debian import inside
from .steps import answers, expect
from .store import STORE, run

SLOTS = {"a": "b", "b": "a"}


def stranger_kernel(hospital):
    """The slot that the firmware starts first has the kernel file that was there, signed by a stranger: it is refused, and the other slot starts."""
    box, version = hospital.box, hospital.version
    slot = started(box.said())[-1]
    other = SLOTS[slot]
    own = boot.esp(version) / "esp.img"
    box.power_off()
    # Whatever an update has left there, or none yet: something that starts.
    lay(box, f"root-{other}", root.image(version) / "root.img")
    lay(box, f"esp-{other}", own)
    lay(box, f"esp-{slot}", signed_by_a_stranger(version) / "esp.img")
    before = box.log.stat().st_size
    hospital.start()
    answers(hospital)
    said = box.said(before)
    expect(re.search(rf'failed to load Boot[0-9A-F]{{4}} "sund-{slot}".*: (Access Denied|Security Violation)', said), f"the firmware refuses slot {slot}")
    expect(started(said) == [other], f"slot {other} starts, and nothing of slot {slot}")
    box.power_off()
    lay(box, f"esp-{slot}", own)
    before = box.log.stat().st_size
    hospital.start()
    answers(hospital)
    expect(started(box.said(before)) == [slot], f"with the file that is ours slot {slot} starts again")


def started(said):
    """Which slots the initrd says that it starts, in order."""
    return re.findall(r"initrd: slot ([ab])\s*$", said, re.M)


def lay(box, label, image):
    """Writes an image to a partition of a box that is off."""
    [start] = [start for _, _, start, _, name in disk.partitions(disk.disk(box.version) / "disk.raw") if name == label]
    run("qemu-io", "-f", "qcow2", "-c", f"write -s {image} {start * 512} {image.stat().st_size}", box.folder / "disk.qcow2")


def signed_by_a_stranger(version):
    """`esp.img`: the same file but for its signature, which is good and nobody's whom the firmware knows."""
    source = boot.esp(version)
    def make(folder):
        shutil.copy(source / "sund.efi", folder)
        shutil.copy(source / "esp.img", folder)
        inside("sh", "-ec", f"""
            cd /work/{folder.name}
            sbattach --remove sund.efi
            sbsign --key /work/keys/stranger.key --cert /work/keys/stranger.pem --output sund.efi sund.efi
            sbverify --cert /work/keys/stranger.pem sund.efi
            if sbverify --cert /work/keys/db.pem sund.efi; then exit 1; fi
            mcopy -o -i esp.img sund.efi ::EFI/sund/sund.efi""")
    return store.made(f"esp-{version}-stranger", [(STORE / f"{source.name}.of").read_text(), keys.folder() / "stranger.pem", Path(__file__)], make)
