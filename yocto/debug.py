"""The debug variant is of keys of its own, takes no bundle of production's and gives it none, and says what it is wherever somebody looks."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from supplies import LAYER, REPOSITORY, ROOT, wrong

IMAGE = LAYER / "recipes-core/images/sund-image-debug.bb"
BUNDLES = LAYER / "recipes-core/bundles"
# As openembedded-core's dropbear and base-files have them.
OTHERS = {"etc/default/dropbear": 'DROPBEAR_EXTRA_ARGS="-w"\n', "etc/issue": "Sund \\n \\l\n", "etc/issue.net": "Sund %h\n", "etc/motd": "",
          "usr/lib/os-release": 'ID=sund\nNAME="sund"\nVERSION_ID=0.1.0\n'}
BELIEVED = {"release-ca.pem": "usr/share/sund/release-ca.pem", "provisioning.pem": "usr/share/sund/provisioning.pem",
            "authorized_keys": "root/.ssh/authorized_keys"}


def check():
    keys()
    bundles()
    with tempfile.TemporaryDirectory() as folder:
        root = made(pathlib.Path(folder))
        says_what_it_is(root)
        lets_in(root)
        takes_its_own(root)


def assigned(recipe, name):
    found = re.search(rf'^{name} = "(.*?)"', recipe.read_text(), re.M)
    return found and found[1]


def keys():
    wrong("sund-image-debug uses production's keys", set(re.findall(r"\$\{SUND_KEYS\}\S*", IMAGE.read_text())))
    if assigned(IMAGE, "SUND_IMAGE_KEYS") != "${SUND_DEBUG_KEYS}" or "${SUND_KEYS}/" in (LAYER / "classes-recipe/sund_slot.bbclass").read_text():
        sys.exit("sund-image-debug is signed by other keys than SUND_DEBUG_KEYS")


def bundles():
    """Each is of one image, and signed by that image's keys."""
    common = (BUNDLES / "sund-bundle.inc").read_text()
    files = set(re.findall(r'\[file\] = "(\S+)"', common))
    wrong("a bundle has what is not its image's", files ^ {"${SUND_BUNDLE_IMAGE}-esp.img", "${SUND_BUNDLE_IMAGE}-root.img"})
    wrong("a bundle is signed by what is not its image's", set(re.findall(r'_FILE = "(?!\$\{SUND_BUNDLE_KEYS\}/)(\S+)"', common)))
    for kind, image, whose in (("", "sund-image", "${SUND_KEYS}"), ("-debug", "sund-image-debug", "${SUND_DEBUG_KEYS}")):
        recipe = BUNDLES / f"sund-bundle{kind}_0.1.0.bb"
        if (assigned(recipe, "SUND_BUNDLE_IMAGE"), assigned(recipe, "SUND_BUNDLE_KEYS")) != (image, whose):
            sys.exit(f"{recipe.name} is not of {image}, or not signed by {whose}")


def made(folder):
    """The root that the recipe makes of image/root: what it runs is run."""
    root, own = folder / "root", folder / "keys"
    shutil.copytree(ROOT, root, symlinks=True)
    (root / "usr/share/sund").mkdir(parents=True, exist_ok=True)
    for name, text in OTHERS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    own.mkdir()
    for name in BELIEVED:
        (own / name).write_text(f"{name} of the workbench\n")
    recipe = IMAGE.read_text()
    steps = re.search(r'^ROOTFS_POSTPROCESS_COMMAND \+= "(.*)"', recipe, re.M)[1].split()
    bodies = [re.search(rf"^{step}\(\) \{{\n(.*?)^\}}", recipe, re.M | re.S)[1] for step in steps]
    # bitbake puts its variables in before a shell reads it.
    given = {"IMAGE_ROOTFS": str(root), "SUND_DEBUG_KEYS": str(own), "sysconfdir": "/etc", "datadir": "/usr/share", "nonarch_libdir": "/usr/lib",
             "ROOT_HOME": "/root", "systemd_system_unitdir": "/usr/lib/systemd/system", "SUND_DEBUG_NAME": assigned(IMAGE, "SUND_DEBUG_NAME")}
    script = re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], "\n".join(bodies))
    ended = subprocess.run(["sh", "-euc", 'bbfatal() { echo "$1"; exit 1; }\n' + script], env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        sys.exit(f"sund-image-debug ends the build: {ended.stdout}")
    return root


def says_what_it_is(root):
    name = assigned(IMAGE, "SUND_DEBUG_NAME")
    release = (root / "usr/lib/os-release").read_text().splitlines()
    wrong("os-release of the debug variant has not", {f'VARIANT="{name}"', "VARIANT_ID=debug"} - set(release))
    wrong("the debug variant does not say what it is in", {file for file in ("issue", "issue.net", "motd") if name not in (root / "etc" / file).read_text()})
    if "VARIANT" in "".join(recipe.read_text() for recipe in LAYER.rglob("*.bb*") if recipe != IMAGE):
        sys.exit("another recipe than sund-image-debug makes a variant of its image")


def lets_in(root):
    """Root by a key, and nobody by a password; through the one port more, on the one network."""
    arguments = re.search(r'^DROPBEAR_EXTRA_ARGS="(.*)"', (root / "etc/default/dropbear").read_text(), re.M)[1].split()
    if "-s" not in arguments or "-w" in arguments or arguments[arguments.index("-b") + 1] != "/etc/issue.net":
        sys.exit(f"dropbear of the debug variant is started with {arguments}")
    rules = set((root / "etc/nftables.conf").read_text().splitlines()) - set((ROOT / "etc/nftables.conf").read_text().splitlines())
    wrong("the firewall of the debug variant", {rule.strip() for rule in rules} ^ {'iifname "management" tcp dport 22 accept'})
    socket = root / "etc/systemd/system/sockets.target.wants/dropbear.socket"
    if not socket.is_symlink() or str(socket.readlink()) != "/usr/lib/systemd/system/dropbear.socket":
        sys.exit("ssh of the debug variant is not started")


def takes_its_own(root):
    """By its name, even where both are signed by the same keys."""
    name = lambda file: re.search(r"^compatible=(\S+)", file.read_text(), re.M)[1]
    production, debug = name(ROOT / "etc/rauc/system.conf"), name(root / "etc/rauc/system.conf")
    signed = [assigned(BUNDLES / f"sund-bundle{kind}_0.1.0.bb", "RAUC_BUNDLE_COMPATIBLE") for kind in ("", "-debug")]
    if signed != [production, debug] or production == debug or name(REPOSITORY / "image/rauc/manifest.raucm") != production:
        sys.exit(f"bundles are for {signed}, boxes are {production} and {debug}")
    wrong("what a box of the workbench believes is production's",
          {file for file, place in BELIEVED.items() if (root / place).read_text() != f"{file} of the workbench\n"})
