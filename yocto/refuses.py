"""What would reach a box and not work there ends the build: the steps of the recipes that say so are run here, on what they let through and on
what they do not. Those of bundles run with RAUC itself (image/twin test release)."""
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

from supplies import LAYER, REPOSITORY

SLOT = LAYER / "classes-recipe/sund_slot.bbclass"
KERNEL = LAYER / "recipes-kernel/linux/linux-yocto_%.bbappend"
MODULES = next((LAYER / "recipes-kernel/nvidia").glob("*.bb"))


def check():
    with tempfile.TemporaryDirectory() as folder:
        roots(pathlib.Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        fragments(pathlib.Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        modules(pathlib.Path(folder))


def step(recipe, name):
    """Its last lines, where a recipe adds to it more than once."""
    return re.findall(rf"^{name}\(\) \{{\n(.*?)^\}}", recipe.read_text(), re.M | re.S)[-1]


def assigned(recipe, name):
    return re.search(rf'^{name} = "(.*?)"', recipe.read_text(), re.M)[1]


def ends(recipe, name, *arguments, **variables):
    """What a step of a recipe ends the build with, or nothing. bitbake runs it by sh -e."""
    script = f'bbfatal() {{ echo "$1"; exit 1; }}\n{step(recipe, name)}'
    environment = {"PATH": os.environ["PATH"], **{key: str(value) for key, value in variables.items()}}
    ended = subprocess.run(["sh", "-ec", script, "sh", *map(str, arguments)], env=environment,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if bool(ended.returncode) != bool(ended.stdout):
        sys.exit(f"{name} ends with {ended.returncode}, and says: {ended.stdout}")
    return ended.stdout


def goes_on(what, ended):
    if ended:
        sys.exit(f"{what} ends the build: {ended}")


def stops(what, ended, words):
    if words not in ended:
        sys.exit(f"{what} does not end the build with {words}: {ended}")


def roots(folder):
    """A root that is larger than its slot."""
    room = assigned(SLOT, "SUND_ROOT_MIB")
    image = folder / "root.img"
    image.touch()
    os.truncate(image, int(room) << 20)
    goes_on("a root that fills its slot", ends(SLOT, "sund_root_fits", image, SUND_ROOT_MIB=room))
    os.truncate(image, (int(room) << 20) + 1)
    stops("a larger root", ends(SLOT, "sund_root_fits", image, SUND_ROOT_MIB=room), "a slot never grows")


def fragments(folder):
    """A kernel that is built otherwise than its fragments say: a module, something left out, something else."""
    names = re.search("for fragment in (.*);", KERNEL.read_text())[1]
    source = LAYER / "recipes-kernel/linux/files"
    if set(names.split()) != {file.stem for file in source.glob("*.cfg")} or any(f"file://{name}.cfg" not in KERNEL.read_text() for name in names.split()):
        sys.exit(f"{KERNEL.name} looks at {names}, which are not the fragments of {source}")
    lines = [line for name in names.split() for line in (source / f"{name}.cfg").read_text().splitlines() if "CONFIG_" in line]
    def built(lines):
        (folder / ".config").write_text("\n".join(lines) + "\n")
        return ends(KERNEL, "do_configure:append:sund-x86-64", B=folder, UNPACKDIR=source)
    goes_on("a kernel as its fragments say", built(lines))
    # What is not asked about is not in that file.
    goes_on("a kernel without what it is to be without", built([line for line in lines if not line.startswith("#")]))
    stops("a card as a module", built([line.replace("MLX5_CORE=y", "MLX5_CORE=m") for line in lines]), " CONFIG_MLX5_CORE=y")
    stops("a kernel without a watchdog", built([line for line in lines if "ITCO_WDT" not in line]), " CONFIG_ITCO_WDT=y")
    stops("a kernel with kexec", built([*lines, "CONFIG_KEXEC=y"]), " no-CONFIG_KEXEC")


def modules(folder):
    """A kernel module without a signature, and one with another's."""
    for name in ("modules", "stranger"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}/", "-keyout", folder / f"{name}.pem",
                        "-out", folder / "certificate"], check=True, stderr=subprocess.DEVNULL)
        with (folder / f"{name}.pem").open("a") as both:
            both.write((folder / "certificate").read_text())
    into = folder / "root/usr/lib/modules/6.18/updates"
    into.mkdir(parents=True)
    def built(whose):
        (into / "nvidia.ko").write_bytes(signed(folder, os.urandom(10000), whose))
        return ends(MODULES, "sund_modules_are_signed", D=folder / "root", WORKDIR=folder, SUND_MODULE_KEY=folder / "modules.pem")
    stops("no module", ends(MODULES, "sund_modules_are_signed", D=into), "no module was installed")
    goes_on("a signed module", built("modules"))
    stops("a module that nobody has signed", built(None), "nvidia.ko is not signed")
    stops("a module that somebody else has signed", built("stranger"), "nvidia.ko is signed by another key")


def signed(folder, code, whose):
    """As the kernel's sign-file does it: the code, CMS without its certificate, struct module_signature, a line."""
    if whose is None:
        return code
    key = folder / f"{whose}.pem"
    command = ["openssl", "cms", "-sign", "-binary", "-nocerts", "-noattr", "-nosmimecap", "-md", "sha512", "-outform", "DER", "-signer", key, "-inkey", key]
    signature = subprocess.run(command, input=code, stdout=subprocess.PIPE, check=True).stdout
    return code + signature + struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, len(signature)) + b"~Module signature appended~\n"
