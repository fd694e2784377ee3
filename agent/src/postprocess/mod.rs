//! From tensors to findings on the source grid.
