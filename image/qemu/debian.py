"""Debian trixie from this machine's own mirror: the chroot of the tools, the packages of the root, the kernel."""
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import store
from .store import SOURCE, STORE, Failed, run

SUITE = "trixie"
# Trixie's RAUC (1.13) does not know `require-manifest-hash`; this is the one of the production image.
NEWER = "forky"
FROM_NEWER = ("rauc", "rauc-service", "libnl-3-200", "libnl-genl-3-200")
UNUSED = ["man", "doc", "locale", "info", "lintian", "bug"]
# What licences are read from (evidence/).
KEPT = ["doc/*/copyright"]
# Accounts that packages make have this day, and not that of the build: 2025-01-01.
EPOCH = "1735689600"


def mirror():
    """The mirror that apt of this machine takes Debian from."""
    for file in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        for address in re.findall(r"https?://\S+/debian/?(?=\s|$)", file.read_text() if file.is_file() else ""):
            if "snapshot" not in address:
                return address
    raise Failed("apt of this machine has no Debian mirror: see /etc/apt/sources.list.d")


def names(file):
    return [line for line in (SOURCE / file).read_text().split("\n") if line and not line.startswith("#")]


def bootstrap(folder, variant, packages):
    paths = [*(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNUSED), *(f"--dpkgopt=path-include=/usr/share/{name}" for name in KEPT)]
    pins = (f"Package: *\\nPin: release n={NEWER}\\nPin-Priority: 1\\n\\n"
            f"Package: {' '.join(FROM_NEWER)}\\nPin: release n={NEWER}\\nPin-Priority: 990\\n")
    # Testing's list is valid for a week, and a mirror that stands still is older: its signature is what counts here.
    sources = (f"deb {mirror()} {SUITE} main", f"deb [check-valid-until=no] {mirror()} {NEWER} main")
    run("mmdebstrap", f"--setup-hook=printf '{pins}' >\"$1/etc/apt/preferences.d/newer\"", "--mode=root", f"--variant={variant}",
        *paths, "--aptopt=Apt::Install-Recommends \"false\"", f"--include={','.join(packages)}", SUITE, folder, *sources,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})


def all():
    """All that is Debian's. Its parts wait for the mirror and for the disk, each for itself."""
    with ThreadPoolExecutor() as pool:
        for making in [pool.submit(make) for make in (base, kernel)]:
            making.result()


def tools():
    """A chroot with the tools that make the image."""
    return store.made("tools", [SOURCE / "tools.txt", SUITE, NEWER, *KEPT], lambda to: bootstrap(to, "apt", names("tools.txt")))


def base():
    """The packages of the root, unpacked and configured."""
    return store.made("base", [SOURCE / "packages.txt", SUITE, NEWER, *KEPT, EPOCH], lambda to: bootstrap(to, "minbase", names("packages.txt")))


def kernel():
    """Debian's kernel for virtual machines, unpacked: `boot/vmlinuz-*`, `usr/lib/modules/*`; `control` tells its version."""
    def make(folder):
        inside("apt-get", "update", "-q")
        depends = inside("apt-cache", "depends", "linux-image-cloud-amd64")
        package = re.search(r"Depends: (linux-image-\S+)", depends)[1]
        inside("sh", "-c", f"cd /work/kernel && apt-get download -q {package} && dpkg-deb -x linux-image*.deb . && "
               "dpkg-deb -f linux-image*.deb >control && rm *.deb")
        usr = folder / "usr/lib/modules"
        if not usr.is_dir():
            usr.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / "lib/modules", usr)
        run("find", usr, "-name", "*.xz", "-exec", "xz", "-d", "{}", "+")
        inside("depmod", "-b", "/work/kernel/usr", release(folder))
    return store.made("kernel", [SUITE, "linux-image-cloud-amd64", "control"], make)


def release(kernel_folder):
    return next((kernel_folder / "usr/lib/modules").iterdir()).name


def libraries(program):
    """The libraries that a program of the tools is linked with, as paths."""
    told = inside("ldd", program)
    return [path for path in (next((word for word in line.split() if word.startswith("/")), None) for line in told.splitlines()) if path]


def inside(*command, **options):
    """Runs a command in the chroot of the tools, which has the store at /work and image/ at /image."""
    root = tools()
    for name in ("work", "image"):
        (root / name).mkdir(exist_ok=True)
    script = ('mount --bind "$1" "$3/work"; mount --bind -o ro "$2" "$3/image"; mount -t proc proc "$3/proc"; '
              'mount --rbind /dev "$3/dev"; root=$3; shift 3; exec chroot "$root" "$@"')
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC", **options.pop("env", {})}
    return run("unshare", "--mount", "sh", "-ec", script, "sh", STORE, SOURCE, root, *command, env=environment, told=command, **options)
