"""What services of a root do, seen without a machine: they run from the root itself, in namespaces of their own."""
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import surface
from .store import Failed, run

# What a box has that was made when it started. `cat` ends with this program, and all that runs in the place with it.
PLACE = ('for folder in run var etc/sund; do mount -t tmpfs -o mode=0755 tmpfs "$1/$folder"; done; mount -t proc proc "$1/proc"; '
         'mount --rbind /dev "$1/dev"; ip link set lo up; echo ready; exec cat')
BUS = ("busctl", "--address=unix:path=/run/dbus/system_bus_socket")
RAUC = ("de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer")
# Where what may come in. Nothing listens there: what gets through is refused at once, and what does not has no answer in two seconds.
OPEN = {"clinical": {2762, 11112}, "management": {8443}}
PORTS = (22, 53, 111, 123, 323, 443, 2762, 4460, 8080, 8443, 11112)
CONNECTS = """import errno, select, socket, sys
tries = {port: socket.socket() for port in map(int, sys.argv[2:])}
for port, one in tries.items():
    one.setblocking(False)
    one.connect_ex((sys.argv[1], port))
select.select([], [], [], 2)
print(*(port for port, one in tries.items() if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED))
"""
NTS = """local
allow
ntsserverkey /run/nts.key
ntsservercert /run/nts.pem
cmdport 0
bindcmdaddress /
pidfile /run/server.pid
"""


class Place:
    """A root in which nothing runs yet: with a network of its own, and without the data partition."""

    def __init__(self, tree):
        self.tree = tree
        self.users = dict(re.findall(r"^([^:]+):[^:]*:(\d+:\d+):", (tree / "etc/passwd").read_text(), re.M))

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.holder = subprocess.Popen(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec", PLACE, "sh", self.tree],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.holder.stdout.readline() != b"ready\n":
            raise Failed("the root cannot be laid out in namespaces of its own")
        self.first = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().strip()
        self.enter = ["nsenter", "--target", self.first, "--mount", "--net", "--pid"]
        return self

    def __exit__(self, *_):
        self.holder.communicate()
        self.scratch.cleanup()

    def within(self, user, command):
        return [*self.enter, "chroot", f"--userspec={self.users[user]}", self.tree, *command]

    def run(self, *command, user="root"):
        ended = subprocess.run(self.within(user, command), capture_output=True, text=True)
        return ended.returncode, ended.stdout + ended.stderr

    def must(self, *command):
        code, said = self.run(*command)
        if code:
            raise Failed(f"{' '.join(command)}: {said}")
        return said

    def start(self, name, *command, user="root"):
        """Runs until the place is left; what it says is in a file."""
        log = Path(self.scratch.name) / name
        with log.open("wb") as file:
            subprocess.Popen(self.within(user, command), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        return log

    def put(self, name, content, mode="0644", owner="root"):
        """A file of the place, with the directories above it."""
        run(*self.enter, "sh", "-ec", 'mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"; chown "$3" "$1"', "sh", self.tree / name, mode,
            self.users[owner], input=content)

    def directory(self, name, mode, owner):
        run(*self.enter, "sh", "-ec", 'mkdir -p "$1"; chmod "$2" "$1"; chown "$3" "$1"', "sh", self.tree / name, mode, self.users[owner])


def until(what, look, patience=60):
    end = time.monotonic() + patience
    while not look():
        if time.monotonic() > end:
            raise Failed(f"not within {patience} s: {what}")
        time.sleep(0.05)


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


def firewall(tree):
    """The rules load, with every user that they name, and a box is reached at the ports that it is for, and at no other."""
    with Place(tree) as place:
        place.must(*started(tree, "nftables.service"))
        rules = place.must("nft", "list", "ruleset")
        if re.findall(r"hook (\w+) .*policy (\w+);", rules) != [(hook, "drop") for hook in ("input", "forward", "output")]:
            raise Failed(f"the firewall lets through what it does not name: {rules}")
        for name, wanted in OPEN.items():
            found = comes_in(place, name)
            if found != wanted:
                raise Failed(f"{name} lets in {sorted(found)}")


def comes_in(place, name):
    """The ports at which a neighbour on this network reaches the box."""
    box, neighbour = "10.77.0.1", "10.77.0.2"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        here, there = (("nsenter", "--target", str(process), "--net") for process in (place.first, other.pid))
        run(*here, "ip", "link", "add", name, "type", "veth", "peer", "name", "neighbour", "netns", other.pid)
        for side, link, address in ((here, name, box), (there, "neighbour", neighbour)):
            run(*side, "ip", "address", "add", f"{address}/24", "dev", link)
            run(*side, "ip", "link", "set", link, "up")
        told = run(*there, sys.executable, "-c", CONNECTS, box, *PORTS)
        run(*here, "ip", "link", "delete", name)
        other.stdin.close()
    return {int(port) for port in told.split()}


def redirects(tree):
    """Nobody on a network tells a box another way: neither a port that is there nor one that comes is told to listen."""
    with Place(tree) as place:
        # These are the network's own; others are this machine's.
        place.must("/usr/lib/systemd/systemd-sysctl", "--prefix=/net/ipv4/conf", "--prefix=/net/ipv6/conf")
        settings = " ".join(f"/proc/sys/net/{protocol}/conf/*/accept_*" for protocol in ("ipv4", "ipv6"))
        for line in run(*place.enter, "sh", "-c", f"grep -H . {settings}").splitlines():
            if re.search(r"(redirects|source_route):[^0]", line):
                raise Failed(f"a network may change the ways of a box: {line}")


def clock(tree):
    """The site's servers are asked for the time; of those that have to prove who they are, only one that the region vouches for is believed."""
    for vouches, word in ((True, "Selected source 127.0.0.1"), (False, "Error in the certificate verification")):
        with Place(tree) as place:
            ca, key, certificate = certified(Path(place.scratch.name))
            stranger, *_ = certified(Path(place.scratch.name))
            place.directory("etc/sund", "0750", "sund")
            # As provisioning writes them, under the umask of its unit.
            place.directory("etc/sund/chrony", "0750", "root")
            place.put("etc/sund/chrony/site.sources", "server 127.0.0.1 iburst nts\n", "0640")
            place.put("etc/sund/channel-ca.pem", ca if vouches else stranger, "0640")
            for name in ("run/chrony", "var/lib/chrony"):
                place.directory(name, "0700", "_chrony")
            place.directory("run/sund-time", "0755", "root")
            place.must(*started(tree, "sund-network.service"))
            place.put("run/server.conf", NTS)
            place.put("run/nts.pem", certificate)
            place.put("run/nts.key", key, "0600", "_chrony")
            place.start("server", "chronyd", "-x", "-d", "-f", "/run/server.conf", "-u", "_chrony")
            # This machine keeps its clock.
            log = place.start("client", *started(tree, "chronyd.service"), "-x", "-d", user="_chrony")
            until(f"chronyd says {word}", lambda: word in log.read_text())
            if not vouches and "Selected source" in log.read_text():
                raise Failed("a server for which nobody vouches is believed")


def certified(folder):
    """A CA, and a key with its certificate of it for a server at 127.0.0.1."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    run("openssl", "req", "-x509", *curve, "-subj", "/CN=region", "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    run("openssl", "req", "-x509", *curve, "-subj", "/CN=time", "-addext", "subjectAltName=IP:127.0.0.1",
        "-addext", "basicConstraints=critical,CA:FALSE", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-keyout", folder / "nts.key", "-out", folder / "nts.pem")
    return [(folder / name).read_text() for name in ("ca.pem", "nts.key", "nts.pem")]


def started(tree, unit):
    """The command of a unit's service."""
    return surface.setting(tree, unit, "ExecStart")[-1].lstrip("@-:+!|").split()


def check(tree):
    """Whether bus, firewall, network and clock of a root do what is said of them."""
    for one in (bus, firewall, redirects, clock):
        one(tree)
