"""What of a root can be attacked, as lines: compared with `surface.txt`, so that nothing is added unseen."""
import re
import stat

from .debian import inside
from .store import SOURCE, Failed

# systemd.exec(5): 0 is closed, 10 is open.
MOST_EXPOSED = 2.0
OURS = ("sund.service", "sund-updater.service", "sund-enrol.service", "sund-worker@.service", "sund-network.service",
        "sund-provision.service", "sund-provision-finish.service", "sund-reset.service", "sund-screen.service", "sund-guard.service",
        "sund-started.service")


def lines(tree, inside_tools):
    """Of a tree before it becomes an image; `inside_tools` is where the chroot of the tools has it."""
    found = []
    for unit in OURS:
        told = inside("systemd-analyze", "security", "--offline=yes", f"--root={inside_tools}", "--no-pager", unit)
        found.append(f"exposure {unit} {re.search(r'exposure level for .*: ([0-9.]+)', told)[1]}")
    for path in tree.rglob("*"):
        at = f"/{path.relative_to(tree)}"
        mode = path.lstat().st_mode
        if path.parent in (tree / "usr/bin", tree / "usr/sbin"):
            found.append(f"program {path.name}")
        if stat.S_ISLNK(mode):
            if path.parent.suffix in (".wants", ".requires"):
                found.append(f"unit {path.parent.name} {path.name}")
        elif mode & 0o6000 and stat.S_ISREG(mode):
            found.append(f"setuid {at}")
        elif mode & 0o002 and not mode & 0o1000:
            found.append(f"writable {at}")
        elif path.parent == tree / "usr/share/dbus-1/system-services":
            found.append(f"bus {path.name}")
    return sorted(set(found))


def check(tree):
    """Fails where an image has what `surface.txt` does not list, or one of our units is too open."""
    now = (tree / "surface.txt").read_text().splitlines()
    listed = set((SOURCE / "surface.txt").read_text().splitlines())
    added = [line for line in now if line not in listed]
    if added:
        raise Failed(f"not in image/surface.txt: {'; '.join(added)}")
    open_units = [line for line in now if line.startswith("exposure") and float(line.split()[-1]) > MOST_EXPOSED]
    if open_units:
        raise Failed(f"more open than {MOST_EXPOSED}: {'; '.join(open_units)}")
