"""Whose partitions a box takes, where another disk has the same labels; seen without a machine."""
import re
import subprocess
import tempfile
from pathlib import Path

from .debian import inside
from .place import Place
from .store import SOURCE, STORE, Failed, run

# The partitions of each disk, which one is looked for, and what is found; in which order disks come is a matter of chance.
DISKS = (({"vda": ("esp-a", "root-a", "data")}, "root-a", "/dev/vda2"),
         ({"sda": ("root-a", "data"), "vda": ("esp-a", "root-a", "data"), "vdb": ("esp-b", "root-a")}, "root-a", "/dev/vda2"),
         ({"vda": ("esp-a", "root-a"), "vdb": ("esp-b", "root-b")}, "root-b", "nothing"),
         ({"vdb": ("root-a", "data")}, "root-a", "nothing"),
         ({"vda": ("esp-a", "root-a"), "vdb": ("esp-a", "root-a")}, "root-a", "two partitions are called esp-a"),
         ({"vda": ("esp-a", "root-a", "root-a")}, "root-a", "two partitions are called root-a"))
# The initrd's own words, but that nobody waits.
LOOKS = """say() {{ echo "$1" | cut -d: -f1; }}
fail() {{ exit; }}
busybox() {{ case "$1" in *sleep) ;; *) command busybox "$@" ;; esac; }}
{functions}
slot=a
if partition "$1"; then echo "$device"; else echo nothing; fi
"""


def initrd(_):
    """The initrd takes partitions of the disk alone that the firmware started from, and none where two could be that."""
    init = (SOURCE / "initrd/init").read_text()
    functions = "".join(re.search(rf"^{name}\(\) \{{\n.*?^\}}\n", init, re.M | re.S)[0] for name in ("only", "partition"))
    for there, label, wanted in DISKS:
        with tempfile.TemporaryDirectory(dir=STORE) as folder:
            for disk, labels in there.items():
                for number, name in enumerate(labels, 1):
                    partition = Path(folder, disk, f"{disk}{number}")
                    partition.mkdir(parents=True)
                    (partition / "uevent").write_text(f"DEVNAME={partition.name}\nPARTNAME={name}\n")
            script = LOOKS.format(functions=functions.replace("/sys/block", f"/work/{Path(folder).name}"))
            found = inside("busybox", "sh", "-c", script, "sh", label).strip()
        if found != wanted:
            raise Failed(f"of {there} the initrd takes {found} for {label}, and not {wanted}")


# Of a partition what sysfs says, and what udev reads in its table: there is no such disk here.
SYSFS = """cd "$1"
mkdir -p sys/class/block run/sund-disk run/udev/rules.d
: >run/sund-disk/vda
echo 'ENV{ID_PART_ENTRY_NAME}="root-a"' >run/udev/rules.d/80-label.rules
for disk in vda vdb; do
    mkdir -p sys/devices/block/$disk/${disk}2
    for device in $disk $disk/${disk}2; do
        ln -s /sys/class/block sys/devices/block/$device/subsystem
        ln -s /sys/devices/block/$device sys/class/block/${device#*/}
    done
    printf 'MAJOR=254\\nDEVNAME=%s\\nDEVTYPE=disk\\n' $disk >sys/devices/block/$disk/uevent
    printf 'MAJOR=254\\nDEVNAME=%s\\nDEVTYPE=partition\\n' ${disk}2 >sys/devices/block/$disk/${disk}2/uevent
done"""


def links(tree):
    """udev names partitions of the disk alone of which the initrd has left word, by the rule of the root itself."""
    with Place(tree) as place:
        run(*place.enter, "mount", "-t", "tmpfs", "tmpfs", tree / "sys")
        run(*place.enter, "sh", "-ec", SYSFS, "sh", tree)
        for disk, wanted in (("vda", ["/dev/disk/sund/root-a"]), ("vdb", [])):
            # What is no sysfs is taken for one.
            test = ("env", "SYSTEMD_DEVICE_VERIFY_SYSFS=0", "chroot", tree, "udevadm", "test", f"/sys/devices/block/{disk}/{disk}2")
            told = subprocess.run([*place.enter, *test], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
            found = re.findall(r"^ +(/dev/disk/sund/\S+)$", told, re.M)
            if found != wanted:
                raise Failed(f"of {disk}, where vda was started, udev names {found}: {told}")
