//! DICOM results: SEG, TID 1500 SR, secondary capture, outcome SR.
