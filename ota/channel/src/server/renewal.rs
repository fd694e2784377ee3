//! Keeps timestamp and snapshot of the repository fresh. Whoever publishes on the command line holds the same lock meanwhile.
//!
//! What is wrong is said and holds nothing up: boxes are served whatever becomes of it.
use crate::limits::renewal::{LOCK_TIME, LOOK, PERIOD, RETRY};
use crate::repository::{Home, Published, Upkeep, alarms, renew};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// Renews at once, and from then on every [`PERIOD`], until `stop`; tells `upkeep` how the repository is.
pub(super) async fn run(directory: &Path, upkeep: &watch::Sender<Upkeep>, mut stop: watch::Receiver<bool>) {
    let home = Arc::new(Home::served(directory));
    let looks = async {
        let mut tried: Option<Instant> = None;
        loop {
            let before = upkeep.borrow().clone();
            let wait = if before.trouble.is_some() { RETRY } else { PERIOD };
            let is_due = tried.is_none_or(|tried| tried.elapsed() >= wait);
            if is_due {
                tried = Some(Instant::now());
            }
            let home = Arc::clone(&home);
            match spawn_blocking(move || look(&home, before, is_due)).await {
                Ok(found) => tell(upkeep, found),
                Err(error) => tracing::error!("the repository was not looked at: {error}"),
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = looks => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Renews where that is due, and reads what is published then.
fn look(home: &Home, before: Upkeep, is_due: bool) -> Upkeep {
    let trouble = match Published::read(home) {
        // Nothing has been published yet: nothing is to be kept.
        Ok(None) => return Upkeep::default(),
        Ok(Some(_)) if !is_due => before.trouble,
        Ok(Some(_)) => home
            .lock_within(LOCK_TIME)
            .and_then(|turn| renew(home, &turn))
            .inspect(|it| tracing::info!(timestamp = it.timestamp, snapshot = it.snapshot, "the repository is renewed"))
            .err(),
        Err(fault) => Some(fault),
    };
    let published = Published::read(home).ok().flatten();
    Upkeep { trouble, alarms: published.as_ref().map(alarms).unwrap_or_default() }
}

/// Logs what is new, once, and wakes the pages that are open.
fn tell(upkeep: &watch::Sender<Upkeep>, found: Upkeep) {
    upkeep.send_if_modified(|known| {
        if let Some(fault) = found.trouble.as_ref().filter(|fault| known.trouble.as_ref() != Some(*fault)) {
            tracing::error!(code = %fault.code, "the repository is not renewed: {fault}");
        }
        for alarm in found.alarms.iter().filter(|alarm| !known.alarms.contains(alarm)) {
            let (role, expires, days_left) = (&alarm.role, &alarm.expires, alarm.days_left);
            tracing::warn!(role, expires, days_left, "a signed role is past half of its life: {}", alarm.advice);
        }
        let is_new = *known != found;
        *known = found;
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_published_nothing_is_alarming() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(look(&Home::served(home.path()), Upkeep::default(), true), Upkeep::default());
    }
}
