"""What was built is kept under target/image, under the digest of all that it was made of; what is newer takes its place."""
import collections
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "image"
# `reproduce` builds in other places.
STORE = Path(os.environ.get("SUND_TWIN_STORE", REPOSITORY / "target" / "image"))


# One thread at a time makes what has a name.
at_work = collections.defaultdict(threading.Lock)


class Failed(Exception):
    """Ends the command with a sentence that says what to do."""


def alone():
    """Waits until no other command builds here; holds until this one ends."""
    STORE.mkdir(parents=True, exist_ok=True)
    lock = os.open(STORE / "lock", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)


def digest(*inputs):
    """The digest of strings, files and folders (names, modes, contents)."""
    total = hashlib.sha256()
    for item in inputs:
        if isinstance(item, Path):
            for path in [item, *sorted(item.rglob("*"))] if item.is_dir() else [item]:
                if "__pycache__" in path.parts:
                    continue
                total.update(f"{path.relative_to(item.parent)}:{path.lstat().st_mode:o}\0".encode())
                if path.is_symlink():
                    total.update(os.readlink(path).encode())
                elif path.is_file():
                    with path.open("rb") as file:
                        total.update(hashlib.file_digest(file, "sha256").digest())
        else:
            total.update(str(item).encode())
        total.update(b"\0")
    return total.hexdigest()


def made(name, inputs, make):
    """The folder that `make(folder)` fills, made only where its inputs have changed since."""
    with at_work[name]:
        return remade(name, inputs, make)


def remade(name, inputs, make):
    folder = STORE / name
    stamp = STORE / f"{name}.of"
    of = digest(*inputs)
    if folder.is_dir() and stamp.is_file() and stamp.read_text() == of:
        return folder
    begun = time.monotonic()
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    stamp.write_text(of)
    print(f"built {name} in {time.monotonic() - begun:.0f} s", flush=True)
    return folder


def run(*command, told=None, **options):
    """Runs a command; the end of its output is shown where it fails."""
    command = [str(word) for word in command]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if ended.returncode:
        sys.stderr.write(ended.stdout[-4000:])
        raise Failed(f"{' '.join(told or command)} ended with {ended.returncode}")
    return ended.stdout
