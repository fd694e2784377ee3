"""A repository as python-tuf publishes it: delegations, thresholds, consistent snapshots, one root rotation."""

import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole, Delegations, Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp,
)

into, signatures = Path(sys.argv[1]), int(sys.argv[2])
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
persons = [CryptoSigner.generate_ed25519() for _ in range(2)]
approvers = [CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ed25519(), CryptoSigner.generate_rsa()]
online = CryptoSigner.generate_ed25519()


def write(name: str, metadata: Metadata) -> bytes:
    path = into / "metadata" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata.to_file(str(path))
    return path.read_bytes()


def signed(body, signers) -> Metadata:
    metadata = Metadata(body)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata


def target(path: str, data: bytes) -> TargetFile:
    listed = TargetFile.from_data(path, data, ["sha256"])
    directory, name = path.rsplit("/", 1)
    file = into / "targets" / directory / f"{hashlib.sha256(data).hexdigest()}.{name}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return listed


root = Root(expires=expires, consistent_snapshot=True)
for signer in persons:
    root.add_key(signer.public_key, "root")
    root.add_key(signer.public_key, "targets")
root.roles["root"].threshold = root.roles["targets"].threshold = 2
root.add_key(online.public_key, "timestamp")
root.add_key(online.public_key, "snapshot")
write("1.root.json", signed(root, persons))
# The second root replaces the online key.
online = CryptoSigner.generate_ecdsa()
for role in ("timestamp", "snapshot"):
    root.revoke_key(root.roles[role].keyids[0], role)
    root.add_key(online.public_key, role)
root.version = 2
write("2.root.json", signed(root, persons))

model = bytes(range(256)) * 1000
(into / "model").write_bytes(model)
package = target("models/acme/brain-1.sund", model)
state = json.dumps({
    "format": 1, "name": "north-1", "routes": {},
    "models": [{
        "target": package.path, "sha256": package.hashes["sha256"], "length": package.length,
        "name": "brain", "version": "1",
    }],
}).encode()
(into / "state.json").write_bytes(state)

roles = {
    "state": Targets(expires=expires, targets={"state/north-1.json": target("state/north-1.json", state)}),
    "models/acme": Targets(expires=expires, targets={package.path: package}),
}
keys: dict[str, Key] = {signer.public_key.keyid: signer.public_key for signer in approvers}
delegations = Delegations(keys, {
    name: DelegatedRole(name, list(keys), threshold=2, terminating=True, paths=[f"{name}/*"]) for name in roles
})
names = ["Anna", "Bo", "Carl"]
whose = {"format": 1, "persons": {name: [key] for name, key in zip(names, keys)}}
listed = {"trust/approvers.json": target("trust/approvers.json", json.dumps(whose).encode())}

meta = {}
files = {"targets": signed(Targets(expires=expires, targets=listed, delegations=delegations), persons)}
for number, (name, role) in enumerate(roles.items()):
    signers = approvers[number:number + 2]
    files[name] = signed(role, signers[:signatures] if name == "state" else signers)
for name, metadata in files.items():
    data = write(f"1.{name}.json", metadata)
    meta[f"{name}.json"] = MetaFile.from_data(1, data, ["sha256"])
data = write("1.snapshot.json", signed(Snapshot(expires=expires, meta=meta), [online]))
timestamp = Timestamp(expires=expires, snapshot_meta=MetaFile.from_data(1, data, ["sha256"]))
write("timestamp.json", signed(timestamp, [online]))
