//! Which model wants which series.
