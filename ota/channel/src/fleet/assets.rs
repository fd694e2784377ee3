//! The files of the page, in the binary.
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

const INDEX: &str = include_str!("assets/index.html");
const LOGIN: &str = include_str!("assets/login.html");

/// Name, media type, content.
const FILES: [(&str, &str, &[u8]); 9] = [
    ("authorities.js", "text/javascript; charset=utf-8", include_bytes!("assets/authorities.js")),
    ("fleet.css", "text/css; charset=utf-8", include_bytes!("assets/fleet.css")),
    ("fleet.js", "text/javascript; charset=utf-8", include_bytes!("assets/fleet.js")),
    ("rollout.js", "text/javascript; charset=utf-8", include_bytes!("assets/rollout.js")),
    ("page.js", "text/javascript; charset=utf-8", include_bytes!("assets/page.js")),
    ("theme.js", "text/javascript; charset=utf-8", include_bytes!("assets/theme.js")),
    ("sund.svg", "image/svg+xml", include_bytes!("assets/sund.svg")),
    ("inter.LICENSE", "text/plain; charset=utf-8", include_bytes!("assets/inter.LICENSE")),
    ("inter.woff2", "font/woff2", include_bytes!("assets/inter.woff2")),
];

/// `/`
pub(super) async fn index() -> Html<&'static str> {
    Html(INDEX)
}

/// The login page; `message` is a fixed sentence of ours, never what somebody typed.
pub(super) fn login(message: &'static str) -> Html<String> {
    Html(LOGIN.replace("<!-- message -->", message))
}

/// `/assets/{name}`
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name) {
        Some((_, kind, content)) => {
            // Revalidated after an update of the server; small enough to come again.
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
