//! Keeps timestamp and snapshot of the repository fresh. Whoever publishes on the command line holds the same lock meanwhile.
//!
//! What is wrong is said and holds nothing up: boxes are served whatever becomes of it.
use super::Server;
use super::certificate::of_authority;
use crate::database::now;
use crate::enrol::authorities::unusable;
use crate::limits::renewal::{LOCK_TIME, LOOK, PERIOD, RETRY};
use crate::repository::rescue;
use crate::repository::{Alarm, Home, Published, Upkeep, alarms, is_late, renew, suspensions};
use crate::rollout::hearing;
use std::sync::Arc;
use std::time::Duration;
use sund_ota::fault::Fault;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// Renews at once, and from then on whenever that is due, until `stop`; tells `upkeep` how the repository is, and the server's certificate.
pub(super) async fn run(server: &Arc<Server>, mut stop: watch::Receiver<bool>) {
    let upkeep = &server.upkeep;
    let home = Arc::new(Home::served(&server.config.home));
    let looks = async {
        let mut tried: Option<Instant> = None;
        loop {
            let (home, looking, before) = (Arc::clone(&home), Arc::clone(server), upkeep.borrow().trouble.clone());
            let since = tried.map(|tried| tried.elapsed());
            let looks = move || {
                if let Err(fault) = looking.look_at_authorities() {
                    tracing::error!(code = %fault.code, "{fault}");
                }
                let set = looking.authorities.now();
                let of_authority = || of_authority(set.newest(), &unusable(&looking.config.home, &set), now() / 1000);
                look(&home, before, since, || looking.own.look().into_iter().chain(of_authority()))
            };
            match spawn_blocking(looks).await {
                Ok((found, is_due)) => {
                    tried = if is_due { Some(Instant::now()) } else { tried };
                    let version = found.version.filter(|version| upkeep.borrow().version != Some(*version));
                    tell(upkeep, found);
                    if let Some(version) = version
                        && let Err(fault) = server.database.write(move |c| hearing::note(c, version, now())).await
                    {
                        tracing::error!(code = %fault.code, "since when the repository is public is not kept: {fault}");
                    }
                }
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

/// Renews where that is due, and reads what is published then; says whether it was due.
fn look<I: IntoIterator<Item = Alarm>>(
    home: &Home,
    before: Option<Fault>,
    since: Option<Duration>,
    of_server: impl FnOnce() -> I,
) -> (Upkeep, bool) {
    let published = Published::read(home);
    let late = published.as_ref().is_ok_and(|published| published.as_ref().is_some_and(is_late));
    let is_due = is_due(since, before.is_some(), late);
    let renewed = match published {
        // Nothing has been published yet: nothing is to be kept.
        Ok(None) => Ok(()),
        Ok(Some(_)) if !is_due => before.map_or(Ok(()), Err),
        Ok(Some(_)) => home.lock_within(LOCK_TIME).and_then(|turn| renew(home, &turn)).map(|it| {
            tracing::info!(timestamp = it.timestamp, snapshot = it.snapshot, "the repository is renewed");
        }),
        Err(fault) => Err(fault),
    };
    let offered = rescue::offered(home);
    let published = Published::read(home).ok().flatten();
    let published = published.as_ref();
    let of_repository = published.map(|published| alarms(published, offered.as_ref().ok().and_then(Option::as_ref)));
    let alarms = of_repository.into_iter().flatten().chain(of_server()).collect();
    let version = published.map(|published| published.timestamp.signed.version.get());
    let suspended = published.map_or(Ok(Vec::new()), |published| suspensions(home, published));
    let trouble = renewed.and(offered.map(drop)).and(suspended.as_ref().map(drop).map_err(Clone::clone)).err();
    (Upkeep { trouble, alarms, version, suspensions: suspended.unwrap_or_default() }, is_due)
}

/// Whether it is time to renew, so long after the last try. What is late although that went well is renewed at the next look: the clock was
/// set right, or the repository was restored. A try that failed is repeated no more often for being late.
fn is_due(since: Option<Duration>, has_failed: bool, is_late: bool) -> bool {
    let wait = match (has_failed, is_late) {
        (true, _) => RETRY,
        (false, true) => Duration::ZERO,
        (false, false) => PERIOD,
    };
    since.is_none_or(|since| since >= wait)
}

/// Logs what is new, once, and wakes the pages that are open.
fn tell(upkeep: &watch::Sender<Upkeep>, found: Upkeep) {
    upkeep.send_if_modified(|known| {
        if let Some(fault) = found.trouble.as_ref().filter(|fault| known.trouble.as_ref() != Some(*fault)) {
            tracing::error!(code = %fault.code, "the repository is not renewed: {fault}");
        }
        for alarm in found.alarms.iter().filter(|alarm| !known.alarms.contains(alarm)) {
            let (role, expires, days_left) = (&alarm.role, &alarm.expires, alarm.days_left);
            tracing::warn!(role, expires, days_left, "it ends, and nothing has come in its place: {}", alarm.advice);
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
        let (found, _) = look(&Home::served(home.path()), None, None, || None::<Alarm>);
        assert_eq!(found, Upkeep::default());
    }

    #[test]
    fn what_is_late_is_renewed_at_once_and_what_fails_no_more_often_than_before() {
        let minute = Some(Duration::from_mins(1));
        assert!(is_due(None, false, false), "at the start");
        assert!(!is_due(minute, false, false) && is_due(Some(PERIOD), false, false));
        assert!(is_due(minute, false, true));
        assert!(!is_due(minute, true, true) && is_due(Some(RETRY), true, true));
    }
}
