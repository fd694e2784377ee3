"""The keys of the twin, made at its first build. Those of production lie in tokens, and never where an image is built."""
from . import store
from .store import STORE, run

# What each signs: the Secure Boot chain, releases (which is not the channel's key), and the TPM's policy for the kernel.
PLATFORM = ("PK", "KEK", "db")


def folder():
    to = STORE / "keys"
    if not (to / "complete").exists():
        to.mkdir(parents=True, exist_ok=True)
        to.chmod(0o700)
        for name in PLATFORM:
            certificate(to, name, f"Sund twin {name}")
        for name, whose in (("release", "Sund twin"), ("stranger", "Somebody else's")):
            certificate(to, f"{name}-ca", f"{whose} releases")
            certificate(to, name, f"{whose} release signer", "basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature",
                        "extendedKeyUsage=critical,codeSigning", by=f"{name}-ca")
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", to / "pcr.pem")
        run("openssl", "pkey", "-in", to / "pcr.pem", "-pubout", "-out", to / "pcr.pub")
        (to / "owner").write_text("7375d000-6e64-4d2e-8c1a-000000000001\n")
        (to / "complete").touch()
    return to


def certificate(to, name, subject, *extensions, by=None):
    more = [word for extension in extensions for word in ("-addext", extension)]
    signer = ["-CA", to / f"{by}.pem", "-CAkey", to / f"{by}.key"] if by else []
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", f"/CN={subject}/", *signer, *more,
        "-keyout", to / f"{name}.key", "-out", to / f"{name}.pem")
