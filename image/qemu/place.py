"""A root in namespaces of its own, in which its own programs run without a machine."""
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .store import Failed, run

# What a box has that was made when it started. `cat` ends with this program, and all that runs in the place with it.
PLACE = ('for folder in run var etc/sund; do mount -t tmpfs -o mode=0755 tmpfs "$1/$folder"; done; mount -t proc proc "$1/proc"; '
         'mount -t sysfs -o ro sysfs "$1/sys"; mount --rbind /dev "$1/dev"; ip link set lo up; echo ready; exec cat')


class Place:
    """A root in which nothing runs yet: with a network of its own, and without the data partition."""

    def __init__(self, tree):
        self.tree = tree
        self.users = dict(re.findall(r"^([^:]+):[^:]*:(\d+:\d+):", (tree / "etc/passwd").read_text(), re.M))

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.holder = subprocess.Popen(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec", PLACE, "sh", self.tree],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.holder.stdout.readline() != b"ready\n":
            raise Failed("the root cannot be laid out in namespaces of its own")
        self.first = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().strip()
        self.enter = ["nsenter", "--target", self.first, "--mount", "--net", "--pid"]
        return self

    def __exit__(self, *_):
        self.holder.communicate()
        self.scratch.cleanup()

    def within(self, user, command):
        return [*self.enter, "chroot", f"--userspec={self.users[user]}", self.tree, *command]

    def run(self, *command, user="root"):
        ended = subprocess.run(self.within(user, command), capture_output=True, text=True)
        return ended.returncode, ended.stdout + ended.stderr

    def must(self, *command):
        code, said = self.run(*command)
        if code:
            raise Failed(f"{' '.join(command)}: {said}")
        return said

    def start(self, name, *command, user="root"):
        """Runs until the place is left; what it says is in a file."""
        log = Path(self.scratch.name) / name
        with log.open("wb") as file:
            subprocess.Popen(self.within(user, command), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        return log

    def beside(self, user, program, *arguments):
        """Runs a Python program of this machine in the place's network until the place is left; its first argument is the user's number."""
        subprocess.Popen([*self.enter, sys.executable, "-c", program, self.users[user].split(":")[0], *arguments], stdin=subprocess.DEVNULL)

    def put(self, name, content, mode="0644", owner="root"):
        """A file of the place, with the directories above it."""
        run(*self.enter, "sh", "-ec", 'mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"; chown "$3" "$1"', "sh", self.tree / name, mode,
            self.users[owner], input=content)

    def directory(self, name, mode, owner):
        run(*self.enter, "sh", "-ec", 'mkdir -p "$1"; chmod "$2" "$1"; chown "$3" "$1"', "sh", self.tree / name, mode, self.users[owner])


def until(what, look, patience=60):
    end = time.monotonic() + patience
    while not look():
        if time.monotonic() > end:
            raise Failed(f"not within {patience} s: {what}")
        time.sleep(0.05)
