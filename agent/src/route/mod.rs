//! Which model wants which series, and why not.
mod selection;

pub use selection::{Age, Attribute, Bound, Requirement, Selection};
