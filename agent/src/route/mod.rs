//! Which model wants which series, and why not.
mod decide;
mod plan;
mod selection;

pub use decide::{Unfit, judge};
pub use plan::{Candidate, Decision, Mode, Plan, Route, SeriesView, plan};

pub use selection::{Age, Attribute, Bound, Requirement, Selection};
