//! `/enrol`: a one-time code becomes a certificate, a certificate its successor.
use super::Server;
use super::ddi::Answer;
use super::peer::{Device, Peer, believes};
use super::refusal::Refusal;
use crate::database::now;
use crate::enrol::authority::{Authority, Issued};
use crate::enrol::{enrol, renew};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use sund_ota::fault::{Blame, Fault};

/// What a box sends first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct First {
    code: String,
    /// PKCS#10, PEM.
    csr_pem: String,
}

/// `POST /enrol`
pub(super) async fn first(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(First { code, csr_pem }): Json<First>,
) -> Answer {
    let address = peer.address.ip();
    if server.lock.refuses(address) {
        let reason = "Too many wrong codes came from this address: wait a quarter of an hour.";
        return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, Fault::new("enrol-locked", Blame::Box, reason)));
    }
    let request = Authority::request(&csr_pem)?;
    let authority = issuer(&server, &headers).await;
    let done = server.database.write(move |c| enrol(c, &authority, &code, &request, now())).await;
    let (name, issued) = done.map_err(|fault| match fault.code.as_ref() {
        "enrol-code" => Refusal(StatusCode::FORBIDDEN, fault),
        _ => fault.into(),
    })?;
    server.lock.forget(address);
    Ok(certificate(&server, &name, issued))
}

/// What a box sends before its certificate expires.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    /// PKCS#10, PEM.
    csr_pem: String,
}

/// `POST /enrol/renew`, over the certificate that is still good
pub(super) async fn again(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(Again { csr_pem }): Json<Again>,
) -> Answer {
    let device = Device::certified(&server, &peer)?;
    let request = Authority::request(&csr_pem)?;
    let (authority, name) = (issuer(&server, &headers).await, device.name.clone());
    let done = server.database.write(move |c| renew(c, &authority, &name, &request, now())).await;
    let issued = done.map_err(|fault| match fault.code.as_ref() {
        "enrol-key" => Refusal(StatusCode::FORBIDDEN, fault),
        _ => fault.into(),
    })?;
    Ok(certificate(&server, &device.name, issued))
}

/// Who issues to a box: the newest authority that it believes. What the region has signed a moment ago counts already.
async fn issuer(server: &Arc<Server>, headers: &HeaderMap) -> Arc<Authority> {
    let looking = Arc::clone(server);
    let looked = tokio::task::spawn_blocking(move || looking.look_at_published_authorities()).await;
    if let Err(fault) = looked.unwrap_or_else(|error| Err(crate::database::failed(error))) {
        tracing::error!(code = %fault.code, "{fault}");
    }
    Arc::clone(server.authorities.now().for_box(believes(headers).unwrap_or_default()))
}

fn certificate(server: &Server, name: &str, issued: Issued) -> Response {
    Json(json!({
        "name": name,
        "tenant": server.config.tenant,
        "certificate_pem": issued.pem,
        "ca_pem": server.authorities.now().all().iter().map(|it| it.pem()).collect::<String>(),
        "not_after": issued.until,
    }))
    .into_response()
}
