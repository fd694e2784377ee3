//! What a device says of what it does. Nothing is answered before it is on the disk.
use super::Server;
use super::ddi::{Answer, caller};
use super::peer::{Device, Peer};
use super::refusal::Refusal;
use crate::database::{failed, now};
use crate::limits::device::{MAX_LINE, MAX_LINES, MAX_MESSAGES};
use crate::rollout::action::Status;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use sund_ota::ddi::{Confirmation, Feedback, FeedbackStatus};
use sund_ota::fault::{Blame, Fault};

/// `POST .../deploymentBase/{actionId}/feedback`
pub(super) async fn deployment(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
    Json(word): Json<Feedback>,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    hear(&server, device, id, word.status, Status::after).await
}

/// `POST .../cancelAction/{actionId}/feedback`
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
    Json(word): Json<Feedback>,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    hear(&server, device, id, word.status, Status::after_cancel).await
}

/// `POST .../confirmationBase/{actionId}/feedback`
pub(super) async fn confirmation(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
    Json(word): Json<Confirmation>,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let is_confirmed = match word.confirmation.as_str() {
        "confirmed" => true,
        "denied" => false,
        _ => return Err(Refusal::bad_request("`confirmation` is confirmed or denied.")),
    };
    let reason = match text(&word.details).as_str() {
        _ if is_confirmed => None,
        "" => Some("Denied at the box.".to_owned()),
        said => Some(format!("Denied at the box: {said}")),
    };
    let write = move |c: &Connection| {
        c.execute(
            "UPDATE action SET confirmed = ?3, status = CASE WHEN ?3 THEN status ELSE 'failed' END, reason = ?4, changed_at = ?5
             WHERE id = ?1 AND device = ?2 AND status IN ('offered', 'silent')",
            params![id, device.id, is_confirmed, reason, now()],
        )
        .map_err(failed)
    };
    if server.database.write(write).await? == 0 {
        return Err(Refusal::not_found());
    }
    server.wake.notify_one();
    Ok(StatusCode::OK.into_response())
}

async fn hear(
    server: &Server,
    device: Device,
    id: i64,
    word: FeedbackStatus,
    after: fn(Status, &FeedbackStatus) -> Option<Status>,
) -> Answer {
    server.database.write(move |c| keep(c, &device, id, &word, after)).await.map_err(|fault| {
        match fault.code.as_ref() {
            "action-unknown" => Refusal(StatusCode::NOT_FOUND, fault),
            "action-over" => Refusal(StatusCode::GONE, fault),
            _ => fault.into(),
        }
    })?;
    server.wake.notify_one();
    Ok(StatusCode::OK.into_response())
}

pub(super) fn keep(
    c: &Connection,
    device: &Device,
    id: i64,
    word: &FeedbackStatus,
    after: fn(Status, &FeedbackStatus) -> Option<Status>,
) -> Result<(), Fault> {
    let refuse = |code, reason: &str| Err(Fault::new(code, Blame::Box, reason));
    let status: Option<Status> = c
        .prepare_cached("SELECT status FROM action WHERE id = ?1 AND device = ?2 AND status <> 'scheduled'")
        .and_then(|mut row| row.query_row([id, device.id], |r| r.get(0)).optional())
        .map_err(failed)?;
    let Some(status) = status else { return refuse("action-unknown", "There is no such action for this device.") };
    let Some(next) = after(status, word) else {
        // A device whose answer was lost says it again: it is told the same. What was taken back is gone.
        return match status {
            Status::Canceled => refuse("action-over", "The action was taken back."),
            _ => Ok(()),
        };
    };
    let (at, said) = (now(), text(&word.details));
    let progress = word.result.progress.as_ref();
    let reason =
        matches!(next, Status::Failed).then(|| if said.is_empty() { "The box gave no reason." } else { &said });
    let write = || {
        c.prepare_cached(
            "UPDATE action SET status = ?2, taken = taken OR ?2 = 'taken', changed_at = ?3, done = ?4, total = ?5, reason = coalesce(?6, CASE ?2 WHEN 'taken' THEN NULL
                 WHEN 'finished' THEN NULL ELSE reason END) WHERE id = ?1",
        )?
        .execute(params![id, next, at, progress.map(|p| p.cnt), progress.and_then(|p| p.of), reason])?;
        c.prepare_cached("INSERT INTO message (action, at, execution, finished, text) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![id, at, word_of(&word.execution), word_of(&word.result.finished), said])?;
        c.prepare_cached(
            "DELETE FROM message WHERE action = ?1 AND id <= (SELECT id FROM message WHERE action = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![id, MAX_MESSAGES])?;
        if next == Status::Finished {
            c.prepare_cached(
                "UPDATE device SET installed = ?2, installed_state = (SELECT r.state FROM action a JOIN rollout r ON r.id = a.rollout
                     WHERE a.id = ?2) WHERE id = ?1",
            )?
            .execute([device.id, id])?;
        }
        Ok(())
    };
    write().map_err(|error: rusqlite::Error| failed(error))
}

/// `closed`, `success`, … as they stand in JSON.
fn word_of(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A device's lines, within bounds.
fn text(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().take(MAX_LINES).map(|line| line.chars().take(MAX_LINE).collect()).collect();
    lines.join("\n")
}
