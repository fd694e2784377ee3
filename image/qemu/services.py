"""What services of a root do, seen without a machine: they run from the root itself, in namespaces of their own."""
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from . import networks, parts, surface
from .debian import inside
from .place import Place, until
from .store import STORE, Failed, run

BUS = ("busctl", "--address=unix:path=/run/dbus/system_bus_socket")
RAUC = ("de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer")
SELECTED = "Selected source 127.0.0.1"
NTS = """local
allow
ntsserverkey /run/nts.key
ntsservercert /run/nts.pem
cmdport 0
bindcmdaddress /
pidfile /run/server.pid
"""


def bus(tree):
    """RAUC on the system's bus does what root says, and nobody else."""
    with Place(tree) as place:
        place.directory("run/dbus", "0755", "messagebus")
        place.directory("var/lib/rauc", "0700", "root")
        place.start("bus", "dbus-daemon", "--system", "--nofork", "--nopidfile", "--syslog-only")
        place.start("rauc", "rauc", "--mount=/run/rauc/mnt", "service", "--override-boot-slot=sund-a")
        until("RAUC answers root", lambda: place.run(*BUS, "get-property", *RAUC, "Operation") == (0, 's "idle"\n'))
        for user in place.users:
            if user == "root":
                continue
            for words in (("get-property", *RAUC, "Operation"), ("call", *RAUC, "Mark", "ss", "active", "booted")):
                code, said = place.run(*BUS, *words, user=user)
                if code == 0 or "Access denied" not in said:
                    raise Failed(f"{user} is heard by RAUC: {said}")


def clock(tree):
    """The site's servers are asked for the time; of those that have to prove who they are, only one that the region vouches for is believed,
    also by a box whose clock stands before the day of the certificate."""
    for vouches, ahead, word in ((True, 0, SELECTED), (True, 2, SELECTED), (False, 0, "Error in the certificate verification")):
        with Place(tree) as place:
            ca, key, certificate = certified(ahead)
            stranger, *_ = certified()
            place.directory("etc/sund", "0750", "sund")
            # As provisioning writes them, under the umask of its unit.
            place.directory("etc/sund/chrony", "0750", "root")
            place.put("etc/sund/chrony/site.sources", "server 127.0.0.1 iburst nts\n", "0640")
            place.put("etc/sund/channel-ca.pem", ca if vouches else stranger, "0640")
            for name in ("run/chrony", "var/lib/chrony"):
                place.directory(name, "0700", "_chrony")
            place.directory("run/sund-time", "0755", "root")
            place.must(*surface.command(tree, "sund-network.service"))
            place.put("run/server.conf", NTS)
            place.put("run/nts.pem", certificate)
            place.put("run/nts.key", key, "0600", "_chrony")
            place.start("server", "chronyd", "-x", "-d", "-f", "/run/server.conf", "-u", "_chrony")
            # This machine keeps its clock.
            log = place.start("client", *surface.command(tree, "chronyd.service"), "-x", "-d", user="_chrony")
            until(f"chronyd says {word}", lambda: word in log.read_text())
            if not vouches and SELECTED in log.read_text():
                raise Failed("a server for which nobody vouches is believed")


def certified(ahead=0):
    """A CA, and a key with its certificate of it for a server at 127.0.0.1, which is good from so many days on."""
    begins = (datetime.now(timezone.utc) + timedelta(days=ahead - 1)).strftime("%Y%m%d%H%M%SZ")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-not_before", begins, "-days", "9")
    with tempfile.TemporaryDirectory(dir=STORE) as folder:
        ca, ca_key, key, certificate = (f"/work/{Path(folder).name}/{name}" for name in ("ca.pem", "ca.key", "nts.key", "nts.pem"))
        inside("openssl", "req", "-x509", *curve, "-subj", "/CN=region", "-keyout", ca_key, "-out", ca)
        inside("openssl", "req", "-x509", *curve, "-subj", "/CN=time", "-addext", "subjectAltName=IP:127.0.0.1",
               "-addext", "basicConstraints=critical,CA:FALSE", "-CA", ca, "-CAkey", ca_key, "-keyout", key, "-out", certificate)
        return [Path(folder, Path(name).name).read_text() for name in (ca, key, certificate)]


def erased(tree):
    """When a box is erased the firmware's wish for it goes, also where systemd-repart leaves it there: else every start would erase the box."""
    wish = surface.setting(tree, "sund-factory-reset.service", "ConditionPathExists")[-1]
    with Place(tree) as place:
        run(*place.enter, "mount", "-t", "tmpfs", "tmpfs", tree / "sys")
        place.put(wish.lstrip("/"), "1")
        # As the kernel has variables that it does not know.
        run(*place.enter, "chattr", "+i", f"{tree}{wish}")
        for line in surface.setting(tree, "sund-factory-reset.service", "ExecStartPost"):
            place.must(*line.split())
        if run(*place.enter, "ls", (tree / wish.lstrip("/")).parent):
            raise Failed("the next start would erase the box again")


def keyboard(tree):
    """Whoever stands in front of a box restarts it by its plug alone."""
    with Place(tree) as place:
        _, said = place.run("systemctl", "is-enabled", "ctrl-alt-del.target")
    if said != "masked\n":
        raise Failed(f"Ctrl-Alt-Del restarts the box: {said}")


def check(tree):
    """Whether disks, bus, networks, clock and reset of a root do what is said of them."""
    for one in (parts.initrd, parts.links, keyboard, bus, networks.firewall, networks.ways, networks.redirects, clock, erased):
        one(tree)
