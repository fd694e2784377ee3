//! What the page and programs of people read and order, each within the role of its session.
use super::Role;
use crate::limits::people::{EVENT_HEARTBEAT, EVENT_INTERVAL, MAX_DEVICES_SHOWN};
use crate::rollout::New;
use crate::rollout::orders::Order;
use crate::rollout::view;
use crate::server::{Refusal, Server};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use sund_ota::fault::{Blame, Fault};
use tokio::time::{Instant, sleep_until};

type Answer = Result<Response, Refusal>;

/// `GET /api/v1/session`: who is logged in, and as what.
pub(super) async fn session(State(server): State<Arc<Server>>, headers: HeaderMap) -> Answer {
    let (user, role) = server.door.user(&headers).ok_or_else(Refusal::unauthorized)?;
    Ok(Json(json!({ "user": user, "role": role })).into_response())
}

/// `GET /api/v1/overview`: the fleet in figures.
pub(super) async fn overview(State(server): State<Arc<Server>>) -> Answer {
    Ok(Json(server.overview().await?).into_response())
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    search: String,
    #[serde(default)]
    page: u32,
}

/// `GET /api/v1/devices?search=&page=`
pub(super) async fn devices(State(server): State<Arc<Server>>, Query(wanted): Query<Wanted>) -> Answer {
    let found = server.database.survey(move |c| view::devices(c, &wanted.search, wanted.page)).await?;
    let (devices, total) = found;
    let since = server.heard_since();
    Ok(Json(json!({ "devices": devices, "total": total, "pageSize": MAX_DEVICES_SHOWN, "heardSince": since }))
        .into_response())
}

/// `GET /api/v1/rollouts`
pub(super) async fn rollouts(State(server): State<Arc<Server>>) -> Answer {
    Ok(Json(server.database.survey(|c| view::rollouts(c, None)).await?).into_response())
}

/// `POST /api/v1/rollouts`
pub(super) async fn make(State(server): State<Arc<Server>>, headers: HeaderMap, Json(new): Json<New>) -> Answer {
    let who = who(&server, &headers, |role| role == Role::Operator)?;
    server.make(new, who).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// `POST /api/v1/rollouts/{name}/{order}`
pub(super) async fn order(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Path((name, order)): Path<(String, Order)>,
) -> Answer {
    let who = who(&server, &headers, |role| match order {
        Order::Approve => role == Role::Approver,
        // What makes the fleet safer needs no second thought.
        Order::Pause | Order::Stop => role != Role::Viewer,
        Order::Start | Order::Resume | Order::Retry => role == Role::Operator,
    })?;
    server.order(name, order, who).await?;
    Ok(StatusCode::OK.into_response())
}

fn who(server: &Server, headers: &HeaderMap, may: impl Fn(Role) -> bool) -> Result<String, Refusal> {
    match server.door.user(headers) {
        Some((name, role)) if may(role) => Ok(name),
        Some(_) => {
            let fault = Fault::new("role", Blame::Configuration, "Your role does not allow that.");
            Err(Refusal(StatusCode::FORBIDDEN, fault))
        }
        None => Err(Refusal::unauthorized()),
    }
}

/// `GET /api/v1/events`: an event whenever something changed. It carries a number alone; the page then asks what it shows.
pub(super) async fn events(State(server): State<Arc<Server>>) -> Response {
    let Ok(permit) = server.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Too many fleet pages are open.\n").into_response();
    };
    let mut changes = server.database.changes();
    changes.mark_changed(); // the first event comes at once
    let state = (changes, server.upkeep.subscribe(), server.shutdown.clone(), Instant::now(), permit);
    let stream = unfold(state, |(mut changes, mut upkeep, mut shutdown, not_before, permit)| async move {
        let next = async {
            sleep_until(not_before).await;
            tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                changed = upkeep.changed() => changed.is_ok(),
            }
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
        Some((Ok::<_, Infallible>(event), (changes, upkeep, shutdown, Instant::now() + EVENT_INTERVAL, permit)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(EVENT_HEARTBEAT)).into_response()
}
