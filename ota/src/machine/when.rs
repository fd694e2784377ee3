//! When a deployment may change the box: what the server says about it, and the window of its rollout.
use super::{Halt, Machine};
use crate::ddi::client::{ActionLink, DdiError};
use crate::ddi::{Deployment, DeploymentBase, Handling};
use crate::fault::{Blame, Fault};
use crate::window::Window;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::{MutexGuard, PoisonError};

/// What the server says of the action in hand. It is told anew with each poll.
#[derive(Debug)]
pub(super) struct When {
    download: Handling,
    update: Handling,
    window: Option<Window>,
    /// Where it was said: a server that says something else names another address.
    link: Option<ActionLink>,
}

impl Default for When {
    fn default() -> Self {
        Self { download: Handling::Attempt, update: Handling::Attempt, window: None, link: None }
    }
}

impl When {
    fn new(link: &ActionLink, deployment: &Deployment, zone: &TimeZone) -> Result<Self, Fault> {
        let window = deployment.maintenance.as_ref();
        let window = window.map(|it| Window::new(&it.from, &it.until, &it.days, zone.clone())).transpose();
        let window = window.map_err(|reason| {
            Fault::new("window-invalid", Blame::Channel, format!("the window of the rollout is none: {reason}"))
        })?;
        Ok(Self { download: deployment.download, update: deployment.update, window, link: Some(link.clone()) })
    }

    /// Why nothing may be changed now, where that is so.
    fn closed(&self) -> Option<String> {
        if self.update == Handling::Skip {
            return Some("the channel says `update: skip`".to_owned());
        }
        let window = self.window.as_ref().filter(|window| !window.is_open(Timestamp::now()))?;
        Some(format!("the rollout's window is {window}"))
    }
}

impl Machine {
    /// Nothing is fetched where the server says so.
    pub(super) fn heed_download(&self) -> Result<(), Halt> {
        if self.when().download == Handling::Skip && !self.is_underway() {
            return Err(closed("the channel says `download: skip`"));
        }
        Ok(())
    }

    /// Nothing is installed, tried or activated while the window is closed. What has changed the box is brought to its end, also after the
    /// window.
    pub(super) fn heed_window(&self) -> Result<(), Halt> {
        let why = self.when().closed().filter(|_| !self.is_underway());
        why.map_or(Ok(()), |why| Err(closed(&why)))
    }

    /// Whether the channel lets the box restart now.
    pub(super) fn is_window_open(&self) -> bool {
        self.when().closed().is_none()
    }

    /// Keeps what the server says of an action.
    pub(super) fn keep_when(&self, link: &ActionLink, deployment: &DeploymentBase) -> Result<(), Fault> {
        let when = When::new(link, &deployment.deployment, &self.config.zone)?;
        *self.when() = when;
        Ok(())
    }

    /// Asks again what the server says of the action in hand, where a poll names another address for it: its window opens and closes while
    /// a step works. What can't be learned now is asked for with the next poll.
    pub(super) async fn learn_when(&self, link: &ActionLink) {
        if link.id != self.action_id() || self.when().link.as_ref() == Some(link) {
            return;
        }
        let asked = self.ddi.deployment(link).await;
        if let Err(error) = asked.and_then(|deployment| self.keep_when(link, &deployment).map_err(DdiError::Fault)) {
            self.heed_retry_after(&error);
            tracing::warn!(action = link.id, %error, "what the channel says of the action now was not learned");
        }
    }

    /// What comes on a stick waits for no server.
    pub(super) fn forget_when(&self) {
        *self.when() = When::default();
    }

    fn when(&self) -> MutexGuard<'_, When> {
        self.when.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed(why: &str) -> Halt {
    Halt::Later(Fault::new("window-closed", Blame::Channel, format!("{why}: its window is closed, the box waits")))
}
