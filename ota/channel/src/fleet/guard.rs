//! What every request of a person passes: the host it names, the origin it comes from, the session it carries; and the headers
//! that every answer has.
use crate::server::Server;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Everything from this server, nothing in line, nowhere in a frame.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; \
     require-trusted-types-for 'script'";

/// Names of this machine itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Runs around every route.
pub(super) async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    // On this machine the name `localhost` is shared with other servers, some of them without TLS.
    let strict = host(request.headers()).is_some_and(|host| !LOOPBACK.contains(&name(host).as_str()));
    let mut response = match pass(&server, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => *refusal,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: browsers would then send `Origin: null` with the login form.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("permissions-policy", HeaderValue::from_static("camera=(), geolocation=(), microphone=()"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if strict {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

fn pass(server: &Server, request: &Request) -> Result<(), Box<Response>> {
    let refuse = |status: StatusCode, why: &'static str| Err(Box::new((status, why).into_response()));
    let headers = request.headers();
    let known = |host: &str| {
        let name = name(host);
        LOOPBACK.contains(&name.as_str()) || server.config.names.iter().any(|known| known.eq_ignore_ascii_case(&name))
    };
    let Some(host) = host(headers).filter(|host| known(host)) else {
        // A page of somebody else's whose name resolves to this address (DNS rebinding) ends here.
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "The fleet page does not answer to that host name; add it to `server.names`.\n",
        );
    };
    if request.method() == Method::POST {
        if !from_here(headers, host) {
            return refuse(StatusCode::FORBIDDEN, "This form was sent from another site.\n");
        }
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Only GET, HEAD and POST.\n");
    }
    let path = request.uri().path();
    if matches!(path, "/login" | "/logout") || path.starts_with("/assets/") || server.door.user(headers).is_some() {
        return Ok(());
    }
    if path == "/" {
        return Err(Box::new(Redirect::to("/login").into_response()));
    }
    refuse(StatusCode::UNAUTHORIZED, "Log in first.\n")
}

/// The `Host` header, port included; a request with none or with two is not served.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    hosts.next().filter(|_| hosts.next().is_none())?.to_str().ok()
}

/// A host name without its port and brackets, in lower case.
fn name(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if host.parse::<IpAddr>().is_ok() => host,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// True when a POST comes from a page of this server: browsers say so, and a script elsewhere cannot forge it.
fn from_here(headers: &HeaderMap, host: &str) -> bool {
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    site && origin.is_some_and(|origin| origin.eq_ignore_ascii_case(&format!("https://{host}")))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_host_is_compared_without_port_brackets_and_case() {
        for (host, expected) in [
            ("localhost:8080", "localhost"),
            ("Channel.Region.example.", "channel.region.example"),
            ("[::1]:8443", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(name(host), expected);
        }
    }
}
