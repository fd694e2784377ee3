"""Who approves in the twin's region. Their keys are made before any image, since each initrd names who may rescue a box."""
import json
import subprocess

from . import appliance, keys
from .store import Failed

APPROVERS = ("Dora Munk", "Emil Nord", "Freja Ovesen")


def channel():
    """The program, of any build: it runs on this machine."""
    return appliance.built("sund-channel", "release", "debug")


def command(*words):
    ended = subprocess.run([str(channel()), "--json", *map(str, words)], capture_output=True, text=True)
    if ended.returncode:
        raise Failed(f"sund-channel {' '.join(map(str, words[:2]))}: {ended.stdout}{ended.stderr}")
    return json.loads(ended.stdout)


def approver(person):
    """The file of a person's key; beside it the public one."""
    file = keys.folder() / f"{person.replace(' ', '-')}.key"
    if not file.is_file():
        command("key", "new", file, "--person", person)
    return file


def rescuers():
    """Those of them who may rescue a box, as `rescue.toml` names them."""
    shown = ((person, command("key", "show", f"{approver(person)}.pub")["pem"]) for person in APPROVERS)
    return "".join(f'[[person]]\nname = "{person}"\nkey = """\n{pem}"""\n' for person, pem in shown)
