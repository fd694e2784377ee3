//! DICOM associations: C-ECHO and C-STORE as SCP and SCU (PS3.7, PS3.8).
