//! When devices were last heard: kept in memory and written down every few seconds, so that a poll costs no commit. Silence is
//! counted in hours; the seconds that a crash takes do not matter.
use crate::database::{Database, failed, now};
use crate::limits::database::PRESENCE_INTERVAL;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::sleep;

/// Devices heard since they were last written down.
#[derive(Default)]
pub struct Presence(Mutex<HashMap<i64, i64>>, Mutex<HashMap<i64, Stands>>);

/// How a device stands with the channel's authorities, where it has said so: who had issued its certificate, and whom it believes.
type Stands = (Option<String>, Option<String>);

impl Presence {
    /// A device was heard, now.
    pub fn saw(&self, device: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(device, now());
    }

    /// A device stands otherwise with the channel's authorities.
    pub fn stands(&self, device: i64, authority: Option<&str>, believes: Option<&str>) {
        let stands = (authority.map(str::to_owned), believes.map(str::to_owned));
        self.1.lock().unwrap_or_else(PoisonError::into_inner).insert(device, stands);
    }

    /// Writes down until `stop`, and once more then.
    pub async fn run(self: Arc<Self>, database: Database, mut stop: watch::Receiver<bool>) {
        loop {
            let ends = tokio::select! {
                () = sleep(PRESENCE_INTERVAL) => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            self.write(&database).await;
            if ends {
                return;
            }
        }
    }

    async fn write(&self, database: &Database) {
        let heard = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let stand = std::mem::take(&mut *self.1.lock().unwrap_or_else(PoisonError::into_inner));
        if heard.is_empty() && stand.is_empty() {
            return;
        }
        let write = database.write(move |c| {
            let mut row = c.prepare_cached("UPDATE device SET seen_at = ?2 WHERE id = ?1").map_err(failed)?;
            heard.iter().try_for_each(|heard| row.execute(heard).map(drop)).map_err(failed)?;
            let row = "UPDATE device SET authority = coalesce(?2, authority), believes = coalesce(?3, believes) WHERE id = ?1";
            let mut row = c.prepare_cached(row).map_err(failed)?;
            let mut stand = stand.into_iter().map(|(id, (authority, believes))| (id, authority, believes));
            stand.try_for_each(|stands| row.execute(stands).map(drop)).map_err(failed)
        });
        if let Err(fault) = write.await {
            tracing::error!(code = %fault.code, "{fault}");
        }
    }
}
