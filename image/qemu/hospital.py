"""A box with all that is around it: the region's channel, an archive, and the machine's own user as the modality."""
import re
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path

from . import disk
from .box import PATIENCE, Box, free_port
from .region import MODEL, Region
from .site import PASSWORD, Site
from .store import STORE, Failed

STUDY = MODEL / "golden/ultrasound/frame.dcm"


def studies(files):
    """The study of each file; one that is just being written has none yet."""
    told = subprocess.run(["dcmdump", "-q", "+P", "0020,000d", *files], capture_output=True, text=True).stdout
    return set(re.findall(r"\[([0-9.]+)\]", told))


class Hospital:
    """Everything in one folder. Use it with `with`, or `close` it: it ends what it started."""

    def __init__(self, name, version):
        # What the box is made with, and what it runs.
        self.factory = self.version = version
        # Before anything is started that would have to be ended.
        disk.variables(version)
        self.folder = STORE / "boxes" / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        channel, pacs, dicom, console = (free_port() for _ in range(4))
        self.archive_folder = self.folder / "archive"
        self.archive_folder.mkdir()
        self.region = Region(self.folder / "region", channel)
        self.pacs = pacs
        self.site = Site(self.folder, self.region, pacs)
        self.ports = {"dicom": dicom, "console": console}
        self.box = Box(self.folder / "box", version, self.ports)
        self.region.serve()
        self.open_archive()
        # What QEMU provisions the box with; nothing where a stick does.
        self.name = "twin"
        self.provisioned = self.site.provisions(self.enrolment_code())
        self.region.publish_state("first")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self, health=PATIENCE, stick=None, screen=False, **told):
        """Starts the box; a new system has so many seconds to be healthy."""
        if self.provisioned:
            told["provision"] = self.site.provision(self.provisioned, health) + told.get("provision", "")
        self.box.start(told, stick, screen)

    def restarts(self, stick=None, **told):
        """Starts the box, which then restarts by itself; it is off afterwards."""
        self.start(stick=stick, **told)
        self.box.until("the box restarts", lambda: True if self.box.machine.poll() is not None else None)
        self.box.end()

    def from_the_factory(self, name):
        """Another box in the place of this one, which nothing but a stick provisions."""
        self.box.power_off()
        self.name, self.version = name, self.factory
        self.box = Box(self.folder / name, self.version, self.ports)
        self.provisioned = None

    def first_stick(self, code=None):
        """The region's stick for the box, with a one-time code where there is one."""
        return self.site.writes_stick(self.emptied("first"), self.name, code)

    def enrolment_code(self):
        return self.region.enrolment_code(self.name)

    def reset_stick(self):
        stick = self.emptied("reset")
        self.region.writes_reset(self.name, stick)
        return stick

    def emptied(self, name):
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def close(self):
        self.box.power_off()
        self.region.stop()
        self.close_archive()

    def open_archive(self):
        self.archive = subprocess.Popen(["storescp", "-aet", "PACS", "-od", self.archive_folder, str(self.pacs)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def close_archive(self):
        self.archive.terminate()
        self.archive.wait()

    def roll_out(self, name, state):
        self.region.roll_out(name, state, self.name)

    def gets_its_model(self):
        """Brings the box the first state of the region, and whether it took it."""
        rollout = f"first-{self.box.boots}-{self.name}"
        self.roll_out(rollout, "first")
        return self.box.until(f"the box has ended {rollout}", lambda: self.region.ended(rollout)) == "finished"

    def echoes(self):
        """Whether a C-ECHO is answered."""
        command = ["echoscu", "-to", "3", "-aet", "ECHOSCU", "-aec", "SUND", "127.0.0.1", str(self.box.ports["dicom"])]
        return subprocess.run(command, capture_output=True).returncode == 0

    def await_echo(self):
        self.box.until("a C-ECHO is answered", lambda: True if self.echoes() else None)

    def sends(self):
        """A real image, as a study of its own, to the box; which study."""
        study, told = self.tries()
        if "(Success)" not in told:
            raise Failed(f"the box does not take an image: {told}")
        return study

    def tries(self):
        """Sends an image, a study of its own; which study, and what is told of it."""
        image = self.folder / "image.dcm"
        shutil.copy(STUDY, image)
        subprocess.run(["dcmodify", "-nb", "-gst", "-gse", "-gin", image], check=True)
        command = ["storescu", "-v", "-aet", "STORESCU", "-aec", "SUND", "127.0.0.1", str(self.box.ports["dicom"]), image]
        sent = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        [study] = studies([image])
        return study, sent.stdout

    def sends_until(self, count):
        """Sends twice as many images in one association, each a study; the power goes when so many were acknowledged. Which those are."""
        folder = self.emptied("many")
        images = [Path(shutil.copy(STUDY, folder / f"{number:02}.dcm")) for number in range(2 * count)]
        subprocess.run(["dcmodify", "-nb", "-gst", "-gse", "-gin", *images], check=True)
        command = ["storescu", "-v", "-aet", "STORESCU", "-aec", "SUND", "127.0.0.1", str(self.box.ports["dicom"]), *images]
        acknowledged = 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as sending:
            for line in sending.stdout:
                if "Received Store Response (Success)" in line:
                    acknowledged += 1
                    if acknowledged == count:
                        self.box.cut_power()
        if acknowledged < count:
            raise Failed(f"the box has acknowledged {acknowledged} images of {len(images)}")
        return studies(images[:acknowledged])

    def studies_answered(self):
        """The studies of which a result is in the archive."""
        return studies(list(self.archive_folder.iterdir()))

    def results(self):
        return len(list(self.archive_folder.iterdir()))

    def await_result(self, before=0):
        self.box.until("a result is in the archive", lambda: True if self.results() > before else None)

    def console_answers(self):
        """The console shows its login."""
        context = ssl.create_default_context(cafile=str(self.region.folder / "console.pem"))
        with urllib.request.urlopen(f"https://127.0.0.1:{self.box.ports['console']}/", context=context, timeout=10) as answer:
            return answer.status == 200
