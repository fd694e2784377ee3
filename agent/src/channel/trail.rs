//! The updater's part of the audit trail, which it keeps until it is here.
use super::protocol::UpdaterEvent;
use crate::audit;
use crate::fault::{Blame, Fault};
use crate::limits::channel::{MAX_EVENTS, MAX_NAME};
use crate::pipeline::Pipeline;

/// Takes events into the audit log, each once, with the time at which they happened. The number up to which they are there.
pub(super) fn take(pipeline: &Pipeline, trail: &str, events: Vec<UpdaterEvent>) -> Result<u64, Fault> {
    let is_named =
        !trail.is_empty() && trail.len() <= MAX_NAME && trail.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let Some(last) = events.last().map(|event| event.seq).filter(|_| is_named && events.len() <= MAX_EVENTS) else {
        let reason = format!("a trail of letters and digits and 1 to {MAX_EVENTS} events are taken at once");
        return Err(Fault::new("updater-events-invalid", Blame::Peer, reason));
    };
    if !events.is_sorted_by(|one, next| one.seq < next.seq) {
        return Err(Fault::new(
            "updater-events-invalid",
            Blame::Peer,
            "the events are not in the order of their numbers",
        ));
    }
    for event in events {
        let UpdaterEvent { seq, at, by, warns, text, details } = event;
        let event = audit::UpdaterEvent { trail: trail.to_owned(), seq, by, warns, text, details };
        pipeline.say_first(audit::Event::Updater(event), at)?;
    }
    Ok(last)
}
