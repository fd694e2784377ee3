//! A fault, as HTTP says it.
use crate::limits::http::RETRY_AFTER;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sund_ota::fault::{Blame, Fault};

/// What a caller is told.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub Fault);

impl Refusal {
    /// A caller that is not known, or not to be known here.
    pub fn unauthorized() -> Self {
        let reason = "This needs the device's own certificate or target token.";
        Self(StatusCode::UNAUTHORIZED, Fault::new("unauthorized", Blame::Box, reason))
    }

    /// Nothing there, for this caller.
    pub fn not_found() -> Self {
        Self(
            StatusCode::NOT_FOUND,
            Fault::new("not-found", Blame::Box, "There is nothing of that name for this device."),
        )
    }

    /// What was sent does not fit.
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, Fault::new("bad-request", Blame::Box, reason))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let status = match (fault.code.as_ref(), fault.blame) {
            ("overloaded", _) => StatusCode::SERVICE_UNAVAILABLE,
            ("rollout-unknown" | "device-unknown", _) => StatusCode::NOT_FOUND,
            (_, Blame::Channel | Blame::Updater | Blame::Agent) => StatusCode::INTERNAL_SERVER_ERROR,
            (_, Blame::Region) => StatusCode::CONFLICT,
            (_, Blame::Configuration | Blame::Package | Blame::Box) => StatusCode::BAD_REQUEST,
        };
        Self(status, fault)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, fault) = self;
        // What went wrong inside is for the log; the caller cannot mend it.
        let reason = if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code = %fault.code, "{fault}");
            "The channel cannot answer now; its log says why."
        } else {
            &fault.reason
        };
        let mut response = (status, Json(json!({ "errorCode": fault.code, "message": reason }))).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(later()));
        }
        response
    }
}

/// When to come again, in seconds: drawn, so that all who were turned away do not come back together.
pub fn later() -> u64 {
    let mut drawn = [0; 2];
    // Without randomness all of them come at the same time, which is no worse than a refusal.
    let _ = aws_lc_rs::rand::fill(&mut drawn);
    RETRY_AFTER.start + u64::from(u16::from_be_bytes(drawn)) % (RETRY_AFTER.end - RETRY_AFTER.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_is_told_when_to_come_again_and_not_when_all_others_do() {
        let told = || {
            let fault = Fault::new("overloaded", Blame::Channel, "Too much to do.");
            let response = Refusal::from(fault).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            response.headers()[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap()
        };
        let all: std::collections::BTreeSet<u64> = (0..100).map(|_| told()).collect();
        assert!(all.len() > 10 && all.iter().all(|seconds| RETRY_AFTER.contains(seconds)), "{all:?}");
    }

    #[tokio::test]
    async fn what_went_wrong_inside_is_not_told_outside() {
        let fault = Fault::new("database-failed", Blame::Channel, "/srv/channel.db is full");
        let response = Refusal::from(fault).into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("/srv"));
    }
}
