"""What the firmware starts: kernel, initrd and command line in one signed file, on the file system of an ESP."""
import shutil
from datetime import datetime, timezone
from pathlib import Path

from . import appliance, debian, keys, persons, root, store
from .debian import inside
from .store import SOURCE, STORE, run

COMMAND_LINE = ("ro console=ttyS0 loglevel=4 panic=5 oops=panic lockdown=integrity lsm=landlock,lockdown,yama,apparmor,bpf "
                "init_on_alloc=1 slab_nomerge module.sig_enforce=1 systemd.gpt_auto=0 systemd.machine_id=firmware "
                "systemd.import_credentials=no fsck.repair=yes")
ESP = 48 << 20


def initrd():
    """`initrd.cpio.zst`: busybox, dmsetup, the rescue and a few kernel modules. `release.cpio`: what each release says otherwise, apart
    and not compressed, so that the other's blocks stay those that a box has."""
    rescuers = persons.rescuers()
    def make(folder):
        tree = folder / "tree"
        for name in ("bin", "dev", "etc/sund", "proc", "sys", "root", "lib64", "run"):
            (tree / name).mkdir(parents=True)
        tools = STORE / "tools"
        shutil.copy(tools / "usr/bin/busybox", tree / "bin/busybox")
        shutil.copy(appliance.programs() / appliance.RESCUE, tree / "bin")
        for name, at, mode in (("init", "init", 0o755), ("rescue", "rescue", 0o644), ("lease", "bin/lease", 0o755)):
            shutil.copy(SOURCE / "initrd" / name, tree / at)
            (tree / at).chmod(mode)
        shutil.copy(tools / "usr/sbin/dmsetup", tree / "bin/dmsetup")
        for library in debian.libraries("/usr/sbin/dmsetup"):
            target = tree / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tools / library.lstrip("/"), target)
        modules(tree)
        built = datetime.fromtimestamp(appliance.epoch(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        release = folder / "release/etc/sund"
        release.mkdir(parents=True)
        (release / "rescue.toml").write_text(f'{(SOURCE / "initrd/rescue.toml").read_text()}built = "{built}"\n{rescuers}')
        archive(tree, "| zstd -q -19 -o ../initrd.cpio.zst")
        archive(folder / "release", "> ../release.cpio")
    of = [SOURCE / "initrd", (STORE / "tools.of").read_text(), (STORE / "kernel.of").read_text(), Path(__file__), appliance.epoch(),
          appliance.programs() / appliance.RESCUE, rescuers]
    return store.made("initrd", of, make)


def archive(tree, into):
    """An archive of a tree, the same for the same files; the tree goes."""
    run("find", tree, "-exec", "touch", "-h", "-d", "@0", "{}", "+")
    at = tree.relative_to(STORE)
    inside("sh", "-ec", f"cd /work/{at} && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible {into}")
    shutil.rmtree(tree)


def modules(tree):
    """The kernel modules, and in which order they are loaded: at each start, and by a rescue."""
    kernel = debian.kernel()
    release = debian.release(kernel)
    to = tree / "lib/modules" / release
    to.mkdir(parents=True)
    taken = []
    for name in ("modules", "rescue-modules"):
        told = inside("modprobe", "-d", "/work/kernel/usr", "-S", release, "--show-depends", "-a", *debian.names(f"initrd/{name}.txt"))
        order = []
        for line in told.splitlines():
            if line.startswith("insmod"):
                source = Path(line.split()[1].replace("/work", str(STORE)))
                if source.name not in taken:
                    shutil.copy(source, to / source.name)
                    taken.append(source.name)
                    order.append(source.name)
        (tree / name).write_text("".join(f"/lib/modules/{release}/{module}\n" for module in order))


def esp(version, verity=None):
    """`esp.img`: the file system of an ESP with the signed file for this version's root."""
    root_image = root.image(version)
    verity = verity or (root_image / "verity").read_text()
    inputs = [initrd(), verity, COMMAND_LINE, (STORE / "kernel.of").read_text(), keys.folder() / "db.pem", keys.folder() / "pcr.pem", Path(__file__)]
    def make(folder):
        kernel = debian.kernel()
        release = debian.release(kernel)
        inside("ukify", "build", f"--linux=/work/kernel/boot/vmlinuz-{release}", "--initrd=/work/initrd/initrd.cpio.zst",
               "--initrd=/work/initrd/release.cpio",
               f"--cmdline={COMMAND_LINE} sund.verity={verity}", f"--uname={release}",
               f"--os-release=ID=sund\nVERSION_ID={version}\nPRETTY_NAME=\"Sund {version}\"\n",
               "--secureboot-private-key=/work/keys/db.key", "--secureboot-certificate=/work/keys/db.pem",
               "--pcr-private-key=/work/keys/pcr.pem", "--pcr-public-key=/work/keys/pcr.pub", "--phases=enter-initrd",
               f"--output=/work/{folder.name}/sund.efi", env={"SOURCE_DATE_EPOCH": str(appliance.epoch())})
        at = f"/work/{folder.name}"
        # Not SUND: that is the label of the region's stick.
        inside("sh", "-ec", f"""
            truncate -s {ESP} {at}/esp.img
            mkfs.vfat --invariant -F 32 -n SUND-ESP -i 53756e64 {at}/esp.img
            touch -d @{appliance.epoch()} {at}/sund.efi
            export SOURCE_DATE_EPOCH={appliance.epoch()}
            mmd -i {at}/esp.img ::EFI ::EFI/sund
            mcopy -m -i {at}/esp.img {at}/sund.efi ::EFI/sund/sund.efi""")
    return store.made(f"esp-{version}", inputs, make)
