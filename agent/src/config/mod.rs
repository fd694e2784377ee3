//! Configuration: as typed, then as checked.
