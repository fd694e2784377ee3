"""The disk of a new box and the firmware's variables that belong to it; RAUC bundles."""
import json
import os
import re
import shutil
import struct
import uuid
from pathlib import Path

from . import appliance, boot, keys, root, store
from .debian import inside
from .store import SOURCE, STORE, Failed, run

SIZE = 8 << 30
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
EMPTY_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
PATH = "\\EFI\\sund\\sund.efi"
COMPLETE = 7  # EFI_VARIABLE_NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS


def disk(version):
    """`disk.raw`: slot A with this version, slot B empty; the data partition is made by the box."""
    parts = {"10-esp-a": boot.esp(version) / "esp.img", "30-root-a": root.image(version) / "root.img"}
    # The appliance's, and the twin's sizes.
    sources = [overlay / "usr/lib/repart.d" for overlay in appliance.OVERLAYS]
    inputs = [*sources, Path(__file__), *((part.parent.parent / f"{part.parent.name}.of").read_text() for part in parts.values())]
    def make(folder):
        definitions = folder / "repart.d"
        for source in sources:
            shutil.copytree(source, definitions, dirs_exist_ok=True)
        (definitions / "50-data.conf").unlink()
        for name, source in parts.items():
            filled = definitions / f"{name}.conf.d"
            filled.mkdir(exist_ok=True)
            (filled / "content.conf").write_text(f"[Partition]\nCopyBlocks=/work/{source.relative_to(STORE)}\n")
        inside("systemd-repart", "--empty=create", "--offline=yes", "--dry-run=no", "--seed=5a6d0000-7375-4e64-8000-000000000000",
               "--size=640M", f"--definitions=/work/{folder.name}/repart.d", f"/work/{folder.name}/disk.raw",
               env={"SOURCE_DATE_EPOCH": str(appliance.epoch())})
        shutil.rmtree(definitions)
        os.truncate(folder / "disk.raw", SIZE)
    return store.made(f"disk-{version}", inputs, make)


def partitions(image):
    """UEFI 5.3.3: number, type, UUID, first and last block of each entry of the table."""
    with image.open("rb") as file:
        file.seek(512)
        header = file.read(92)
        if header[:8] != b"EFI PART":
            raise Failed(f"{image} has no partition table")
        first, count, size = struct.unpack_from("<QII", header, 72)
        file.seek(first * 512)
        for number in range(1, count + 1):
            entry = file.read(size)
            start, end = struct.unpack_from("<QQ", entry, 32)
            if start:
                yield number, uuid.UUID(bytes_le=entry[16:32]), start, end, entry[56:128].decode("utf-16-le").rstrip("\0")


def read(folder, first, count):
    """Blocks of the disk of a box that is off, as a file in its folder."""
    blocks = folder / "read.img"
    run("qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=512", f"skip={first}", f"count={first + count}", f"if={folder / 'disk.qcow2'}", f"of={blocks}")
    return blocks


def data(folder):
    """First and last block of the data partition of a box that is off, and in which byte of it what is encrypted begins."""
    [(start, end)] = [(start, end) for _, _, start, end, label in partitions(read(folder, 0, 2048)) if label == "data"]
    # LUKS2: the header's JSON comes after its 4096 binary bytes.
    header = json.loads(read(folder, start, 128).read_bytes()[4096:].split(b"\0")[0])
    return start, end, int(header["segments"]["0"]["offset"])


def opens(folder, key):
    """Fails where a recovery key does not open the data partition of a box that is off. Its header is enough for that."""
    start, _, offset = data(folder)
    header = read(folder, start, offset // 512)
    inside("cryptsetup", "open", "--test-passphrase", "--key-file=-", f"/work/{header.relative_to(STORE)}", input=key)
    header.unlink()


def damage_data(folder):
    """Overwrites the bitmaps of the first blocks of a box's data partition. It need not be opened for that: what is not encrypted decrypts to noise."""
    start, end, offset = data(folder)
    # As systemd-repart made it.
    made = folder / "made.img"
    made.touch()
    os.truncate(made, (end - start + 1) * 512 - offset)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-E", "nodiscard,lazy_itable_init=1", made)
    block = int(re.search(r"Block bitmap at (\d+)", run("dumpe2fs", made))[1])
    run("qemu-io", "-f", "qcow2", "-c", f"write -P 0xff {start * 512 + offset + block * 4096} {16 * 4096}", folder / "disk.qcow2")
    made.unlink()


def foreign(folder):
    """A disk of somebody else, in a box's folder, whose partitions are called as those of a box."""
    image, definitions = folder / "second.raw", folder / "second"
    definitions.mkdir()
    for label in ("root-a", "root-b", "data"):
        (definitions / f"{label}.conf").write_text(f"[Partition]\nType=linux-generic\nLabel={label}\nSizeMinBytes=16M\nSizeMaxBytes=16M\n")
    inside("systemd-repart", "--empty=create", "--offline=yes", "--dry-run=no", "--size=64M", f"--definitions=/work/{definitions.relative_to(STORE)}",
           f"/work/{image.relative_to(STORE)}")
    shutil.rmtree(definitions)
    return image


# Firmware gives what it finds by itself, such as a stick, the least number that its order does not have, and RAUC takes a slot that is bad out of
# that order: an entry with a low number would be written over then, and the slot never be started again.
ENTRIES = {"a": 0x5D0A, "b": 0x5D0B}


def load_option(label, number, part, start, end):
    """UEFI 3.1.3, 10.3.5.1 and 10.3.5.4: an EFI_LOAD_OPTION for a file on a partition that is known by its UUID."""
    drive = struct.pack("<BBHIQQ16sBB", 4, 1, 42, number, start, end - start + 1, part.bytes_le, 2, 2)
    name = (PATH + "\0").encode("utf-16-le")
    path = drive + struct.pack("<BBH", 4, 4, 4 + len(name)) + name + struct.pack("<BBH", 0x7F, 0xFF, 4)
    return struct.pack("<IH", 1, len(path)) + (label + "\0").encode("utf-16-le") + path


def variables(version):
    """`vars.fd`: own keys enrolled, Secure Boot on, one boot entry for each slot."""
    image = disk(version) / "disk.raw"
    to_keys = keys.folder()
    inputs = [(STORE / f"disk-{version}.of").read_text(), EMPTY_VARIABLES, Path(__file__), *(to_keys / f"{name}.pem" for name in keys.PLATFORM)]
    def make(folder):
        found = {label: (number, part, start, end) for number, part, start, end, label in partitions(image)}
        entries = [(f"Boot{number:04X}", load_option(f"sund-{slot}", *found[f"esp-{slot}"])) for slot, number in ENTRIES.items()]
        entries.append(("BootOrder", struct.pack("<HH", *ENTRIES.values())))
        told = {"version": 2, "variables": [{"name": name, "guid": EFI_GLOBAL, "attr": COMPLETE, "data": data.hex()} for name, data in entries]}
        (folder / "boot.json").write_text(json.dumps(told))
        owner = (to_keys / "owner").read_text().strip()
        run(python_tools() / "virt-fw-vars", "-i", EMPTY_VARIABLES, "-o", folder / "vars.fd", "--set-pk", owner, to_keys / "PK.pem", "--add-kek", owner,
            to_keys / "KEK.pem", "--add-db", owner, to_keys / "db.pem", "--sb", "--set-json", folder / "boot.json")
    return store.made(f"variables-{version}", inputs, make)


def python_tools():
    """The programs of the Python packages that `requirements.txt` names."""
    wanted = SOURCE / "requirements.txt"
    def make(folder):
        run("python3", "-m", "venv", folder)
        run(folder / "bin/pip", "install", "-q", "-r", wanted)
    return store.made("python-tools", [wanted], make) / "bin"


def bundle(version, key="release"):
    """`bundle.raucb` of this version, signed by `key`, and what RAUC tells of it in `info.json`."""
    parts = {"esp.img": boot.esp(version) / "esp.img", "root.img": root.image(version) / "root.img"}
    inputs = [SOURCE / "rauc/manifest.raucm", keys.folder() / f"{key}.pem", Path(__file__), version,
              *((part.parent.parent / f"{part.parent.name}.of").read_text() for part in parts.values())]
    def make(folder):
        content = folder / "content"
        content.mkdir()
        (content / "manifest.raucm").write_text((SOURCE / "rauc/manifest.raucm").read_text().replace("@VERSION@", version))
        for part, source in parts.items():
            os.link(source, content / part)
        at = f"/work/{folder.name}"
        # What is in it is compressed already. Of a block that a box lacks it fetches all of the squashfs block around it: that is as small as it can be.
        inside("rauc", "bundle", "--mksquashfs-args=-comp lz4 -b 4096", f"--cert=/work/keys/{key}.pem", f"--key=/work/keys/{key}.key", f"{at}/content",
               f"{at}/bundle.raucb")
        told = inside("rauc", "info", f"--keyring=/work/keys/{key}-ca.pem", "--conf=/image/root/etc/rauc/system.conf", "--output-format=json-2",
                      f"{at}/bundle.raucb")
        (folder / "info.json").write_text(told[told.index("{"):])
        shutil.rmtree(content)
    return store.made(f"bundle-{version}-{key}", inputs, make)
