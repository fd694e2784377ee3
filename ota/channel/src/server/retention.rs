//! What boxes have said of actions that ended long ago goes; what people did stays.
use crate::database::{Database, failed, now};
use crate::limits::retention::{BATCH, MESSAGES, PERIOD};
use rusqlite::Connection;
use sund_ota::fault::Fault;
use tokio::sync::watch;
use tokio::time::sleep;

/// Looks at once, and from then on every [`PERIOD`], until `stop`.
pub(super) async fn run(database: Database, mut stop: watch::Receiver<bool>) {
    let looks = async {
        loop {
            match forget(&database).await {
                Ok(0) => {}
                Ok(messages) => tracing::info!(messages, "what boxes said of actions that ended long ago is removed"),
                Err(fault) => tracing::error!(code = %fault.code, "old messages are not removed: {fault}"),
            }
            sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = looks => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Removes them some at a time, so that no box waits for a long commit; says how many they were.
async fn forget(database: &Database) -> Result<usize, Fault> {
    let before = now() - MESSAGES.as_millis() as i64;
    let mut removed = 0;
    loop {
        let some = database.write(move |c: &Connection| {
            let delete = "DELETE FROM message WHERE id IN (
                SELECT m.id FROM message m JOIN action a ON a.id = m.action
                WHERE a.status IN ('finished', 'failed', 'canceled') AND a.changed_at < ?1 LIMIT ?2)";
            c.prepare_cached(delete).and_then(|mut delete| delete.execute((before, BATCH))).map_err(failed)
        });
        let some = some.await?;
        removed += some;
        if some < BATCH as usize {
            return Ok(removed);
        }
    }
}
