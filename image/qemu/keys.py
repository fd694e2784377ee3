"""The keys of the twin, made at its first build. Those of production lie in tokens, and never where an image is built."""
from pathlib import Path

from . import store
from .store import run

# What each signs: the Secure Boot chain, releases (which is not the channel's key), the TPM's policy for the kernel, the region's sticks.
PLATFORM = ("PK", "KEK", "db")


def folder():
    return store.made("keys", [Path(__file__)], make)


def make(to):
    to.chmod(0o700)
    for name in PLATFORM:
        certificate(to, name, f"Sund twin {name}")
    for name, whose in (("release", "Sund twin"), ("stranger", "Somebody else's")):
        certificate(to, f"{name}-ca", f"{whose} releases")
        certificate(to, name, f"{whose} release signer", "basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature",
                    "extendedKeyUsage=critical,codeSigning", by=f"{name}-ca")
    pair(to, "pcr", "RSA", "rsa_keygen_bits:2048")
    pair(to, "provisioning", "ED25519")
    (to / "owner").write_text("7375d000-6e64-4d2e-8c1a-000000000001\n")


def pair(to, name, algorithm, *options):
    """A key and its public half."""
    more = [word for option in options for word in ("-pkeyopt", option)]
    run("openssl", "genpkey", "-algorithm", algorithm, *more, "-out", to / f"{name}.pem")
    (to / f"{name}.pem").chmod(0o600)
    run("openssl", "pkey", "-in", to / f"{name}.pem", "-pubout", "-out", to / f"{name}.pub")


def certificate(to, name, subject, *extensions, by=None):
    more = [word for extension in extensions for word in ("-addext", extension)]
    signer = ["-CA", to / f"{by}.pem", "-CAkey", to / f"{by}.key"] if by else []
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", f"/CN={subject}/", *signer, *more,
        "-keyout", to / f"{name}.key", "-out", to / f"{name}.pem")
