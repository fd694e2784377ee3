//! What programs read: the status, the event stream, the preview pictures, health and metrics.
use super::Readiness;
use super::server::Server;
use crate::limits::console::{EVENT_HEARTBEAT, EVENT_INTERVAL, MAX_STUDIES_SHOWN};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use serde_json::json;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use tokio::time::{Instant, sleep_until};

/// `GET /api/v1/status`: what `sund status --json` prints.
pub(super) async fn status(State(server): State<Arc<Server>>) -> Response {
    let Some(body) = snapshot(&server) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The status as JSON, made once for each change however many ask.
fn snapshot(server: &Server) -> Option<Bytes> {
    let revision = *server.changes.borrow();
    let mut last = server.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, body)) = last.as_ref().filter(|(made_at, _)| *made_at == revision) {
        return Some(body.clone());
    }
    let mut status = server.source.snapshot();
    status.studies.truncate(MAX_STUDIES_SHOWN);
    let body = Bytes::from(serde_json::to_vec(&status).ok()?);
    *last = Some((revision, body.clone()));
    Some(body)
}

/// `GET /api/v1/events`: an event whenever the status changed. It carries a number and nothing of a study; the page then
/// asks for the status with its session.
pub(super) async fn events(State(server): State<Arc<Server>>) -> Response {
    let Ok(permit) = server.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Too many consoles are open.\n").into_response();
    };
    let mut changes = server.changes.clone();
    changes.mark_changed(); // the first event comes at once
    let state = (changes, server.shutdown.clone(), Instant::now(), permit);
    let stream = unfold(state, |(mut changes, mut shutdown, not_before, permit)| async move {
        let next = async {
            sleep_until(not_before).await;
            changes.changed().await.is_ok()
        };
        let alive = tokio::select! {
            alive = next => alive,
            _ = shutdown.wait_for(|stop| *stop) => false,
        };
        if !alive {
            return None;
        }
        let revision = *changes.borrow_and_update();
        let event = Event::default().event("changed").data(revision.to_string());
        Some((Ok::<_, Infallible>(event), (changes, shutdown, Instant::now() + EVENT_INTERVAL, permit)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(EVENT_HEARTBEAT)).into_response()
}

/// `GET /api/v1/session`: who is logged in, null without a login; whether there are support bundles, and whether orders are taken of that user.
pub(super) async fn session(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let user = server.door.as_ref().and_then(|door| door.user(&headers));
    let may_order = user.as_ref().is_some_and(|user| server.door.as_ref().is_some_and(|door| door.may_order(user)));
    let operates = may_order && server.operator.is_some();
    Json(json!({ "operates": operates, "support": server.support.is_some(), "user": user })).into_response()
}

/// `GET /api/v1/studies/{id}/preview/{n}.png`
pub(super) async fn preview(
    State(server): State<Arc<Server>>,
    Path((study, picture)): Path<(String, String)>,
) -> Response {
    let index = picture.strip_suffix(".png").and_then(|index| index.parse().ok());
    match index.and_then(|index| server.source.preview(&study, index)) {
        Some(png) => ([(header::CONTENT_TYPE, "image/png")], png).into_response(),
        None => (StatusCode::NOT_FOUND, "There is no such picture.\n").into_response(),
    }
}

/// `GET /health`: 200 while studies are taken, 503 while they are not; no login, and nothing that needs one.
pub(super) async fn health(State(server): State<Arc<Server>>) -> Response {
    let (code, state) = match server.source.readiness() {
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Readiness::Full => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        Readiness::Accepting => (StatusCode::OK, "accepting"),
    };
    (code, Json(json!({ "state": state }))).into_response()
}

/// `GET /metrics`
pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let now = server.source.snapshot();
    crate::metrics::spool(&now.spool);
    for model in &now.models {
        crate::metrics::model_suspended(&model.name, model.state == "suspended");
    }
    let running = now.queue.iter().filter(|job| job.state == "running").count();
    crate::metrics::jobs(now.queue.len() - running, running);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], server.metrics.render()).into_response()
}
