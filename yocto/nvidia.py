"""What NVIDIA alone hands out: nothing of it is unpacked but what the integrator has stated, and the recipes install what the agent opens, under
the names by which it opens it."""
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import types

from supplies import LAYER, REPOSITORY, wrong

RECIPES = LAYER / "recipes-nvidia/nvidia"
ARCHIVES = LAYER / "classes-recipe/nvidia_archive.bbclass"
# Stands for the licence that the integrator has accepted.
LICENCE = "0" * 32


def check():
    with tempfile.TemporaryDirectory() as folder:
        archives(pathlib.Path(folder))
    tensorrt()
    management()
    nodes()


def tensorrt():
    """The library and, beside it, the parser by which a box compiles what a package brings no plan of."""
    recipe = next(RECIPES.glob("tensorrt-rtx_*.bb"))
    version = recipe.stem.partition("_")[2].split(".")
    source = (REPOSITORY / "kernels/src/tensorrt/library.rs").read_text()
    opened = {name.replace("{major}", version[0]) for name in re.findall(r'Kind::Rtx => format!\("(lib\S+)"\)', source)}
    opened |= set(re.findall(r"`(libtensorrt_rtx\.so\.\d+)`", source))
    if len(opened) != 2:
        sys.exit(f"library.rs opens its library and its parser under other names than this looks for: {opened}")
    # One line, into one folder.
    lines = re.findall(r"^ +install -m 0755 (.*) \$\{D\}\$\{libdir\}/sund$", recipe.read_text(), re.M)
    beside = set(re.findall(r"\$\{S\}/lib/(\S+)", lines[0])) if len(lines) == 1 else set()
    wrong(f"libraries that the agent opens and {recipe.name} does not install beside each other", opened - beside)
    headers = re.findall(r"TRT-RTX-([\d.]+)", (LAYER / "recipes-sund/sund/sund-agent_0.1.0.bb").read_text())
    wrong(f"versions for which the agent is built and {recipe.name} is not", set(headers) - {".".join(version[:2])})


def management():
    """The driver's own library, which tells how GPUs fare."""
    name = re.search(r'const LIBRARY: &str = "(\S+)\.so\.1";', (REPOSITORY / "agent/src/worker/nvml.rs").read_text())
    driver = next(RECIPES.glob("nvidia-driver_*.bb")).read_text()
    linked = re.search(r"for library in (.*); do\n", driver)
    if not name or "/$library.so.1" not in driver:
        sys.exit("the agent or nvidia-driver names NVIDIA's libraries in another way than this looks for")
    wrong("libraries of the driver that the agent opens and nvidia-driver does not install", {name[1], "libcuda"} - set(linked[1].split()))


def nodes():
    """The GPUs' device nodes are a group's in which workers are and nobody else; its number is the driver's word for it."""
    modules = next((LAYER / "recipes-kernel/nvidia").glob("*.bb")).read_text()
    options = dict(re.findall(r"NVreg_(DeviceFile\w+)=(\w+)", re.search(r'^module_conf_nvidia = "(.*)"', modules, re.M)[1]))
    number = re.search(r"^sund-gpu::(\d+):", (LAYER / "files/sund-group").read_text(), re.M)
    if not number or options != {"DeviceFileUID": "0", "DeviceFileGID": number[1], "DeviceFileMode": "0660"}:
        sys.exit(f"the driver makes its nodes otherwise than for root and sund-gpu: {options}")
    driver = next(RECIPES.glob("nvidia-driver_*.bb")).read_text()
    members = {file.name for folder in (LAYER, REPOSITORY / "image/root", REPOSITORY / "agent/units", REPOSITORY / "ota/units") for file in folder.rglob("*")
               if file.is_file() and file.suffix in (".conf", ".service") and re.search(r"^(?:Supplementary)?Groups?=.*\bsund-gpu\b", file.read_text(), re.M)}
    wrong("units that are let at the GPUs", members - {"worker-nvidia.conf"})
    installed = ("${UNPACKDIR}/worker-nvidia.conf ${D}${systemd_system_unitdir}/sund-worker@.service.d/10-nvidia.conf",
                 "-t ${D}${datadir}/sund ${UNPACKDIR}/nvidia-nodes.conf", 'GROUPADD_PARAM:${PN} = "--system sund-gpu"')
    wrong("nvidia-driver has not", {line for line in installed if line not in driver})
    wrong("workers are not let at the GPUs", {"worker-nvidia.conf"} - members)
    # nvidia-modprobe hears the driver's word for the nodes of the driver alone.
    told = (RECIPES / "files/nvidia-nodes.conf").read_text()
    made = re.findall(r"^ExecStart=(.*)", (RECIPES / "files/nvidia-nodes.service").read_text(), re.M)
    wrong("nodes of nvidia-uvm that are left to everybody", {node for node in ("uvm", "uvm-tools") if f"z /dev/nvidia-{node} 0660 root sund-gpu -\n" not in told})
    if made[-1] != "/usr/bin/systemd-tmpfiles --create /usr/share/sund/nvidia-nodes.conf":
        sys.exit("nvidia-nodes.service does not end with what nvidia-nodes.conf says")


class Ended(Exception):
    """The build ends, with a reason."""


def archives(folder):
    """What bitbake runs in the place of an unpacking is run here. Its own modules are not there: this has of them what it asks for."""
    library, driver = folder / "downloads/library.tar.gz", folder / "downloads/driver.run"
    (folder / "downloads").mkdir()
    (folder / "library-1").mkdir()
    (folder / "library-1/LICENSE").write_text("what the integrator has accepted")
    subprocess.run(["tar", "czf", library, "-C", folder, "library-1"], check=True)
    driver.write_text('test "$1 $2" = "--extract-only --target" && mkdir "$3" && touch "$3/LICENSE"\n')
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (library, driver)}
    both = " ".join(sums)
    for what, said, words in (
            ("an archive of which nothing is stated", {"NVIDIA_SHA256": ""}, "test-recipe is not stated: download library.tar.gz"),
            ("an archive whose licence nobody has accepted", {"NVIDIA_LICENSE_MD5": ""}, "set NVIDIA_SHA256:pn-test-recipe and NVIDIA_LICENSE_MD5:pn-test-recipe"),
            ("an archive more than is stated", {"NVIDIA_ARCHIVES": both}, "download library.tar.gz and driver.run"),
            ("an archive that is not there", {"NVIDIA_ARCHIVES": "other.tar.gz"}, "other.tar.gz is not there"),
            ("another archive than is stated", {"NVIDIA_SHA256": sums["driver.run"]}, f"{sums['library.tar.gz']}, and {sums['driver.run']} is stated"),
            ("two archives that are stated in the other order", {"NVIDIA_ARCHIVES": both, "NVIDIA_SHA256": " ".join(reversed(sums.values()))}, "is stated")):
        told = unpacked(folder, sums, **said)
        if words not in told or (folder / "unpacked/LICENSE").exists():
            sys.exit(f"{what} does not end the build with {words}: {told}")
    for name in sums:
        told = unpacked(folder, sums, NVIDIA_ARCHIVES=name, NVIDIA_SHA256=sums[name])
        if told or not (folder / "unpacked/LICENSE").exists():
            sys.exit(f"{name} is as it is stated, and is not unpacked: {told}")


def unpacked(folder, sums, **said):
    """What the build ends with, or nothing."""
    target = folder / "unpacked"
    subprocess.run(["rm", "-rf", target], check=True)
    values = {"PN": "test-recipe", "S": str(target), "NVIDIA_DOWNLOADS": str(folder / "downloads"), "NVIDIA_ARCHIVES": "library.tar.gz",
              "NVIDIA_SHA256": sums["library.tar.gz"], "NVIDIA_LICENSE_MD5": LICENCE, **said}

    def fatal(reason):
        raise Ended(reason)

    utils = types.SimpleNamespace(mkdirhier=lambda path: os.makedirs(path, exist_ok=True),
                                  sha256_file=lambda path: hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
                                  remove=lambda path, recurse: subprocess.run(["rm", "-rf", path], check=True))
    body = re.search(r"^python do_unpack:append\(\) \{\n(.*?)^\}", ARCHIVES.read_text(), re.M | re.S)[1]
    try:
        exec(textwrap.dedent(body), {"os": os, "d": types.SimpleNamespace(getVar=values.__getitem__), "bb": types.SimpleNamespace(fatal=fatal, utils=utils)})
    except Ended as ended:
        return str(ended)
    return ""
