"""One box: its disk, its firmware's variables and its TPM outlive each machine that is started with them."""
import json
import re
import select
import shutil
import socket
import subprocess
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from . import disk, tpm
from .debian import inside
from .store import STORE, Failed, run

MEMORY = "2048M"
# All that QEMU can do without KVM, but cmpxchg16b, at which the kernel ends.
CPU = "max,-cx16"
# The firmware and the kernel have said something within this time, however busy this machine is.
PATIENCE = 900
# A box is known by this; systemd takes it for the machine's id.
UUID = "5a6d0100-7375-4e64-8000-000000000100"


class Qmp:
    """QEMU's control socket: commands and events, one JSON object a line."""

    def __init__(self, path, machine):
        self.socket = connected(path, machine)
        self.pending = b""
        self.events = []
        self.receive()
        self.command("qmp_capabilities")

    def receive(self, timeout=60):
        while b"\n" not in self.pending:
            if not select.select([self.socket], [], [], timeout)[0]:
                return None
            data = self.socket.recv(65536)
            if not data:
                return None
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, **arguments):
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        while (answer := self.receive()) is not None:
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise Failed(f"QEMU does not {name}: {answer['error']['desc']}")
            else:
                return answer["return"]
        raise Failed(f"QEMU ended before it answered {name}")


# Each program has a session of its own: Ctrl-C is for `twin` alone, which ends them in order.
class Box:
    """Files of a box in a folder of its own, made of a build; `start` gives it a machine."""

    def __init__(self, folder, version, ports):
        self.folder = Path(folder)
        self.version = version
        self.ports = ports
        self.machine = self.tpm = self.qmp = None
        self.has_tpm = True
        self.tables = self.more = ()
        self.boots = 0
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.new_tpm()
        backing = disk.disk(version) / "disk.raw"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, self.folder / "disk.qcow2")
        shutil.copy(disk.variables(version) / "vars.fd", self.folder / "vars.fd")

    def new_tpm(self):
        (self.folder / "tpm").mkdir()
        # The firmware and the kernel measure into each bank that there is.
        run("swtpm_setup", "--tpm2", "--tpmstate", self.folder / "tpm", "--pcr-banks", "sha256")
        tpm.define(self.folder / "tpm")

    @contextmanager
    def another_tpm(self):
        """As if the disk were in another machine."""
        own = (self.folder / "tpm").rename(self.folder / "own-tpm")
        self.new_tpm()
        yield
        shutil.rmtree(self.folder / "tpm")
        own.rename(self.folder / "tpm")

    @contextmanager
    def no_tpm(self):
        """As if its TPM were dead."""
        self.has_tpm = False
        yield
        self.has_tpm = True

    @contextmanager
    def longer_command_line(self):
        """As if the firmware's tables had been changed: systemd-stub adds to the signed command line what they say."""
        self.tables = ("-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=sund.added")
        yield
        self.tables = ()

    @contextmanager
    def second_disk(self, image, kind):
        """As if somebody had put another disk in: the kernel finds it after the box's own."""
        self.more = ("-drive", f"if=none,id=second,format={kind},file={image}", "-device", "virtio-blk-pci,drive=second,addr=b")
        yield
        self.more = ()

    @contextmanager
    def other_keys(self, programs, change, what):
        """As if the firmware's keys had changed: `change` is a word of virt-fw-vars."""
        variables, own = self.folder / "vars.fd", self.folder / "own-vars.fd"
        variables.rename(own)
        run(programs / "virt-fw-vars", "-i", own, "-o", variables, change, str(uuid.uuid4()), what)
        yield
        own.replace(variables)

    @property
    def log(self):
        return self.folder / "serial.log"

    @property
    def journal(self):
        return self.folder / "journal.log"

    def start(self, told, stick=None, screen=False):
        """A cold start. `told` is what the units of `guest` read, by name; `stick` is a folder that is on a stick which is in the box; `screen`
        says that it has a screen and a keyboard."""
        self.boots += 1
        control = self.folder / "qmp.sock"
        control.unlink(missing_ok=True)
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            # Without a keyboard's controller: looking for one, an emulated kernel has stood still. One processor: where the kernel rewrites its own
            # code, an emulated second one has run into what was only half rewritten ("Oops: int3"), twice in some sixty starts.
            "-machine", "q35,smm=on,i8042=off", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", CPU, "-smp", "1", "-m", MEMORY, "-uuid", UUID,
            "-global", "driver=cfi.pflash01,property=secure,value=on",
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={disk.FIRMWARE}",
            "-drive", f"if=pflash,unit=1,format=raw,file={self.folder / 'vars.fd'}",
            *(self.start_tpm() if self.has_tpm else ()), *self.tables, *self.more,
            # A cut of power takes what the guest had not written; this machine loses none of it, so nothing waits for its disk.
            "-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={self.folder / 'disk.qcow2'}",
            "-device", "virtio-blk-pci,drive=disk,addr=2", "-device", "virtio-rng-pci,addr=5",
            "-netdev", f"user,id=clinical,net=10.0.2.0/24,hostfwd=tcp:127.0.0.1:{self.ports['dicom']}-:11112",
            "-device", "virtio-net-pci,netdev=clinical,addr=3,romfile=",
            "-netdev", f"user,id=management,net=10.0.3.0/24,host=10.0.3.2,dns=10.0.3.3,dhcpstart=10.0.3.15,"
                       f"hostfwd=tcp:127.0.0.1:{self.ports['console']}-:8443",
            "-device", "virtio-net-pci,netdev=management,addr=4,romfile=",
            "-device", "i6300esb,addr=6", "-action", "watchdog=reset",
            "-chardev", f"file,id=serial,path={self.log},append=on", "-serial", "chardev:serial",
            "-chardev", f"file,id=journal,path={self.journal},append=on", "-device", "virtio-serial-pci,addr=7", "-device", "virtconsole,chardev=journal",
            "-qmp", f"unix:{control},server=on,wait=off", *self.tells(told), *(self.puts_in(stick) if stick else ()),
            *(("-device", "VGA,addr=9", "-device", "virtio-keyboard-pci,addr=10") if screen else ())]
        with (self.folder / "qemu.log").open("ab") as log:
            self.machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.qmp = Qmp(control, self.machine)

    def tells(self, told):
        for name, text in told.items():
            file = self.folder / name
            file.touch(mode=0o600)
            file.write_text(text)
            yield from ("-fw_cfg", f"name=opt/sund/{name},file={file}")

    def puts_in(self, folder):
        """A FAT labelled SUND. The twin's kernel has no USB: `guest` has a rule by which a disk of this name is a stick."""
        image = self.folder / "stick.img"
        image.unlink(missing_ok=True)
        at, of = (f"/work/{path.relative_to(STORE)}" for path in (image, folder))
        room = (16 << 20) + sum(file.stat().st_size for file in folder.iterdir())
        inside("sh", "-ec", f"truncate -s {room} {at}; mkfs.vfat -n SUND {at}; mcopy -i {at} {of}/* ::")
        return ("-drive", f"if=none,id=stick,format=raw,readonly=on,file={image}", "-device", "virtio-blk-pci,drive=stick,serial=stick,addr=8")

    def start_tpm(self):
        """What QEMU has to know of it."""
        control = self.folder / "tpm.sock"
        control.unlink(missing_ok=True)
        self.tpm = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder / 'tpm'}", "--ctrl", f"type=unixio,path={control}",
                                     "--terminate"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        await_file(control, self.tpm)
        return "-chardev", f"socket,id=tpm,path={control}", "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm"

    def types(self, line):
        """Presses the keys of a line, and Enter."""
        for letter in line.lower():
            self.presses({"-": "minus"}.get(letter, letter))
        self.presses("ret")

    def presses(self, *keys):
        """At once."""
        self.qmp.command("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def shows(self):
        """A picture of what is on the screen."""
        picture = self.folder / "screen.png"
        self.qmp.command("screendump", filename=str(picture), format="png")
        return picture

    def said(self, since=0):
        """The console, from this byte on, without its colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_bytes()[since:].decode(errors="replace"))

    def journal_said(self, since=0):
        return self.journal.read_bytes()[since:].decode(errors="replace")

    def await_journal(self, *words, since=0):
        """Waits until a line of the journal, from this byte on, has all of these words."""
        def look():
            lines = self.journal_said(since).splitlines()
            return next((line for line in lines if all(word in line for word in words)), None)
        return self.until(f"the journal says {' '.join(words)}", look)

    def await_console(self, words, since=0):
        self.until(f"the console says {words}", lambda: True if words in self.said(since) else None)

    def until(self, what, look, patience=PATIENCE):
        """Looks until there is something to be seen, as long as the machine runs."""
        end = time.monotonic() + patience
        while True:
            ended = self.machine.poll() is not None
            if (seen := look()) is not None:
                return seen
            if ended and self.machine.poll() is not None:
                raise Failed(f"the machine ended before {what}: see {self.log}")
            if time.monotonic() > end:
                raise Failed(f"not within {patience} s: {what}: see {self.log}")
            wait(self.machine, 0.25)

    def cut_power(self):
        self.machine.kill()
        self.end()

    def power_off(self, patience=120):
        """Presses the button; pulls the plug where that does not help."""
        if self.machine and self.machine.poll() is None and self.qmp:
            self.qmp.command("system_powerdown")
            if not wait(self.machine, patience):
                self.machine.kill()
        self.end()

    def end(self):
        for process in (self.machine, self.tpm):
            if process and process.poll() is None:
                process.terminate()
            if process:
                process.wait()
        self.machine = self.tpm = self.qmp = None


def wait(process, seconds):
    try:
        process.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False


def await_file(path, process, patience=60):
    end = time.monotonic() + patience
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"{process.args[0]} does not start: it ended with {process.poll()}")
        wait(process, 0.05)


def connected(path, process, patience=60):
    """A connection to who listens there. Its file is there a moment before, and one that was killed has left it behind."""
    await_file(path, process)
    end = time.monotonic() + patience
    connection = socket.socket(socket.AF_UNIX)
    while connection.connect_ex(str(path)):
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"{process.args[0]} is not to be talked to: it ended with {process.poll()}")
        wait(process, 0.05)
    return connection


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
