"""Two networks of a box, seen without a machine: who reaches it, whom it reaches, and by which way."""
import re
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_interface
from itertools import product

from .place import Place, until
from .store import REPOSITORY, Failed, run
from .surface import command

# Where what may come in, and who may go out where. What is behind a network has nobody listening: what gets through is refused at once,
# and what does not has no answer in two seconds.
COMES_IN = {"clinical": {2762, 11112}, "management": {8443}}
PORTS = {22, 53, 80, 104, 123, 443, 853, 2762, 4460, 6514, 8080, 8443, 11112, 65535}
# What the agent asks of a collector or of the EST server is on management or behind it; its other peers are on clinical or behind that.
GOES_OUT = {"clinical": {"sund": PORTS - {443, 6514}}, "management": {"sund": {443, 6514}, "root": PORTS, "_chrony": {4460}, "systemd-resolve": {53, 853}}}
USERS = ("root", "sund", "_chrony", "systemd-resolve", "nobody")
# A SYN for every port (RFC 9293, 3.1); the ports that answer it, with SYN or RST.
SCANS = """import array, select, socket, struct, sys
source, target = sys.argv[1:]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.bind((source, 0))
ends = socket.inet_aton(source) + socket.inet_aton(target)
for port in range(1, 65536):
    segment = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 5 << 4, 2, 1024, 0, 0)
    total = sum(struct.unpack("!16H", ends + struct.pack("!HH", socket.IPPROTO_TCP, len(segment)) + segment))
    total = (total & 0xFFFF) + (total >> 16)
    raw.sendto(segment[:16] + struct.pack("!HH", ~(total + (total >> 16)) & 0xFFFF, 0), (target, 0))
found = set()
while select.select([raw], [], [], 2)[0]:
    packet = raw.recv(4096)
    port, own = struct.unpack_from("!HH", packet, 20)
    if packet[12:16] == ends[4:] and own == 40000 and packet[33] & 6:
        found.add(port)
print(*found)
"""
CONNECTS = """import errno, os, select, socket, sys
os.setuid(int(sys.argv[1]))
tries = {port: socket.socket() for port in map(int, sys.argv[3:])}
for port, one in tries.items():
    one.setblocking(False)
    one.connect_ex((sys.argv[2], port))
select.select([], [], [], 2)
print(*(port for port, one in tries.items() if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED))
"""
# Two ends of one connection: the server answers what it is told.
SERVES = """import os, socket, sys
os.setuid(int(sys.argv[1]))
with socket.create_server(("", int(sys.argv[2]))) as listening:
    while True:
        connection, _ = listening.accept()
        connection.sendall(connection.recv(16))
"""
ASKS = """import socket, sys
source, target, port = sys.argv[1:]
with socket.create_connection((target, int(port)), 5, (source, 0)) as connection:
    connection.sendall(b"word")
    sys.exit(connection.recv(16) != b"word")
"""
# Of each network: the box, its router, and who is behind that.
ADDRESSES = {"clinical": ("10.30.0.5", "10.30.0.1", "10.99.0.8"), "management": ("10.20.0.5", "10.20.0.1", "10.98.0.8")}
LISTENS = {"clinical": 11112, "management": 8443}
# What a site says of its networks, as provisioning writes it.
STATIC = REPOSITORY / "ota/tests/goldens/network"
ROUTER = """[Match]
Name=router
[Network]
Address={router}/{prefix}
DHCPServer=yes
LinkLocalAddressing=no
[Address]
Address={beyond}/32
[DHCPServer]
PoolOffset={offset}
PoolSize=1
EmitDNS=no
EmitNTP=no
EmitTimezone=no
EmitSIP=no
PersistLeases=no
{more}"""
# RFC 3442: whoever answers on the clinical network hands out the way to everywhere, and the same in two halves, which come before all others.
GRABS = {"clinical": r"SendOption=121:string:\x00\x0a\x1e\x00\x01\x01\x00\x0a\x1e\x00\x01\x01\x80\x0a\x1e\x00\x01" + "\n"}
# All of the other network's peers lie in a network of this prefix.
SHORT = 8


def firewall(tree):
    """The rules load, with every user that they name, and drop what they do not name."""
    with Place(tree) as place:
        place.must(*command(tree, "nftables.service"))
        rules = place.must("nft", "list", "ruleset")
        wanted = [("input", "accept"), ("prerouting", "accept"), *((hook, "drop") for hook in ("input", "forward", "output"))]
        if re.findall(r"hook (\w+) .*policy (\w+);", rules) != wanted:
            raise Failed(f"the firewall lets through what it does not name: {rules}")


def ways(tree):
    """With addresses by DHCP and by the site, both networks with a router: who is on a network or behind its router reaches the box at the ports
    that it is for and at no other, has its answers by the network that it asked on, and is reached by whom the network is for alone; also where
    clinical's DHCP hands out ways to everywhere. All peers of one network lie within the prefix of the other: of each in turn."""
    for origin, short in product(("by DHCP", "of the site"), ADDRESSES):
        how = f"{origin}, {short}'s prefix short"
        with ExitStack() as stack:
            place = stack.enter_context(Place(tree))
            places = {name: stack.enter_context(Place(tree)) for name in ADDRESSES}
            settled(tree, place, places, origin, short)
            together(lambda name: comes_in(places[name], name, how), ADDRESSES)
            together(lambda case: goes_out(place, *case, how), [(name, user) for name in ADDRESSES for user in USERS])


def together(look, cases):
    """Each waits mostly."""
    with ThreadPoolExecutor(len(cases)) as pool:
        list(pool.map(look, cases))


def comes_in(there, name, how):
    """Who is on a network, and who is behind its router, reaches the box and has an answer."""
    box, router, beyond = ADDRESSES[name]
    found = ports(there, SCANS, beyond, box)
    if found != COMES_IN[name]:
        raise Failed(f"addresses {how}: {name} lets {beyond} in at {sorted(found)}")
    for source in (router, beyond):
        asks = subprocess.run([*there.enter, sys.executable, "-c", ASKS, source, box, str(LISTENS[name])], capture_output=True, text=True)
        if asks.returncode:
            raise Failed(f"addresses {how}: {source} on {name} has no answer: {asks.stderr}")


def goes_out(place, name, user, how):
    """Whom a user of the box reaches on this network, and behind its router."""
    _, router, beyond = ADDRESSES[name]
    allowed = GOES_OUT[name].get(user, set())
    for target in (beyond, router):
        found = ports(place, CONNECTS, place.users[user].split(":")[0], target, *map(str, sorted(PORTS)))
        if found != allowed:
            raise Failed(f"addresses {how}: {user} reaches {target} by {name} at {sorted(found)}")


def ports(place, program, *arguments):
    return {int(port) for port in run(*place.enter, sys.executable, "-c", program, *arguments).split()}


def settled(tree, place, places, origin, short):
    """A box with its two networks, when it has its addresses; on each network another place is the router, and who is behind it."""
    place.must(*command(tree, "nftables.service"))
    place.must("/usr/lib/systemd/systemd-sysctl", "--prefix=/net/ipv4", "--prefix=/net/ipv6")
    for name, there in places.items():
        run("nsenter", "--target", place.first, "--net", "ip", "link", "add", name, "type", "veth", "peer", "name", "router", "netns", there.first)
        box, router, beyond = ADDRESSES[name]
        # A router asks for its neighbours by its own address.
        run(*there.enter, "sh", "-c", "echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce")
        prefix = SHORT if name == short else 24
        address = ip_interface(f"{box}/{prefix}")
        offset = int(address) - int(address.network.network_address)
        # Whom a short prefix has on the network needs no router: one of the other network's peers is named, to which a box makes itself a way.
        names = "".join(f"Router={peer}\n" for other, (_, _, peer) in ADDRESSES.items() if name == short != other)
        there.put("run/systemd/network/10-router.network",
                  ROUTER.format(router=router, prefix=prefix, beyond=beyond, offset=offset, more=GRABS.get(name, "") + names))
        if origin == "of the site":
            text = (STATIC / f"{name}.conf").read_text()
            place.put(f"run/systemd/network/50-{name}.network.d/10-site.conf", text.replace("/24", f"/{prefix}"))
        networkd(there)
    networkd(place)
    for port in LISTENS.values():
        place.beside("sund", SERVES, str(port))
    def has_its_ways():
        ways = run(*place.enter, "ip", "route", "show", "table", "all", "default")
        return all(f" dev {name} {table}" in ways for name, table in (("clinical", "table 100"), ("management", "proto")))
    until(f"the box has its ways by addresses {origin}, {short}'s prefix short", has_its_ways)


def networkd(place):
    # The firmware's, of a box.
    place.put("run/machine-id", f"{secrets.token_hex(16)}\n")
    run(*place.enter, "mount", "--bind", place.tree / "run/machine-id", place.tree / "etc/machine-id")
    place.directory("run/systemd/netif", "0755", "systemd-network")
    for folder in ("links", "leases", "dhcp-server-lease"):
        place.directory(f"run/systemd/netif/{folder}", "0755", "systemd-network")
    place.start("networkd", "/usr/lib/systemd/systemd-networkd")


def redirects(tree):
    """Nobody on a network tells a box another way: neither a port that is there nor one that comes is told to listen."""
    with Place(tree) as place:
        # These are the network's own; others are this machine's.
        place.must("/usr/lib/systemd/systemd-sysctl", "--prefix=/net/ipv4/conf", "--prefix=/net/ipv6/conf")
        settings = " ".join(f"/proc/sys/net/{protocol}/conf/*/accept_*" for protocol in ("ipv4", "ipv6"))
        for line in run(*place.enter, "sh", "-c", f"grep -H . {settings}").splitlines():
            if re.search(r"(redirects|source_route):[^0]", line):
                raise Failed(f"a network may change the ways of a box: {line}")
