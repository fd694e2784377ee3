"""Reads a SEG with highdicom and compares it with the mask on the grid of the source."""
import pathlib
import sys

import highdicom
import numpy
import pydicom

folder, source = map(pathlib.Path, sys.argv[1:])
images = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, source.glob("*.dcm"))}
order = folder.joinpath("order.txt").read_text().split()
shape = (len(order), images[order[0]].Rows, images[order[0]].Columns)
mask = numpy.frombuffer(folder.joinpath("mask.bin").read_bytes(), "u1").reshape(shape)

seg = highdicom.seg.segread(folder / "seg.dcm")
assert seg.PatientName == images[order[0]].PatientName == "Ærø^Søren Demo", seg.PatientName
pixels = seg.get_pixels_by_source_instance(
    source_sop_instance_uids=order, segment_numbers=[1], assert_missing_frames_are_empty=True
)[..., 0]
assert (pixels == mask).all(), "a voxel has moved against its source image"

# And by geometry alone: each frame lies at the position of the source image with the same content.
for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence):
    position = numpy.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
    nearest = min(order, key=lambda u: numpy.linalg.norm(position - numpy.array(images[u].ImagePositionPatient, float)))
    distance = numpy.linalg.norm(position - numpy.array(images[nearest].ImagePositionPatient, float))
    assert distance < 1e-6, distance
    assert (frame == mask[order.index(nearest)]).all(), "a slice lies elsewhere than its source"
shared = seg.SharedFunctionalGroupsSequence[0]
orientation = numpy.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
assert numpy.abs(orientation - numpy.array(images[order[0]].ImageOrientationPatient, float)).max() < 1e-5
assert numpy.allclose(shared.PixelMeasuresSequence[0].PixelSpacing, images[order[0]].PixelSpacing)
