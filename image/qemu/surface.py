"""What of a root can be attacked, as lines: compared with `surface.txt`, so that nothing is added unseen."""
import os
import re
import stat

from .debian import inside
from .place import Place
from .store import REPOSITORY, SOURCE, Failed

# systemd.exec(5): 0 is closed, 10 is open.
MOST_EXPOSED = 2.0
CLOSED = ("sund.service", "sund-updater.service", "sund-enrol.service", "sund-worker@.service", "sund-network.service",
          "sund-provision.service", "sund-provision-finish.service", "sund-reset.service", "sund-screen.service", "sund-guard.service",
          "sund-started.service", "sund-stick-install.service", "chronyd.service", "nftables.service")
# Where units of this repository lie, and where a root has them: what is in /etc comes first.
OURS = (SOURCE / "root/etc/systemd/system", SOURCE / "root/usr/lib/systemd/system", REPOSITORY / "agent/units", REPOSITORY / "ota/units")
UNITS = ("etc/systemd/system", "usr/lib/systemd/system")


def lines(tree, inside_tools):
    """Of a tree before it becomes an image; `inside_tools` is where the chroot of the tools has it."""
    understood(inside_tools)
    return sorted({*exposures(inside_tools), *capabilities(tree), *started(tree), *mounts(tree), *firewall(tree), *files(tree), *accounts(tree)})


def ours(suffixes):
    """Names of our units."""
    return sorted(path.name for folder in OURS for path in folder.iterdir() if path.suffix in suffixes)


def understood(inside_tools):
    """systemd ignores a key that it does not know: a misspelt limit would be none."""
    # The one unit of systemd's whose limits are ours.
    units = [*ours((".service", ".socket", ".timer", ".mount", ".path")), "sysinit.target"]
    told = inside("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={inside_tools}", *units)
    if told:
        raise Failed(f"systemd does not understand our units: {told}")


def exposures(inside_tools):
    """How open our units are."""
    for unit in CLOSED:
        told = inside("systemd-analyze", "security", "--offline=yes", f"--root={inside_tools}", "--no-pager", unit)
        yield f"exposure {unit} {re.search(r'exposure level for .*: ([0-9.]+)', told)[1]}"


def capabilities(tree):
    """What a service that starts may do beside what each user may; those that say nothing of it may do everything."""
    for unit in sorted({*ours((".service",)), *starting(tree)}):
        bounds = setting(tree, unit, "CapabilityBoundingSet")
        said = " ".join(bounds) if bounds is not None else "all"
        # All but those that are named: a shorter line is a wider one.
        for capability in [said] if said.startswith("~") else said.split():
            yield f"capability {unit} {capability}"


def starting(tree):
    """Services that start by themselves, by another unit, by a call on the bus, or by a device."""
    names = {path.name for folder in UNITS for path in (tree / folder).glob("*.[wr]*s/*")} | {line.split()[2] for line in started(tree)}
    for name in names:
        stem, _, kind = name.rpartition(".")
        # Who a socket or a timer starts has its name.
        for unit in [f"{stem.partition('@')[0]}@.service", f"{stem}@.service", f"{stem}.service"] if kind in ("service", "socket", "timer", "path") else ():
            found = next((path for folder in UNITS if (path := tree / folder / unit).is_symlink() or path.is_file()), None)
            if found:
                yield found.readlink().name if found.is_symlink() else unit


def started(tree):
    """Units that a call on the bus or a device starts."""
    for file in (tree / "usr/share/dbus-1/system-services").iterdir():
        unit = re.search(r"^SystemdService=(.*)$", file.read_text(), re.M)
        yield f"bus {file.stem} {unit[1] if unit else 'as it says itself'}"
    for file in (path for place in ("etc", "usr/lib") for path in (tree / place / "udev/rules.d").glob("*.rules")):
        for units in re.findall(r'SYSTEMD_WANTS\}\+?="([^"]+)"', file.read_text()):
            for unit in units.split():
                yield f"udev {file.name} {unit}"


def mounts(tree):
    """With which options file systems are mounted; where units leave it open, the kernel's are open."""
    for unit in {path.name for folder in UNITS for path in (tree / folder).glob("*.mount")}:
        yield f"mount {unit} {','.join(setting(tree, unit, 'Options') or [])}"


def firewall(tree):
    """What nft has read: each rule, set and policy, with the chain or set that it is in."""
    with Place(tree) as place:
        place.must(*command(tree, "nftables.service"))
        block = []
        for line in place.must("nft", "--stateless", "list", "ruleset").splitlines():
            words = line.strip()
            if words == "}":
                block.pop()
            elif words.endswith("{"):
                block.append(words.split()[1])
            elif words:
                yield f"firewall {block[-1]} {words}"


def files(tree):
    for path in tree.rglob("*"):
        at = f"/{path.relative_to(tree)}"
        mode = path.lstat().st_mode
        if path.parent in (tree / "usr/bin", tree / "usr/sbin"):
            yield f"program {path.name}"
        if "security.capability" in os.listxattr(path, follow_symlinks=False):
            yield f"file-capability {at}"
        if stat.S_ISLNK(mode):
            if path.parent.suffix in (".wants", ".requires"):
                yield f"unit {path.parent.name} {path.name}"
        elif mode & 0o6000 and stat.S_ISREG(mode):
            yield f"setuid {at}"
        elif mode & 0o002:
            yield f"writable {at}{' but for the files of others' if mode & 0o1000 else ''}"
        if (owner := f"{path.lstat().st_uid}:{path.lstat().st_gid}") != "0:0":
            yield f"owned {at} {owner}"


def accounts(tree):
    """What is on the data partition belongs to these numbers, whatever the release."""
    for name, user, group in re.findall(r"^([^:]+):[^:]*:(\d+):(\d+):", (tree / "etc/passwd").read_text(), re.M):
        yield f"user {name} {user}:{group}"
    for name, number in re.findall(r"^([^:]+):[^:]*:(\d+):", (tree / "etc/group").read_text(), re.M):
        # Below a hundred they are Debian's own, for ever.
        if int(number) >= 100:
            yield f"group {name} {number}"


def setting(tree, unit, key):
    """The values of a key in a unit and its drop-ins, one for each line; an empty one takes back those before. None where it is not there."""
    found = next(tree / folder / unit for folder in UNITS if (tree / folder / unit).is_file())
    drop_ins = sorted((path for folder in UNITS for path in (tree / folder / f"{unit}.d").glob("*.conf")), key=lambda path: path.name)
    values = None
    for file in (found, *drop_ins):
        for value in re.findall(rf"^{key}=(.*)$", file.read_text(), re.M):
            # One line of options takes the place of another.
            values = [*(values or [] if key != "Options" else []), value] if value else []
    return values


def command(tree, unit):
    """What a service runs."""
    return setting(tree, unit, "ExecStart")[-1].lstrip("@-:+!|").split()


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
