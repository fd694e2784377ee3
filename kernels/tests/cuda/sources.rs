//! What can be said of the sources without running them.
use super::host::{Host, Sanitizer};
use sund_kernels::cuda::sources;
