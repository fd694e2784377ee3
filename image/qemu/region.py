"""A region for the twin: the real `sund-channel` with persons, a vendor, and what they publish. Its keys are worth nothing."""
import json
import os
import shutil
import subprocess
from pathlib import Path

from . import appliance, disk
from .box import await_file, wait
from .persons import APPROVERS, approver, channel
from .store import REPOSITORY, STORE, Failed, run

ROOT = ("Anna Holm", "Bo Krog", "Carla Lund")
FIRST = (*ROOT[:2], *APPROVERS[:2])
TWO = APPROVERS[:2]
MODEL = REPOSITORY / "agent/demo/models/text-detection"
# The host, as a box sees it on its management network.
ADDRESS = "10.0.3.2"


class Region:
    """A channel in a folder of its own, which serves until `stop`."""

    def __init__(self, folder, port):
        self.folder = Path(folder)
        self.home = self.folder / "channel"
        self.url = f"https://{ADDRESS}:{port}"
        self.server = None
        self.folder.mkdir(parents=True)
        self.command("init", self.home)
        for person in ROOT:
            self.command("key", "new", self.key(person), "--person", person)
        # Beside a key is kept which region it has signed for: each region has a copy of its own.
        for person in APPROVERS:
            for suffix in ("", ".pub"):
                shutil.copy(f"{approver(person)}{suffix}", f"{self.key(person)}{suffix}")
        keys = [word for person in ROOT for word in ("--key", f"{self.key(person)}.pub")]
        approvers = [f"{self.key(person)}.pub" for person in APPROVERS]
        self.command("root", "new", *keys, *(word for key in approvers for word in ("--approver", key)))
        self.publish("root-1", FIRST)
        self.vendor_key = self.folder / "vendor.pem"
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", self.vendor_key)
        self.vendor_key.chmod(0o600)
        run("openssl", "pkey", "-pubout", "-in", self.vendor_key, "-out", self.folder / "vendor.pub")
        # What the disk's recovery key is sealed to.
        self.escrow_key = self.folder / "escrow.pem"
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", self.escrow_key)
        self.escrow_key.chmod(0o600)
        run("openssl", "pkey", "-in", self.escrow_key, "-pubout", "-out", self.folder / "escrow.pub")
        vendor = next(line.split('"')[1] for line in (MODEL / "model.toml").read_text().splitlines() if line.startswith("vendor ="))
        self.command("delegate", "models/sund", "--vendor-name", vendor, "--package-key", self.folder / "vendor.pub",
                     *(word for key in approvers for word in ("--key", key)))
        self.publish("targets-2", FIRST)
        (self.home / "channel.toml").write_text(
            f'[server]\nlisten = ["127.0.0.1:{port}"]\nnames = ["localhost", "{ADDRESS}"]\npoll_seconds = 5\napproval = false\n')
        self.vendor = vendor

    def key(self, person):
        return self.folder / f"{person.replace(' ', '-')}.key"

    def command(self, *words):
        """What a command of the channel answers; 75 says that persons have still to sign."""
        command = [str(channel()), "--json", "--home", str(self.home), *map(str, words)]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode not in (0, 75):
            raise Failed(f"sund-channel {' '.join(map(str, words[:3]))}: {ended.stdout}{ended.stderr}")
        return json.loads(ended.stdout) if ended.stdout.strip() else None

    def publish(self, proposal, persons):
        for person in persons:
            self.command("sign", proposal, "--yes", "--key", self.key(person))
        self.command("approve", proposal)

    def publish_configuration(self, file):
        """Publishes a configuration of the agent and the model, and remembers what a state says of both."""
        packed = self.folder / "text-detection.sund"
        run(appliance.built("sund"), "model", "pack", MODEL, "--to", packed)
        run(appliance.built("sund"), "model", "sign", "--key", self.vendor_key, packed)
        proposed = self.command("publish", "model", packed, "--vendor", "sund")
        proposal, model = proposed["proposal"], proposed["target"]["target"]
        configuration = self.command("publish", "config", file, "--name", "twin", "--with", proposal)["target"]["target"]
        self.publish(proposal, TWO)
        self.rest = {"configuration": {"target": configuration}, "models": [{"target": model}],
                     "routes": {"text": {"models": ["text-detection"], "mode": "research"}}, "watch_seconds": 2}

    def publish_state(self, name, os_version=None, bundle=None):
        """A state of the configuration, the model, and perhaps an operating system."""
        state = {"name": name, **self.rest}
        more = []
        if bundle:
            proposed = self.publish_os(os_version, bundle)
            more = ["--with", proposed["proposal"]]
            state["os"] = {"target": proposed["target"]["target"]}
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(state))
        self.publish(self.command("publish", "state", file, *more)["proposal"], TWO)

    def publish_rescue(self, os_version, number, bundle):
        """Lists an operating system, and releases it as recovery bundle under this number."""
        self.publish(self.publish_os(os_version, bundle)["proposal"], TWO)
        self.publish(self.command("publish", "rescue", os_version, "--version", number)["proposal"], TWO)

    def publish_os(self, os_version, bundle):
        """Proposes an operating system."""
        told = json.loads((bundle / "info.json").read_text())
        file = self.folder / f"{os_version}.raucb"
        os.link(bundle / "bundle.raucb", file)
        return self.command("publish", "os", file, "--version", os_version, "--manifest-sha256", told["manifest-hash"])

    def damage(self, version):
        """A bit of each block of a bundle turns, where it is served."""
        [file] = (self.home / "repository/targets/os").glob(f"*.sund-{version}.raucb")
        content = bytearray(file.read_bytes())
        for at in range(0, len(content) * 9 // 10, 4096):
            content[at] ^= 1
        damaged = file.with_suffix(".damaged")
        damaged.write_bytes(content)
        damaged.replace(file)

    def serve(self):
        with (self.folder / "channel.log").open("ab") as log:
            self.server = subprocess.Popen([channel(), "--home", self.home, "serve"], stdout=log, stderr=log, start_new_session=True)
        await_file(self.home / "channel.sock", self.server)

    def stop(self):
        if self.server:
            self.server.terminate()
            if not wait(self.server, 20):
                self.server.kill()
            self.server.wait()
            self.server = None

    def roll_out(self, name, state):
        self.command("rollout", "new", name, "--state", state, "--group", "100%", "--all-at-once")
        self.command("rollout", "start", name)

    def ended(self, name):
        """`finished` or `failed`, once the box has said so."""
        boxes = self.command("rollout", "status", name)[0]["waves"][0]["boxes"]
        return next((how for how in ("finished", "failed") if boxes.get(how)), None)

    def recovery_key(self, name):
        """What opens the disk of a box, as the holder of the region's private key has it; nothing while none is kept."""
        if not self.command("escrow", "list", "--name", name)["kept"]:
            return None
        sealed = self.folder / "recovery.sealed"
        self.command("escrow", "write", "--name", name, "--out", sealed)
        return run("openssl", "pkeyutl", "-decrypt", "-inkey", self.escrow_key, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt",
                   "rsa_oaep_md:sha256", "-in", sealed)

    def enrolment_code(self, name):
        return self.command("enrol", "new", "--name", name, "--attribute", "site=twin")["code"]
