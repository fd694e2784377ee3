//! The support bundle for a person with a browser: on a production box there is no shell to ask for it.
use super::login::record;
use super::server::{Caller, Server};
use crate::audit::Event;
use crate::support::{self, Bundle};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// What stands above the log, since the journal can't be read from here.
const OWN_LOG: &str =
    "the agent's own lines since its start; what was before, and what workers say, is in the journal\n";

/// `POST /support`: the archive that `sund support` writes, but of the agent's own last lines of log alone. It is given to who may see the
/// console, which shows more, and only once the audit log says to whom.
pub(super) async fn bundle(
    State(server): State<Arc<Server>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let Some(source) = server.support.clone() else { return StatusCode::NOT_FOUND.into_response() };
    let unavailable = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    let Ok(one) = Arc::clone(&server.bundles).try_acquire_owned() else {
        return unavailable("A bundle is being made; try again in a moment.\n");
    };
    let user = server.door.as_ref().and_then(|door| door.user(&headers));
    if !record(&server, Event::SupportBundle { user, address: caller.text() }).await {
        return unavailable("It cannot be recorded who takes a bundle, so none is given.\n");
    }
    let made = tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || {
            // For as long as one is made, also where nobody waits for it any more.
            let _one = one;
            let state = (server.source.snapshot().without_patients(), server.metrics.render());
            support::bundle(&source.own, Ok(state), Ok(source.log.text()), OWN_LOG)
        }
    });
    match made.await {
        Ok(Ok(Bundle { bytes, .. })) => {
            let attachment = format!("attachment; filename=\"{}\"", support::name());
            let head =
                [(header::CONTENT_TYPE, "application/x-tar".to_owned()), (header::CONTENT_DISPOSITION, attachment)];
            (head, bytes).into_response()
        }
        Ok(Err(fault)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{fault}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
