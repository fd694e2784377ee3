"""A bundle that no box would take ends the production build: the step of its recipe, run by the RAUC and the configuration of a box."""
import os
import re
import tempfile
from pathlib import Path

from . import keys
from .debian import inside
from .store import REPOSITORY, SOURCE, STORE, Failed

RECIPE = REPOSITORY / "yocto/meta-sund/recipes-core/bundles/sund-bundle.inc"
# The purposes of a signer's certificate.
SIGNS = ("basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature")
FOR_CODE = "extendedKeyUsage=critical,codeSigning"


def check(_):
    """A release key of the CA that boxes believe, for code signing, and none that lacks either."""
    step = re.search(r"^sund_boxes_take\(\) \{\n(.*?)^\}", RECIPE.read_text(), re.M | re.S)[1]
    with tempfile.TemporaryDirectory(dir=STORE) as folder:
        folder = Path(folder)
        for name in ("release", "other"):
            keys.certificate(folder, f"{name}-ca", name)
        keys.certificate(folder, "good", "for code signing", *SIGNS, FOR_CODE, by="release-ca")
        keys.certificate(folder, "any", "for any purpose", *SIGNS, by="release-ca")
        keys.certificate(folder, "stranger", "of another CA", *SIGNS, FOR_CODE, by="other-ca")
        for signer, word in (("good", "taken"), ("any", "unsuitable certificate purpose"), ("stranger", "unable to get local issuer certificate")):
            told = judged(step, folder, signer)
            if word not in told or (signer != "good") != ("no box would take this bundle" in told):
                raise Failed(f"the build says of a bundle by {signer}, whose word is to be {word}: {told}")


def judged(step, folder, signer):
    """What the build says of a bundle of this signer."""
    content = folder / signer
    content.mkdir()
    (content / "manifest.raucm").write_text((SOURCE / "rauc/manifest.raucm").read_text().replace("@VERSION@", "1.0.0"))
    for name in ("esp.img", "root.img"):
        (content / name).write_bytes(os.urandom(1 << 16))
    at = f"/work/{folder.name}"
    bundle = f"{at}/{signer}.raucb"
    inside("rauc", "bundle", f"--cert={at}/{signer}.pem", f"--key={at}/{signer}.key", f"{at}/{signer}", bundle)
    script = f'bbfatal() {{ echo "$1"; exit 1; }}\n( set -e\n{step}) 2>&1 && echo taken || true'
    return inside("sh", "-c", script, "sh", bundle, env={"SUND_REPOSITORY": "", "SUND_BUNDLE_KEYS": at})
