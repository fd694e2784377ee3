//! Login and logout: argon2id, one cookie, one throttle, one line in the acts.
use super::sessions::{Sessions, Throttle};
use super::{Role, User, assets};
use crate::database::record;
use crate::limits::people::{MAX_CREDENTIAL, MAX_LOGINS_AT_ONCE, SESSION_LIFE};
use crate::server::{Peer, Server};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use axum::Extension;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use std::sync::Arc;
use sund_ota::fault::{Blame, Fault};
use tokio::sync::Semaphore;

/// `__Host-` makes browsers refuse it from a subdomain, from plain HTTP, or with another path.
const COOKIE: &str = "__Host-sund-channel";

/// The argon2id hash of a password, in PHC form, for `channel.toml`.
pub fn hash_password(password: &str) -> Result<String, Fault> {
    let failed = || Fault::new("password-unhashed", Blame::Channel, "The password could not be hashed.");
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| failed())?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| failed())?;
    Ok(argon2().hash_password(password.as_bytes(), &salt).map_err(|_| failed())?.to_string())
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// The login of a running server.
pub(crate) struct Door {
    users: Vec<User>,
    /// Checked for people who do not exist, so that the time of an answer does not say who does.
    nobody: String,
    sessions: Sessions,
    throttle: Throttle,
    checks: Semaphore,
}

impl Door {
    pub fn new(users: Vec<User>) -> Result<Self, Fault> {
        Ok(Self {
            users,
            nobody: hash_password("")?,
            sessions: Sessions::default(),
            throttle: Throttle::default(),
            checks: Semaphore::new(MAX_LOGINS_AT_ONCE),
        })
    }

    /// The person whose session the request's cookie belongs to.
    pub fn user(&self, headers: &HeaderMap) -> Option<(String, Role)> {
        let name = self.sessions.user(token(headers)?)?;
        self.users.iter().find(|user| user.name == name).map(|user| (name, user.role))
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    cookies.flat_map(|v| v.split("; ")).find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('='))
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    user: String,
    password: String,
}

/// `GET /login`
pub(super) async fn page() -> Response {
    assets::login("").into_response()
}

/// `POST /login`
pub(super) async fn login(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Form(given): Form<Credentials>,
) -> Response {
    let door = &server.door;
    let user = door.users.iter().find(|user| user.name == given.user);
    let (name, address) = (user.map(|u| u.name.as_str()), peer.address.ip());
    if door.throttle.waits(address, name) {
        let page = assets::login("Too many failed attempts. Wait a minute, then try again.");
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "60")], page).into_response();
    }
    door.throttle.count(address, name);
    let hash = user.map_or_else(|| door.nobody.clone(), |user| user.hash.clone());
    let right = check(door, hash, given.password).await;
    let (Some(name), true) = (name, right) else {
        tracing::warn!(%address, user = name, "a login was refused");
        return (StatusCode::UNAUTHORIZED, assets::login("User name or password is wrong.")).into_response();
    };
    let session = if act(&server, name, "login").await { door.sessions.begin(name) } else { None };
    let Some(token) = session else {
        let page = assets::login("Logins cannot be recorded at the moment, so none is possible.");
        return (StatusCode::SERVICE_UNAVAILABLE, page).into_response();
    };
    door.throttle.forget(address, name);
    ([(header::SET_COOKIE, cookie(&token, SESSION_LIFE.as_secs()))], Redirect::to("/")).into_response()
}

/// `POST /logout`
pub(super) async fn logout(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    if let Some(name) = token(&headers).and_then(|token| server.door.sessions.end(token)) {
        act(&server, &name, "logout").await;
    }
    ([(header::SET_COOKIE, cookie("", 0))], Redirect::to("/login")).into_response()
}

fn cookie(token: &str, life: u64) -> String {
    format!("{COOKIE}={token}; Path=/; Max-Age={life}; HttpOnly; Secure; SameSite=Strict")
}

/// Checks a password off the event loop, a few at a time.
async fn check(door: &Door, hash: String, password: String) -> bool {
    let Ok(_permit) = door.checks.acquire().await else { return false };
    let checked = tokio::task::spawn_blocking(move || {
        password.len() <= MAX_CREDENTIAL
            && PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
    });
    checked.await.unwrap_or(false)
}

/// True when it was written down.
async fn act(server: &Server, who: &str, what: &'static str) -> bool {
    let who = who.to_owned();
    server.database.write(move |c| record(c, &who, what, "")).await.is_ok()
}
