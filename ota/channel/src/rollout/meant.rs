//! Whether a rollout takes boxes that its state is not for: such a box would refuse it, and its own people wait for theirs.
use crate::limits::rollout::MAX_NAMED;
use sund_ota::fault::{Blame, Fault};
use sund_ota::state::is_among;

/// Refuses to take a box that the state is not for. `boxes` are those that it is for; `such_as` is a condition that would leave others out.
pub fn check<'a>(
    rollout: &str,
    boxes: &[String],
    taken: impl Iterator<Item = &'a str>,
    such_as: &str,
) -> Result<(), Fault> {
    let others: Vec<&str> = taken.filter(|name| !is_among(boxes, name)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let more = others.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let reason = format!(
        "The groups of `{rollout}` take boxes that the state is not for: {}{more}. It is for {}: leave the others out, such as by {such_as} \
         or an attribute.",
        others[..others.len().min(MAX_NAMED)].join(", "),
        boxes.join(", ")
    );
    Err(Fault::new("rollout-not-for-box", Blame::Configuration, reason))
}
