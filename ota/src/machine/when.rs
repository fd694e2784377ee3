//! When a deployment may change the box: what the server says about it, and the window of its rollout.
use super::{Halt, Machine};
use crate::ddi::{Deployment, Handling};
use crate::fault::{Blame, Fault};
use crate::window::Window;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What the server says of the action in hand. It is told anew with each poll.
#[derive(Debug)]
pub(super) struct When {
    download: Handling,
    update: Handling,
    window: Option<Window>,
}

impl Default for When {
    fn default() -> Self {
        Self { download: Handling::Attempt, update: Handling::Attempt, window: None }
    }
}

impl When {
    pub(super) fn new(deployment: &Deployment, zone: &TimeZone) -> Result<Self, Fault> {
        let window = deployment.maintenance.as_ref();
        let window = window.map(|it| Window::new(&it.from, &it.until, &it.days, zone.clone())).transpose();
        let window = window.map_err(|reason| {
            Fault::new("window-invalid", Blame::Channel, format!("the window of the rollout is none: {reason}"))
        })?;
        Ok(Self { download: deployment.download, update: deployment.update, window })
    }

    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        self.window.as_ref().is_none_or(|window| window.is_open(now))
    }
}

impl Machine {
    /// Nothing is fetched where the server says so.
    pub(super) fn heed_download(&self) -> Result<(), Halt> {
        if self.when.download == Handling::Skip && !self.is_underway() {
            return Err(closed("the channel says `download: skip`"));
        }
        Ok(())
    }

    /// Nothing is installed, tried or activated while the window is closed. What has changed the box is brought to its end, also after the
    /// window.
    pub(super) fn heed_window(&self) -> Result<(), Halt> {
        if self.is_underway() {
            return Ok(());
        }
        if self.when.update == Handling::Skip {
            return Err(closed("the channel says `update: skip`"));
        }
        match &self.when.window {
            Some(window) if !window.is_open(Timestamp::now()) => {
                Err(closed(&format!("the rollout's window is {window}")))
            }
            _ => Ok(()),
        }
    }
}

fn closed(why: &str) -> Halt {
    Halt::Later(Fault::new("window-closed", Blame::Channel, format!("{why}: its window is closed, the box waits")))
}
