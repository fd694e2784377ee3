"""Reads the segmentation of the phantom back onto its source, four ways: python check.py FOLDER

By highdicom and by pydicom, each by the source instances that frames refer to and by where frames lie. No voxel may differ.
"""

import pathlib
import sys

import highdicom
import numpy
import pydicom

folder = pathlib.Path(sys.argv[1])
masks = numpy.load(folder / "masks.npy")
order = folder.joinpath("order.txt").read_text().split()
source = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, folder.joinpath("series").glob("*.dcm"))}
at = {uid: numpy.array(ds.ImagePositionPatient, float) for uid, ds in source.items()}
(path,) = folder.joinpath("out").glob("*-seg.dcm")


def same(found, n, how):
    differ = int((found.astype(bool) != masks[n]).sum())
    assert differ == 0, f"segment {n + 1}, {how}: {differ} of {masks[n].size} voxels differ"


seg = highdicom.seg.segread(path)
volume = highdicom.get_volume_from_series(list(source.values()))
# Slice k of that volume, by its position, is which one of ours?
centres = volume.map_indices_to_reference(numpy.array([[k, 0, 0] for k in range(len(order))]))
slices = [int(numpy.linalg.norm(centres - at[uid], axis=1).argmin()) for uid in order]
for n in range(len(masks)):
    found = seg.get_pixels_by_source_instance(
        source_sop_instance_uids=order, segment_numbers=[n + 1], assert_missing_frames_are_empty=True
    )
    same(found[..., 0], n, "highdicom, by source instance")
    onto = seg.get_volume(segment_numbers=[n + 1], combine_segments=True).match_geometry(volume)
    same(onto.array[slices], n, "highdicom, by geometry")

ds = pydicom.dcmread(path)
frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
by_reference, by_place = numpy.zeros_like(masks), numpy.zeros_like(masks)
shared = ds.SharedFunctionalGroupsSequence[0]
for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
    n = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1
    derivation = groups.DerivationImageSequence[0]
    by_reference[n, order.index(derivation.SourceImageSequence[0].ReferencedSOPInstanceUID)] = frame
    place = numpy.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
    nearest = min(order, key=lambda uid: numpy.linalg.norm(at[uid] - place))
    assert numpy.linalg.norm(at[nearest] - place) < 1e-4, "a frame lies where no source image does"
    by_place[n, order.index(nearest)] = frame
for n in range(len(masks)):
    same(by_reference[n], n, "pydicom, by source instance")
    same(by_place[n], n, "pydicom, by geometry")
orientation = numpy.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
assert numpy.abs(orientation - numpy.array(source[order[0]].ImageOrientationPatient, float)).max() < 1e-6
measures = shared.PixelMeasuresSequence[0]
assert numpy.allclose(measures.PixelSpacing, [1.3, 0.7]) and abs(measures.SpacingBetweenSlices - 2.5) < 1e-4, measures


def measured(item):
    for child in item.get("ContentSequence", []):
        if "MeasuredValueSequence" in child:
            yield float(child.MeasuredValueSequence[0].NumericValue)
        yield from measured(child)


# The report's volumes are of the same voxels.
(report,) = folder.joinpath("out").glob("*-sr.dcm")
found = list(measured(pydicom.dcmread(report)))
expected = [mask.sum() * 1.3 * 0.7 * 2.5 / 1000 for mask in masks]
assert numpy.allclose(found, expected, atol=1e-3), (found, expected)
print(f"{masks[0].size} voxels, {[int(mask.sum()) for mask in masks]} of them in the segments: 0 differ")
