"""What the firmware starts: one path, one command line and one set of names, here, in the twin and for the factory."""
import ast
import pathlib
import re
import sys

from supplies import LAYER, REPOSITORY, wrong

HERE = pathlib.Path(__file__).resolve().parent
SLOT = LAYER / "classes-recipe/sund_slot.bbclass"
# Words of the twin's command line that production does not have as they are, and why.
OTHERWISE = {
    "console": "nobody reads a cable there, and the twin's scenarios do",
    "lockdown": "stricter: confidentiality, which the twin's kernel cannot have",
    "lsm": "the kernel is built with this list, and without AppArmor: lockdown.cfg",
}


def check():
    command_line()
    path_on_the_esp()
    names_of_one_image()
    key_of_modules()
    keys_are_told()


def words(line):
    return dict(word.partition("=")[::2] for word in line.split())


def command_line():
    tree = ast.parse((REPOSITORY / "image/qemu/boot.py").read_text())
    twin = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "COMMAND_LINE")
    twin = words(ast.literal_eval(twin))
    ours = words(re.search(r'^SUND_CMDLINE \?= "(.*?)"', SLOT.read_text(), re.M | re.S)[1].replace("\\\n", " "))
    wrong("words of the twin's command line that SUND_CMDLINE has not, or otherwise",
          {f"{name}={said}" for name, said in twin.items() if name not in OTHERWISE and ours.get(name) != said})
    wrong("what SUND_CMDLINE has as the twin does is no exception", {name for name in OTHERWISE if name in ours and ours[name] == twin.get(name)})


def path_on_the_esp():
    ours = re.search(r"::(/EFI/\S+\.efi)", SLOT.read_text(), re.I)[1]
    twin = re.search(r"::(EFI/\S+\.efi)", (REPOSITORY / "image/qemu/boot.py").read_text())[1]
    entry = ours.replace("/", "\\")
    if ours != f"/{twin}" or f"--loader '{entry}'" not in (HERE / "README.md").read_text():
        sys.exit(f"the signed kernel lies at {ours}, in the twin at /{twin}, and README.md has boot entries for another")


def names_of_one_image():
    """An image and another one, of other keys, share the folder that bundle and disk are made from."""
    text = SLOT.read_text() + (LAYER / "files/wic/sund.wks.in").read_text()
    names = set(re.findall(r"\$\{DEPLOY_DIR_IMAGE\}/([^\s\"]+)", text))
    wrong("names that two images write", {name for name in names if not name.startswith(("${IMAGE_BASENAME}", "${UKI_FILENAME}"))})
    if 'UKI_FILENAME = "${IMAGE_BASENAME}.efi"' not in text:
        sys.exit("UKI_FILENAME is not named after its image")


def key_of_modules():
    """The kernel's build makes a key of its own under its default name."""
    fragment = (LAYER / "recipes-kernel/linux/files/module-signing.cfg").read_text()
    name = re.search(r'CONFIG_MODULE_SIG_KEY="(.*)"', fragment)[1]
    recipe = (LAYER / "recipes-kernel/linux/linux-yocto_%.bbappend").read_text()
    if name == "certs/signing_key.pem" or f"${{B}}/{name}" not in recipe or f"$kerneldir/{name}" not in recipe:
        sys.exit(f"modules are to be signed by {name}, which linux-yocto does not put where the kernel and other recipes sign")


def keys_are_told():
    """Every file of the integrator's that a recipe reads stands in README.md."""
    said = (HERE / "README.md").read_text()
    names = set()
    for recipe in [*LAYER.rglob("*.bb*"), *LAYER.rglob("*.inc")]:
        text = recipe.read_text()
        if "_KEYS}" in text:
            names |= set(re.findall(r"\b[a-z]+(?:-[a-z]+)?\.(?:pem|key|pub)\b", text)) | set(re.findall(r"_KEYS\}/([\w.-]+)", text))
    wrong("README.md does not name", {name for name in names if f"`{name}`" not in said})
