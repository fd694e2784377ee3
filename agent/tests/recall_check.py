"""Reads a rejection note with pydicom and compares it with the results that it rejects: one study, all of them, nothing else."""
import sys

import pydicom

note, *results = map(pydicom.dcmread, sys.argv[1:])

assert note.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59" and note.Modality == "KO", note.SOPClassUID
assert note.file_meta.MediaStorageSOPInstanceUID == note.SOPInstanceUID
assert note.file_meta.MediaStorageSOPClassUID == note.SOPClassUID
title = note.ConceptNameCodeSequence[0]
assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM"), title
assert title.CodeMeaning == "Rejected for Patient Safety Reasons", title
template = note.ContentTemplateSequence[0]
assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "2010"), template
assert note.ValueType == "CONTAINER" and note.ContinuityOfContent == "SEPARATE"

# Patient and study are those of what it rejects; its series is its own.
for result in results:
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate"):
        assert note.get(keyword) == result.get(keyword), keyword
    assert note.SeriesInstanceUID != result.SeriesInstanceUID
    assert note.SOPInstanceUID != result.SOPInstanceUID
for uid in (note.SOPInstanceUID, note.SeriesInstanceUID):
    assert uid.startswith("2.25.") and len(uid) <= 64, uid

# The evidence names each of them once, in its series; the content names the same.
evidence = note.CurrentRequestedProcedureEvidenceSequence
assert [study.StudyInstanceUID for study in evidence] == [note.StudyInstanceUID]
named = [
    (series.SeriesInstanceUID, one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
    for series in evidence[0].ReferencedSeriesSequence
    for one in series.ReferencedSOPSequence
]
held = [(result.SeriesInstanceUID, result.SOPClassUID, result.SOPInstanceUID) for result in results]
assert sorted(named) == sorted(held), (named, held)
content = [item for item in note.ContentSequence if item.ValueType in ("IMAGE", "COMPOSITE")]
assert all(item.RelationshipType == "CONTAINS" and "ConceptNameCodeSequence" not in item for item in content)
selected = [(item.ValueType, item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in content]
kinds = {result.SOPInstanceUID: "COMPOSITE" if result.Modality == "SR" else "IMAGE" for result in results}
assert sorted((kind, uid) for uid, kind in kinds.items()) == sorted(selected), selected
texts = [item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"]
assert len(texts) == 1 and "recalled" in texts[0], texts
