"""What the files of image/, agent/ and ota/ ask of a system is in what the recipes install."""
import fnmatch
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent
LAYER = HERE / "meta-sund"
ROOT = REPOSITORY / "image/root"
UNITS = (".service", ".socket", ".mount", ".timer", ".target", ".path")
# What each recipe of ours installs beside the units that it names.
OURS = {"sund-agent": ["/usr/bin/sund"], "sund-ota": ["/usr/bin/sund-updater"], "nvidia-driver": ["/usr/bin/nvidia-modprobe"]}
IMAGE = LAYER / "recipes-core/images/sund-image.bb"


def check():
    packages = yaml.safe_load((HERE / "packages.yml").read_text())
    in_the_image(packages)
    units(packages)
    users(packages)
    programs(packages)
    mounts(packages)
    ports()
    kernel()
    numbers()
    initramfs(packages)
    what_is_left_of_a_root()
    one_clock()


def brings(packages, what):
    return {name for package in packages.values() for name in package.get(what, [])}


def wrong(sentence, names):
    if names:
        sys.exit(f"{sentence}: {', '.join(sorted(names))}")


def value(recipe, name):
    """The words of a variable of a recipe, over all its lines and additions."""
    found = re.findall(rf'^{re.escape(name)} \+?\??= "(.*?)"', recipe.read_text(), re.M | re.S)
    return set(" ".join(found).replace("\\\n", " ").split())


def in_the_image(packages):
    installed = value(IMAGE, "IMAGE_INSTALL") | value(LAYER / "recipes-core/images/sund-initramfs.bb", "PACKAGE_INSTALL")
    wrong("packages.yml has what sund-image does not install", {name for name, package in packages.items() if package.get("by", name) not in installed})


def ours():
    """Our units, and what is laid over those of others."""
    recipes = "".join(recipe.read_text() for recipe in LAYER.rglob("*.bb"))
    others = [*(REPOSITORY / "agent/units").iterdir(), *(REPOSITORY / "ota/units").iterdir(), *(LAYER / "recipes-nvidia/nvidia/files").iterdir()]
    files = [file for file in others if f"/{file.name} " in recipes or f"/{file.name}\n" in recipes]
    files += [file for file in ROOT.rglob("*") if file.suffix in UNITS or file.parent.parent.name == "system"]
    return [file for file in files if file.is_file()]


def units(packages):
    names = {file.name for file in ours()} | brings(packages, "units")
    preset = (ROOT / "usr/lib/systemd/system-preset/10-sund.preset").read_text()
    asked = set(re.findall(r"^enable (\S+)", preset, re.M))
    for file in ours():
        asked |= {word for line in re.findall(r"^(?:Requires|Wants|BindsTo|Unit)=(.*)", file.read_text(), re.M) for word in line.split()}
        if file.parent.suffix == ".d" and file.parent.parent.name == "system":
            asked.add(file.parent.stem)
    for rules in ROOT.rglob("*.rules"):
        asked |= {word for line in re.findall(r'SYSTEMD_WANTS}\+?="([^"]*)"', rules.read_text()) for word in line.split()}
    # An instance of a template, modprobe@loop.service, is there with it.
    wrong("units that no recipe installs", {name for name in asked if not fnmatch.filter(names, name) and re.sub("@.*[.]", "@.", name) not in names})


def users(packages):
    made = brings(packages, "users")
    for recipe in LAYER.rglob("*.bb*"):
        made |= {line.split()[-1] for line in re.findall(r'^(?:USER|GROUP)ADD_PARAM\S* = "(\S.*)"', recipe.read_text(), re.M)}
    asked = set(re.findall(r'skuid "([^"]+)"', (ROOT / "etc/nftables.conf").read_text()))
    for file in ours():
        text = file.read_text()
        if "DynamicUser=yes" not in text:
            asked |= set(re.findall(r"^(?:Socket)?(?:User|Group)=(\S+)", text, re.M))
            asked |= {name for line in re.findall(r"^SupplementaryGroups=(.*)", text, re.M) for name in line.split()}
    for file in ROOT.rglob("tmpfiles.d/*.conf"):
        asked |= {name for line in file.read_text().splitlines() if line[:1] not in ("", "#") for name in line.split()[3:5] if name != "-"}
    for file in [*ROOT.rglob("sysusers.d/*.conf"), REPOSITORY / "agent/units/sund.sysusers"]:
        asked |= set(re.findall(r"^u (\S+)", file.read_text(), re.M))
    wrong("users and groups that no recipe makes: the root is read-only, a box makes none", asked - made)


def programs(packages):
    known = brings(packages, "programs") | {program for programs in OURS.values() for program in programs}
    kept = {line for line in (REPOSITORY / "image/programs.txt").read_text().splitlines() if line[:1] not in ("", "#")} | value(IMAGE, "SUND_PROGRAMS")
    started = {command.lstrip("@-:+!|").split()[0] for file in ours() for command in re.findall(r"^Exec\w+=(\S.*)", file.read_text(), re.M)}
    wrong("programs that no recipe installs", started - known)
    wrong("programs that sund-image removes", {path for path in started if path.split("/")[2] in ("bin", "sbin") and path.split("/")[3] not in kept})
    files = set(re.findall(r" (/usr/share/zoneinfo/\S+)", (ROOT / "etc/chrony/chrony.conf").read_text()))
    wrong("files that no recipe installs", files - brings(packages, "files"))


def mounts(packages):
    """On a read-only root the place is there, or nothing is mounted."""
    places = brings(packages, "mounts") | {place.replace("${sysconfdir}", "/etc") for recipe in LAYER.rglob("*.bb")
                                           for place in re.findall(r"install -d \$\{D\}(\S+)", recipe.read_text())}
    asked = {place for file in ROOT.rglob("*.mount") for place in re.findall(r"^Where=(\S+)", file.read_text(), re.M)}
    wrong("mount points that are not in the root", {place for place in asked - places if not place.startswith("/run/")})


def ports():
    """Each network that the firewall and networkd speak of is a port that the machine names, and image/root names none: it knows no server."""
    base = (LAYER / "recipes-core/sund-base/sund-base_0.1.0.bb").read_text()
    rules = (ROOT / "etc/nftables.conf").read_text()
    wrong("files that the firewall includes and image/root lacks", {path for path in re.findall(r'^include "/(\S+)"', rules, re.M) if not (ROOT / path).is_file()})
    asked = set(re.findall(r'[io]ifname "([^"]+)"', rules))
    asked |= {name for file in ROOT.rglob("*.network") for name in re.findall(r"^Name=(\S+)", file.read_text(), re.M)}
    wrong("networks whose port nothing names", asked - set(re.findall(r"^ +name_port (\S+)", base, re.M)))
    wrong("ports of one machine in image/root", {file.name for file in ROOT.rglob("*.link")})


def kernel():
    """What firewall, networks and units do the kernel has to be built with."""
    asked = {"RoutingPolicyRule": ("IP_MULTIPLE_TABLES", "IPV6_MULTIPLE_TABLES"), "ct mark": ("NF_CONNTRACK_MARK",), "FirewallMark=": ("NF_CONNTRACK_MARK",),
             "table arp": ("NF_TABLES_ARP",), "DeviceAllow=": ("BPF_SYSCALL", "CGROUP_BPF"), "PrivateDevices=yes": ("BPF_SYSCALL", "CGROUP_BPF"),
             "TTYPath=/dev/tty1": ("VT", "FB_EFI", "FRAMEBUFFER_CONSOLE"), "SystemCallFilter=": ("SECCOMP_FILTER",)}
    files = [ROOT / "etc/nftables.conf", *ROOT.rglob("*.network"), *ours()]
    text = "".join(file.read_text() for file in files)
    fragments = (LAYER / "recipes-kernel/linux/files").glob("*.cfg")
    built = {option for file in fragments for option in re.findall(r"^CONFIG_(\w+)=y", file.read_text(), re.M)}
    # Where these are modules the network cards are, and a rescue loads none.
    wanted = {"PTP_1588_CLOCK", "HWMON"} | {option for word, options in asked.items() if word in text for option in options}
    wrong("what the kernel is built without", wanted - built)


def numbers():
    """What lies on the data partition belongs to numbers: they are those of sysusers.d in every build, and no account is given one by chance."""
    sysusers = [*ROOT.rglob("sysusers.d/*.conf"), REPOSITORY / "agent/units/sund.sysusers"]
    lines = [line for file in sysusers for line in re.findall(r"^([ug]) (\S+) (\S+)", file.read_text(), re.M)]
    wrong("accounts of sysusers.d without a number", {name for _, name, number in lines if not number.isdigit()})
    tables = {kind: dict(re.findall(r"^([^#:]+):[^:]*:(\d+):", (LAYER / "files" / f"sund-{file}").read_text(), re.M))
              for kind, file in (("u", "passwd"), ("g", "group"))}
    wrong("numbers of sysusers.d that the tables of the distribution have not",
          {f"{name} {number}" for kind, name, number in lines if tables[kind].get(name) != number})
    wrong("accounts whose group has another number", {name for name, number in tables["u"].items() if tables["g"].get(name) != number})
    for kind, table in tables.items():
        wrong("numbers that are given twice", {number for number in table.values() if list(table.values()).count(number) > 1})
    distro = (LAYER / "conf/distro/sund.conf").read_text()
    asked = ('USERADDEXTENSION = "useradd-staticids"', 'USERADD_ERROR_DYNAMIC = "error"')
    wrong("the distribution does not ask for", {line for line in asked if line not in distro})


def one_clock():
    """Of every file, and of the rescue: the day of the release. What openembedded-core has where nothing is said is a day of 2018, and one of 2011
    for what mkfs.erofs writes."""
    asked = ('REPRODUCIBLE_TIMESTAMP_ROOTFS = "${SUND_EPOCH}"', 'SUND_EPOCH[vardepvalue] = "${SUND_EPOCH}"')
    distro = (LAYER / "conf/distro/sund.conf").read_text().splitlines()
    rescue = (LAYER / "recipes-core/sund-base/sund-initrd_0.1.0.bb").read_text()
    if any(line not in distro for line in asked) or "date -u -d @${SUND_EPOCH}" not in rescue:
        sys.exit("root or rescue are not of the day of the release, SUND_EPOCH")
    written = (LAYER / "classes-recipe/sund_slot.bbclass").read_text()
    command = re.search(r'^IMAGE_CMD:sund-root = "(.*)"', written, re.M)[1].split()
    if (command[0], command[3:]) != ("${SUND_REPOSITORY}/image/mkfs-root", ["${SUND_EPOCH}"]):
        sys.exit("mkfs.erofs writes files that are not of the day of the release, SUND_EPOCH")
    # systemd sets a clock that is behind this file's time to it, and what is in it counts nothing.
    floor = ROOT / "usr/lib/clock-epoch"
    if not floor.is_file() or floor.stat().st_size:
        sys.exit("image/root has no empty usr/lib/clock-epoch, behind which a box's clock does not go back")
    base = (LAYER / "recipes-core/sund-base/sund-base_0.1.0.bb").read_text()
    if "cp -r --no-preserve=ownership ${S}/image/root/. ${D}" not in base:
        sys.exit("sund-base installs image/root in another way than this looks for")


def initramfs(packages):
    recipe = (LAYER / "recipes-core/sund-base/sund-initrd_0.1.0.bb").read_text()
    text = "".join(file.read_text() for file in (REPOSITORY / "image/initrd").iterdir() if file.suffix != ".txt")
    code = re.sub(r"^\s*#(?!!).*|\"[^\"$]*\"", "", text, flags=re.M)
    wrong("applets that busybox does not have", set(re.findall(r"busybox ([a-z]\w*)", code)) - brings(packages, "applets"))
    wrong("folders that the initramfs does not have",
          {place for place in ("/dev", "/proc", "/sys", "/root", "/run") if f"${{D}}{place}" not in recipe})
    # It looks in /bin, and this distribution has it elsewhere.
    wrong("programs that the initramfs has in another place", {"dmsetup"} if "${D}${bindir}/dmsetup" not in recipe else set())


def what_is_left_of_a_root():
    """What sund-image leaves of a root that has what it must not have: our programs and what they stand on, and no word but that of units
    on what is mounted."""
    steps = value(IMAGE, "ROOTFS_POSTPROCESS_COMMAND")
    body = "".join(re.search(rf"^{step}\(\) \{{\n(.*?)^\}}", IMAGE.read_text(), re.M | re.S)[1] for step in ("sund_programs", "sund_mounts"))
    wrong("steps that sund-image does not take", {"sund_programs", "sund_mounts"} - steps)
    keeps = {"bin": ["sund", "sund-updater", "dbus-broker", "mount", "mount.util-linux", "rauc", "systemctl", "systemd-cryptenroll", "nvidia-modprobe"],
             "sbin": ["nft", "chronyd", "mke2fs", "mke2fs.e2fsprogs", "mkfs.ext4", "mkfs.ext4.e2fsprogs", "kmod", "modprobe"]}
    takes = {"bin": ["sh", "bash", "busybox", "busybox.nosuid", "python3", "python3.14", "perl", "perl5.42", "su", "su.shadow", "sudo", "login", "login.shadow",
                     "opkg", "rpm", "dnf", "gcc", "dbus-send"],
             "sbin": ["sulogin", "agetty", "sshd", "dropbear", "udhcpc"]}
    with tempfile.TemporaryDirectory() as root:
        for directory in keeps:
            folder = pathlib.Path(root, "usr", directory)
            folder.mkdir(parents=True)
            for name in keeps[directory] + takes[directory]:
                (folder / name).touch(0o755)
        fstab = pathlib.Path(root, "etc/fstab")
        fstab.parent.mkdir()
        fstab.write_text("/dev/root / auto defaults 1 1\n")
        environment = {**os.environ, "IMAGE_ROOTFS": root, "sysconfdir": "/etc", "bindir": "/usr/bin", "sbindir": "/usr/sbin",
                       "SUND_REPOSITORY": str(REPOSITORY), "SUND_PROGRAMS": " ".join(value(IMAGE, "SUND_PROGRAMS"))}
        ended = subprocess.run(["sh", "-ec", "bbfatal() { echo \"$1\"; exit 1; }\n" + body], env=environment, stdout=subprocess.PIPE, text=True)
        if ended.returncode:
            sys.exit(f"sund-image ends the build: {ended.stdout}")
        wrong("what systemd would mount otherwise than its units say", {"/etc/fstab"} if fstab.exists() else set())
        left = {directory: {path.name for path in pathlib.Path(root, "usr", directory).iterdir()} for directory in keeps}
    for directory, names in keeps.items():
        wrong("programs that sund-image removes", set(names) - left[directory])
        wrong("programs that sund-image leaves", left[directory] - set(names))
