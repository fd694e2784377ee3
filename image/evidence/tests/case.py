"""Parts for tests, as an image has them."""
from evidence import crates, packages


def crate(name, version, licence="MIT"):
    return crates.crate_part(name, version, licence, ["sund"], "")


def package(name, version, source="", present=True, licences=("GPL-2.0-or-later",)):
    return packages.part({"Package": name, "Version": version, "Architecture": "amd64", **({"Source": source} if source else {})}, licences, present)
