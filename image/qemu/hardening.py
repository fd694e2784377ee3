"""What the kernel of a box that runs says of itself: lockdown, and how file systems are mounted. `twin-tells@.service` brings it here."""
import re

from .store import Failed

MOUNTS = {"/": {"ro", "nosuid", "nodev"}, "/dev": {"nosuid"}, "/dev/shm": {"nosuid", "nodev", "noexec"}, "/etc/sund": {"nosuid", "nodev", "noexec"},
          "/run": {"nosuid", "nodev", "noexec"}, "/tmp": {"nosuid", "nodev", "noexec"}, "/var": {"nosuid", "nodev", "noexec"}}


def check(box):
    """Fails where the box that was started last is more open than it is said to be."""
    box.await_journal("[integrity]")
    box.await_journal("Finished twin-tells@proc-1-mountinfo.service")
    # proc(5): number, parent, device, root, place, options.
    told = re.findall(r"\]: \d+ \d+ \d+:\d+ \S+ (\S+) (\S+) .* - ", box.journal.read_text(errors="replace"))
    mounts = {place: set(options.split(",")) for place, options in told}
    for place, wanted in MOUNTS.items():
        missing = wanted - mounts.get(place, set())
        if missing:
            raise Failed(f"{place} is not mounted {','.join(sorted(missing))}")
