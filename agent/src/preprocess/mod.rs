//! From decoded images to tensors.
