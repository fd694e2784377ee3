//! What the region stops and suspends, out of a repository.
use super::{Trusted, Verified};
use crate::documents::{STOP, SUSPENSIONS, Stop, Suspension, Suspensions};
use crate::fault::Fault;
use crate::limits::MAX_STATE;

impl Trusted {
    /// Since when and why no rollout goes on, where all are stopped.
    pub(crate) async fn stopped(&self) -> Result<Option<String>, Fault> {
        Ok(stop(self.lists(STOP)?, self.document(STOP, MAX_STATE).await))
    }

    /// What is suspended.
    pub(crate) async fn suspended(&self) -> Result<Vec<Suspension>, Fault> {
        suspensions(self.document(SUSPENSIONS, MAX_STATE).await)
    }
}

pub(super) fn stop(is_listed: bool, text: Result<Option<Verified<Vec<u8>>>, Fault>) -> Option<String> {
    if !is_listed {
        return None;
    }
    let stop = text.and_then(|bytes| bytes.map(|bytes| Stop::parse(bytes.get())).transpose());
    match stop {
        Ok(stop) => stop.map(|stop| format!("since {}: {}", stop.since, stop.reason)),
        // That it is listed stops: a server that withholds the text does not take it back.
        Err(fault) => Some(format!("(why can't be read: {fault})")),
    }
}

pub(super) fn suspensions(text: Result<Option<Verified<Vec<u8>>>, Fault>) -> Result<Vec<Suspension>, Fault> {
    let Some(bytes) = text? else { return Ok(Vec::new()) };
    Ok(Suspensions::parse(bytes.get())?.suspensions)
}
