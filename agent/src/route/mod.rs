//! Which model wants which series, and why not.
mod decide;
mod selection;

pub use decide::{Unfit, judge};

pub use selection::{Age, Attribute, Bound, Requirement, Selection};
