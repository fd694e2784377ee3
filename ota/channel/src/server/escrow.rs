//! `/escrow`: a box leaves the sealed recovery key of its disk, and is told the digest of what is kept.
use super::Server;
use super::ddi::Answer;
use super::peer::{Device, Peer};
use super::refusal::Refusal;
use crate::database::now;
use crate::escrow::{Sealed, keep};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use rusqlite::Connection;
use serde::Deserialize;
use std::sync::Arc;

/// What a box sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    format: u32,
    /// SHA-256 of the public key that it is sealed to.
    recipient: String,
    /// Base64.
    sealed: String,
}

/// `POST /escrow`
pub(super) async fn offer(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(Offer { format, recipient, sealed }): Json<Offer>,
) -> Answer {
    let device = Device::any(&server, &peer, &headers)?;
    let sealed = Sealed::check(format, &recipient, &sealed)?;
    // Answered when it is on the disk: the box removes its own copy then.
    let write = move |c: &Connection| {
        device.check_still(c)?;
        keep(c, device.id, &device.name, &sealed, now())
    };
    let kept = server.database.write(write).await.map_err(|fault| match fault.code.as_ref() {
        "unauthorized" => Refusal::unauthorized(),
        _ => fault.into(),
    })?;
    Ok(Json(kept).into_response())
}
