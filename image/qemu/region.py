"""A region for the twin: the real `sund-channel` with persons, a vendor, and what they publish. Its keys are worth nothing."""
import json
import os
import shutil
import subprocess
from pathlib import Path

from . import appliance, keys
from .box import connected, wait
from .persons import APPROVERS, approver, channel
from .store import REPOSITORY, STORE, Failed, run

ROOT = ("Anna Holm", "Bo Krog", "Carla Lund")
FIRST = (*ROOT[:2], *APPROVERS[:2])
TWO = APPROVERS[:2]
MODEL = REPOSITORY / "agent/demo/models/text-detection"
# An emulated processor is slow at what models do. So this one looks at a smaller picture, and finds in it what is said here.
SMALLER = {"longest = 736": "longest = 320", "least_overlap = 0.5": "least_overlap = 0.3",
           "scores = [0.869, 0.883, 0.900]": "scores = [0.910, 0.943, 0.783]"}
NAME = "twin-region"
# The host, as a box sees it on its management network.
ADDRESS = "10.0.3.2"


class Region:
    """A channel in a folder of its own, which serves until `stop`."""

    def __init__(self, folder, port):
        self.folder = Path(folder)
        self.home = self.folder / "channel"
        self.url = f"https://{ADDRESS}:{port}"
        self.server = None
        # The operating systems that are listed, by version.
        self.systems = {}
        self.folder.mkdir(parents=True)
        self.command("init", self.home)
        for person in ROOT:
            self.command("key", "new", self.key(person), "--person", person)
        # Beside a key is kept which region it has signed for: each region has a copy of its own.
        for person in APPROVERS:
            for suffix in ("", ".pub"):
                shutil.copy(f"{approver(person)}{suffix}", f"{self.key(person)}{suffix}")
        holders = [word for person in ROOT for word in ("--key", f"{self.key(person)}.pub")]
        approvers = [f"{self.key(person)}.pub" for person in APPROVERS]
        self.command("root", "new", *holders, *(word for key in approvers for word in ("--approver", key)))
        self.publish("root-1", FIRST)
        self.vendor_key = self.folder / "vendor.pem"
        keys.pair(self.folder, "vendor", "ED25519")
        # What the disk's recovery key is sealed to.
        self.escrow_key = self.folder / "escrow.pem"
        keys.pair(self.folder, "escrow", "RSA", "rsa_keygen_bits:3072")
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
        run(appliance.built("sund"), "model", "pack", self.smaller_model(), "--to", packed)
        run(appliance.built("sund"), "model", "sign", "--key", self.vendor_key, packed)
        proposed = self.command("publish", "model", packed, "--vendor", "sund")
        proposal, model = proposed["proposal"], proposed["target"]["target"]
        configuration = self.command("publish", "config", file, "--name", "twin", "--with", proposal)["target"]["target"]
        self.publish(proposal, TWO)
        self.rest = {"boxes": ["*"], "configuration": {"target": configuration}, "models": [{"target": model}],
                     "routes": {"text": {"models": ["text-detection"], "mode": "research"}}, "watch_seconds": 2}

    def smaller_model(self):
        folder = Path(shutil.copytree(MODEL, self.folder / "model"))
        manifest = (folder / "model.toml").read_text()
        for as_it_is, smaller in SMALLER.items():
            if as_it_is not in manifest:
                raise Failed(f"{MODEL / 'model.toml'} does not say `{as_it_is}` any more: see {__file__}")
            manifest = manifest.replace(as_it_is, smaller)
        (folder / "model.toml").write_text(manifest)
        return folder

    def publish_state(self, name, os_version=None, bundle=None):
        """A state of the configuration, the model, and perhaps an operating system, which is listed with it where it is not yet."""
        state = {"name": name, **self.rest}
        more = []
        if os_version in self.systems:
            state["os"] = {"target": self.systems[os_version]}
        elif bundle:
            proposed = self.publish_os(os_version, bundle)
            more = ["--with", proposed["proposal"]]
            self.systems[os_version] = proposed["target"]["target"]
            state["os"] = {"target": self.systems[os_version]}
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(state))
        self.publish(self.command("publish", "state", file, *more)["proposal"], TWO)

    def publish_rescue(self, os_version, number, bundle):
        """Lists an operating system, and releases it as recovery bundle under this number."""
        proposed = self.publish_os(os_version, bundle)
        self.systems[os_version] = proposed["target"]["target"]
        self.publish(proposed["proposal"], TWO)
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
        connected(self.home / "channel.sock", self.server).close()

    def stop(self):
        if self.server:
            self.server.terminate()
            if not wait(self.server, 20):
                self.server.kill()
            self.server.wait()
            self.server = None

    def roll_out(self, name, state, box):
        """To one box, whose name is its site's."""
        self.command("rollout", "new", name, "--state", state, "--group", f"site={box}", "--all-at-once")
        self.command("rollout", "start", name)

    def ended(self, name):
        """`finished` or `failed`, once the box has said so."""
        boxes = self.command("rollout", "status", name)[0]["waves"][0]["boxes"]
        return next((how for how in ("finished", "failed") if boxes.get(how)), None)

    def serves(self, name, state):
        """Whether a box has said that it serves this state."""
        return any(box["name"] == name and box["installed"] == f"state/{state}.json" for box in self.command("fleet", name)["devices"])

    def has_enrolled(self, name):
        return any(box["name"] == name and box["certificate_until"] for box in self.command("fleet", name)["devices"])

    def recovery_key(self, name):
        """What opens the disk of a box, as the holder of the region's private key has it; nothing while none is kept."""
        if not self.command("escrow", "list", "--name", name)["kept"]:
            return None
        sealed = self.folder / "recovery.sealed"
        self.command("escrow", "write", "--name", name, "--out", sealed)
        return run("openssl", "pkeyutl", "-decrypt", "-inkey", self.escrow_key, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt",
                   "rsa_oaep_md:sha256", "-in", sealed)

    def writes_provisioning(self, description, stick):
        """The signed file of a box's first day."""
        self.command("provision", description, "--key", self.signer(), "--out", stick)

    def writes_bundle(self, state, folder):
        """All that a box without a network needs for a state."""
        words = ("bundle", folder / f"{state}.sund-bundle", "--state", state)
        self.publish(self.command(*words)["proposal"], TWO)
        self.command(*words)

    def writes_reset(self, name, stick):
        """The signed order that gives up whatever a box has."""
        self.command("reset", "--region", NAME, "--box", name, "--discard", "--key", self.signer(), "--out", stick)

    def signer(self):
        """What it signs sticks with; the public half is in the image."""
        return keys.folder() / "provisioning.pem"

    def enrolment_code(self, name):
        return self.command("enrol", "new", "--name", name, "--attribute", f"site={name}")["code"]
