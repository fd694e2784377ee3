"""Makes the phantom: python make.py FOLDER writes FOLDER/series/*.dcm, and what is bright in it to FOLDER/masks.npy.

The masks are [segments, slices, rows, columns]: what is bright, and the very bright part of it. Slices are in the order of FOLDER/order.txt, the SOP Instance UIDs from the first position to the
last along row direction x column direction.
"""
import pathlib
import sys

import numpy
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

folder = pathlib.Path(sys.argv[1])
series = folder / "series"
series.mkdir()
random = numpy.random.default_rng(20261123)
SLICES, ROWS, COLUMNS = 17, 24, 40
BETWEEN_ROWS, BETWEEN_COLUMNS, BETWEEN_SLICES = 1.3, 0.7, 2.5

# Three turns, no two of them alike: no axis of the volume is near one of the patient's planes.
def turn(axis, degrees):
    c, s = numpy.cos(numpy.radians(degrees)), numpy.sin(numpy.radians(degrees))
    i, j = [n for n in range(3) if n != axis]
    matrix = numpy.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix

along = turn(0, 23) @ turn(1, -17) @ turn(2, 11)
row, column = along[:, 0], along[:, 1]
normal = numpy.cross(row, column)
first = numpy.array([-31.7, 12.9, 401.3])

# Something solid that is like itself under no turn or mirror, and single voxels all over, at the edges too.
bright = random.random((SLICES, ROWS, COLUMNS)) < 0.03
bright[2:9, 3:8, 5:30] = True
bright[9:15, 3:20, 5:9] = True
bright[4, 15:22, 31:38] = True
# The very bright part lies off the centre.
very = numpy.zeros_like(bright)
very[3:11, 5:17, 6:23] = random.random((8, 12, 17)) < 0.4
bright |= very
values = numpy.where(very, 600, numpy.where(bright, 300, random.integers(-200, 100, bright.shape)))

study, of_series, reference = generate_uid(), generate_uid(), generate_uid()
numbers = random.permutation(SLICES) + 1
uids = [generate_uid() for _ in range(SLICES)]
for k in range(SLICES):
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, uids[k]
    ds.StudyDate = ds.ContentDate = "20261123"
    ds.StudyTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "", "CT", "Phantom"
    ds.ReferringPhysicianName, ds.PatientName, ds.PatientID = "", "Phantom", "PHANTOM-1"
    ds.PatientBirthDate, ds.PatientSex = "", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, of_series, reference
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, int(numbers[k])
    ds.PositionReferenceIndicator = ""
    ds.ImagePositionPatient = [f"{v:.6f}" for v in first + k * BETWEEN_SLICES * normal]
    ds.ImageOrientationPatient = [f"{v:.10f}" for v in (*row, *column)]
    ds.PixelSpacing = [BETWEEN_ROWS, BETWEEN_COLUMNS]
    ds.SliceThickness = BETWEEN_SLICES
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    ds.PixelData = (values[k] + 1024).astype("<u2").tobytes()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # File names run against the positions: who takes files in their order has the volume the wrong way round.
    ds.save_as(series / f"{SLICES - k:03}.dcm", enforce_file_format=True)

numpy.save(folder / "masks.npy", [bright, very])
folder.joinpath("order.txt").write_text("\n".join(uids))
