"""What a box is provisioned with: by QEMU, which spares a start and has a unit in the twin alone, or by a stick."""
import base64
import secrets
import subprocess

from . import appliance
from .region import NAME
from .store import run

PASSWORD = "sund"
# The host, as a box sees it on its clinical network.
CLINICAL = "10.0.2.2"
CALLERS = ("MODALITY", "PACS", "ECHOSCU", "STORESCU", "DCMSEND", "PYNETDICOM")

NODE = """[node]
ae_title = "SUND"
listen = "0.0.0.0:11112"
[node.plain_dicom_exception]
reason = "The twin is tried from the machine that it runs on"
approved_by = "who started it"
until = 2099-12-31
{callers}[console]
listen = "0.0.0.0:8443"
allowed_hosts = ["localhost", "127.0.0.1"]
[console.tls]
certificate = "/etc/sund/tls/console.pem"
key = "/etc/sund/tls/console.key"
[[console.users]]
name = "{user}"
password_hash = "{password}"
orders = true
[spool]
directory = "/var/lib/sund/spool"
quota = "2GiB"
[study]
quiet = "5s"
complete_on_association_end = true
[identity]
uid_key_file = "/etc/sund/keys/uid.key"
[audit]
directory = "/var/lib/sund/audit"
key_file = "/etc/sund/keys/audit.key"
[worker]
launcher = "systemd"
socket = "/run/sund/worker.sock"
memory_limit = "1GiB"
[[vendors]]
name = "{vendor}"
key = "/etc/sund/vendors/sund.pem"
"""

ROUTES = """[[destinations]]
name = "pacs"
ae_title = "PACS"
address = "{clinical}:{pacs}"
[[routes]]
name = "text"
models = ["text-detection"]
mode = "shadow"
destinations = ["pacs"]
"""

CHANNEL = """[channel]
socket = "/run/sund-agent/channel.sock"
directory = "/var/lib/sund/channel"
updater_user = "root"
"""

UPDATER = """id = "twin"
directory = "/var/lib/sund-updater"
confirm = true
[server]
url = "{url}"
ca = "/etc/sund/channel-ca.pem"
certificate = "/etc/sund/updater/box.pem"
key = "/etc/sund/updater/box.key"
[repository]
metadata = "{url}/repository/metadata"
targets = "{url}/repository/targets"
root = "/etc/sund/root.json"
[poll]
min_seconds = 1
max_seconds = 2
[agent]
socket = "/run/sund-agent/channel.sock"
[watch]
every_seconds = 1
[escrow]
key = "/etc/sund/escrow.pem"
[os]
health_seconds = {health}
"""

STICK = """region = "{region}"
box = "{name}"
server = "{url}"
{code}site = "site.toml"
recovery_key = "{of}/escrow.pub"
[vendors]
sund = "{of}/vendor.pub"
[attributes]
site = "{name}"
"""


class Site:
    """The configuration of one box, for its region and its archive."""

    def __init__(self, folder, region, pacs):
        self.region = region
        node = self.node()
        published = folder / "twin.toml"
        published.write_text(node + ROUTES.format(clinical=CLINICAL, pacs=pacs))
        region.publish_configuration(published)
        self.own = node + CHANNEL

    def node(self):
        callers = "".join(f'[[callers]]\nae_title = "{name}"\naddress = "{CLINICAL}"\n' for name in CALLERS)
        told = subprocess.run([appliance.built("sund"), "hash-password"], input=PASSWORD + "\n", capture_output=True, text=True, check=True)
        return NODE.format(callers=callers, user="twin", password=told.stdout.strip(), vendor=self.region.vendor)

    def provisions(self, code):
        """What a box is provisioned with once: files of /etc/sund with mode, owner and content."""
        tls = self.region.folder
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", "/CN=twin",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", tls / "console.key", "-out", tls / "console.pem")
        return [
            ("sund.toml", "0640 root sund", self.own.encode()),
            ("updater/code", "0600 root root", f"{code}\n".encode()),
            ("channel-ca.pem", "0644 root root", (self.region.home / "ca/ca.pem").read_bytes()),
            ("root.json", "0644 root root", (self.region.home / "repository/metadata/1.root.json").read_bytes()),
            ("vendors/sund.pem", "0644 root root", (self.region.folder / "vendor.pub").read_bytes()),
            ("escrow.pem", "0644 root root", (self.region.folder / "escrow.pub").read_bytes()),
            ("tls/console.pem", "0644 sund sund", (tls / "console.pem").read_bytes()),
            ("tls/console.key", "0600 sund sund", (tls / "console.key").read_bytes()),
            *((f"keys/{name}.key", "0600 sund sund", secrets.token_hex(32).encode()) for name in ("uid", "audit")),
        ]

    def writes_stick(self, folder, name, code):
        """The stick of a box's first day, with a one-time code where there is one."""
        (folder / "site.toml").write_text(self.own)
        description = folder / "description.toml"
        line = f'code = "{code}"\n' if code else ""
        description.write_text(STICK.format(region=NAME, name=name, url=self.region.url, code=line, of=self.region.folder))
        stick = folder / "stick"
        stick.mkdir()
        self.region.writes_provisioning(description, stick)
        return stick

    def provision(self, files, health):
        """Lines of tmpfiles.d(5) that place what `provisions` gave and is not there yet. How long a new system may take to be healthy is said
        anew at each start."""
        lines = [placed("f~", *file) for file in files]
        lines.append(placed("f+~", "updater.toml", "0644 root root", UPDATER.format(url=self.region.url, health=health).encode()))
        return "".join(lines)


def placed(kind, name, mode, content):
    """A line of tmpfiles.d(5)."""
    return f"{kind} /etc/sund/{name} {mode} - {base64.b64encode(content).decode()}\n"
