//! Jobs that are held back for a while: who is about to restart the machine has those end that run, and none begin. Studies are taken in all
//! the same, and their jobs wait in the spool.
use super::Pipeline;
use crate::fault::{Blame, Fault};
use crate::limits::channel::MAX_HOLD;
use std::time::{Duration, SystemTime};

impl Pipeline {
    /// Has no job begin for so long, in the place of what was asked before; zero lets them begin again. Those that run go on. Until when it is.
    ///
    /// It is kept in memory alone: after the restart that it was for, jobs are to begin.
    pub(crate) fn hold(&self, time: Duration) -> Result<Option<SystemTime>, Fault> {
        if time > MAX_HOLD {
            let reason = format!(
                "jobs are held for at most {} s at a time, and not for {} s: ask again before it is over",
                MAX_HOLD.as_secs(),
                time.as_secs()
            );
            return Err(Fault::new("hold-too-long", Blame::Peer, reason));
        }
        self.jobs.hold(time);
        let until = self.jobs.held_until();
        match until {
            Some(until) => {
                tracing::info!(until = %humantime::format_rfc3339_seconds(until), "no job begins before, as the channel asks");
            }
            None => tracing::info!("jobs begin again"),
        }
        self.recorder.changed();
        Ok(until)
    }

    /// Until when no job begins; `None` where they do.
    pub(crate) fn held_until(&self) -> Option<SystemTime> {
        self.jobs.held_until()
    }
}
