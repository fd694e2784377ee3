"""What pydicom reads of its own test files and of files made here: the oracle of tests/decode.rs.

usage: oracle.py files|made OUT    writes OUT/index.json, and the pixels of each file in OUT/<n>.pixels
"""
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

warnings.simplefilter("ignore")
TEXT = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"}
NUMBERS = {"DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"}


def texts(element):
    if element.value is None or element.value == "":
        return []
    values = element.value if isinstance(element.value, (MultiValue, list)) else [element.value]
    # DS and IS as they were written; names decoded.
    written = (getattr(v, "original_string", v) if element.VR in NUMBERS else v for v in values)
    return [str(v).strip(" \0") for v in written]


def number(value):
    try:
        return float(value)
    except (TypeError, ValueError):  # empty, or no number though the VR asks for one
        return None


def header(ds):
    """Texts and numbers of the top level, by tag."""
    found = {"texts": {}, "numbers": {}}
    for element in ds:
        if element.tag.is_private:
            continue
        key = f"{int(element.tag):08x}"
        if element.VR in TEXT:
            found["texts"][key] = texts(element)
        if element.VR in NUMBERS and element.value not in (None, ""):
            values = element.value if isinstance(element.value, (MultiValue, list)) else [element.value]
            found["numbers"][key] = [n for n in map(number, values) if n is not None]
    return found


def pixels(ds):
    """All frames: RGB as 8 bits, grey as float64 in the sense of MONOCHROME2."""
    if "PixelData" not in ds:
        return None
    grey = ds.PhotometricInterpretation.startswith("MONOCHROME")
    array = pixel_array(ds)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        array = apply_color_lut(array, ds)
    if grey:
        array = array.astype("<f8")
        if ds.PhotometricInterpretation == "MONOCHROME1":
            array = (-1 if ds.PixelRepresentation else 2**ds.BitsStored - 1) - array
        return array
    if array.dtype.itemsize == 2:
        array = array >> 8
    return array.astype("u1")


class Index:
    def __init__(self, out):
        self.out = Path(out)
        self.entries = []

    def add(self, name, path):
        ds = pydicom.dcmread(path)
        entry = {"name": name, "path": str(path), "header": header(ds), "shape": None, "unread": None}
        try:
            array = pixels(ds)
            if array is not None:
                entry["shape"] = list(array.shape)
                entry["pixels"] = str(self.out / f"{len(self.entries)}.pixels")
                array.tofile(entry["pixels"])
        except Exception as error:  # what pydicom cannot decode either
            entry["unread"] = str(error)
        self.entries.append(entry)

    def close(self):
        (self.out / "index.json").write_text(json.dumps(self.entries))


# Not free for every use, or with a person's name.
LEFT_ALONE = {"693_J2KI.dcm", "693_J2KR.dcm", "693_UNCI.dcm", "693_UNCR.dcm", "cat.dcm"}


def files(out):
    index = Index(out)
    data = Path(pydicom.__file__).parent / "data"
    paths = sorted(data.glob("test_files/*.dcm")) + sorted(data.glob("charset_files/*.dcm"))
    for path in paths:
        if path.name in LEFT_ALONE:
            continue
        try:
            if "TransferSyntaxUID" not in pydicom.dcmread(path).file_meta:
                continue
        except Exception:  # no DICOM file
            continue
        index.add(path.name, path)
    index.close()


def made(out):
    """One image in each encoding, and the ways to lay compressed frames into fragments."""
    index = Index(out)

    def save(name, ds, **options):
        path = Path(out) / f"{name}.dcm"
        pydicom.dcmwrite(path, ds, **options)
        index.add(name, path)

    def plain(name="MR_small.dcm"):
        return pydicom.dcmread(get_testdata_file(name, download=False))

    save("explicit", plain())
    ds = plain()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    save("implicit", ds, implicit_vr=True, little_endian=True)
    ds = plain()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save("deflated", ds)
    ds = plain()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    save("big_endian", ds, implicit_vr=False, little_endian=False, force_encoding=True)
    ds = plain()
    ds.compress(RLELossless, generate_instance_uid=False)
    save("rle", ds)
    ds = plain()
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    save("jpeg2000", ds)

    # Twelve bits, unsigned, three frames, and the layouts of encapsulated frames.
    rng = np.random.default_rng(7)
    stack = np.cumsum(rng.integers(0, 9, (3, 48, 40)), axis=2).astype("<u2")

    def frames(photometric="MONOCHROME2"):
        ds = plain()
        ds.NumberOfFrames = 3
        ds.Rows, ds.Columns = stack.shape[1:]
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
        ds.PhotometricInterpretation = photometric
        for tag in ("SmallestImagePixelValue", "LargestImagePixelValue"):
            if tag in ds:
                del ds[tag]
        ds.PixelData = stack.tobytes()
        return ds

    save("frames", frames())
    save("frames_monochrome1", frames("MONOCHROME1"))
    compressed = frames()
    compressed.compress(JPEG2000Lossless, generate_instance_uid=False)
    one_each = list(pydicom.encaps.generate_frames(compressed.PixelData, number_of_frames=3))
    for name, data in {
        "basic_table": encapsulate(one_each, has_bot=True),
        "no_table": encapsulate(one_each, has_bot=False),
        "many_fragments": encapsulate(one_each, fragments_per_frame=3, has_bot=True),
        "many_fragments_no_table": encapsulate(one_each, fragments_per_frame=3, has_bot=False),
    }.items():
        ds = frames()
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        ds.PixelData = data
        ds["PixelData"].is_undefined_length = True
        save(f"frames_{name}", ds)
    ds = frames()
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(one_each)
    ds["PixelData"].is_undefined_length = True
    save("frames_extended_table", ds)
    ds = frames()
    ds.compress(RLELossless, generate_instance_uid=False)
    save("frames_rle", ds)
    index.close()


if __name__ == "__main__":
    {"files": files, "made": made}[sys.argv[1]](sys.argv[2])
