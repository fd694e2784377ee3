//! Login and logout: argon2id, one cookie, one throttle, one line in the audit log.
use super::assets;
use super::server::{Caller, Server};
use super::sessions::{Sessions, Throttle};
use crate::audit::Event;
use crate::fault::{Blame, Fault};
use crate::limits::console::{MAX_CREDENTIAL, MAX_LOGINS_AT_ONCE, SESSION_LIFE};
use crate::metrics::{self, LoginResult};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use axum::Extension;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// `__Host-` makes browsers refuse it from a subdomain, from plain HTTP, or with another path.
const COOKIE: &str = "__Host-sund";

/// A person who may log in.
#[derive(Clone)]
pub struct User {
    name: String,
    hash: String,
    orders: bool,
}

impl User {
    /// A user by name and argon2id hash in PHC form (`$argon2id$v=19$m=…`), as [`hash_password`] makes it.
    pub fn new(name: &str, hash: &str) -> Result<Self, Fault> {
        let refuse = |why: &str| {
            let reason = format!("The console's user {name:?} cannot be taken: {why}.");
            Fault::new("console-user", Blame::Configuration, reason)
        };
        if name.is_empty() || name.len() > MAX_CREDENTIAL {
            return Err(refuse("the name is empty or too long"));
        }
        let parsed = PasswordHash::new(hash).map_err(|_| refuse("the password's hash is not in PHC form"))?;
        if parsed.algorithm != Algorithm::Argon2id.ident() {
            return Err(refuse("the password's hash is not argon2id"));
        }
        let cost = Params::try_from(&parsed).map_err(|_| refuse("the hash's parameters are out of range"))?;
        if cost.m_cost() < Params::DEFAULT_M_COST || cost.m_cost() > 16 * Params::DEFAULT_M_COST || cost.t_cost() > 16 {
            return Err(refuse(
                "the hash takes too little or too much memory or time (19 to 304 MiB, at most 16 passes)",
            ));
        }
        Ok(Self { name: name.into(), hash: hash.into(), orders: false })
    }

    /// The same user, who may have models switched off, results recalled and sent again. Others look alone.
    #[must_use]
    pub fn ordering(self) -> Self {
        Self { orders: true, ..self }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Who may look at the console and who may order there, and who may scrape `/metrics`.
#[derive(Clone, Debug)]
pub struct Login {
    users: Vec<User>,
    metrics_token: Option<Zeroizing<String>>,
}

impl Login {
    /// At least one user. `metrics_token`, sent as `Authorization: Bearer …`, opens `/metrics` alone.
    pub fn new(users: Vec<User>, metrics_token: Option<String>) -> Result<Self, Fault> {
        let refuse = |reason: &str| Err(Fault::new("console-login", Blame::Configuration, reason));
        if users.is_empty() {
            return refuse("The console's login has no user.");
        }
        if metrics_token.as_ref().is_some_and(|token| token.len() < 32) {
            return refuse("The token for /metrics is shorter than 32 characters.");
        }
        Ok(Self { users, metrics_token: metrics_token.map(Zeroizing::new) })
    }
}

/// The argon2id hash of a password, in PHC form, for the configuration file.
pub fn hash_password(password: &str) -> Result<String, Fault> {
    let failed = || Fault::new("console-password", Blame::Box, "The password could not be hashed.");
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| failed())?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| failed())?;
    Ok(argon2().hash_password(password.as_bytes(), &salt).map_err(|_| failed())?.to_string())
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// The login of a running console.
pub(super) struct Door {
    login: Login,
    /// Checked for users who do not exist, so that the time of an answer does not say who does.
    nobody: String,
    pub sessions: Sessions,
    throttle: Throttle,
    checks: Semaphore,
}

impl Door {
    pub fn new(login: Login) -> Result<Self, Fault> {
        Ok(Self {
            login,
            nobody: hash_password("")?,
            sessions: Sessions::default(),
            throttle: Throttle::default(),
            checks: Semaphore::new(MAX_LOGINS_AT_ONCE),
        })
    }

    /// The user whose session the request's cookie belongs to.
    pub fn user(&self, headers: &HeaderMap) -> Option<String> {
        self.sessions.user(token(headers)?)
    }

    /// Whether this user may order.
    pub fn may_order(&self, user: &str) -> bool {
        self.login.users.iter().any(|known| known.name == user && known.orders)
    }

    /// True when the request carries the token for `/metrics`.
    pub fn may_scrape(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
        match (given, &self.login.metrics_token) {
            (Some(given), Some(token)) => given.ct_eq(token.as_bytes()).into(),
            _ => false,
        }
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
pub(super) async fn page(State(server): State<Arc<Server>>) -> Response {
    if server.door.is_some() { assets::login("").into_response() } else { Redirect::to("/").into_response() }
}

/// `POST /login`
pub(super) async fn login(
    State(server): State<Arc<Server>>,
    Extension(caller): Extension<Caller>,
    Form(given): Form<Credentials>,
) -> Response {
    let Some(door) = &server.door else { return StatusCode::NOT_FOUND.into_response() };
    let user = door.login.users.iter().find(|user| user.name == given.user);
    let (name, address) = (user.map(|u| u.name.as_str()), caller.0.ip());
    if door.throttle.waits(address, name) {
        metrics::login(LoginResult::Throttled);
        let fault = Fault::new("login-throttled", Blame::Peer, "Too many failed logins; wait a minute.");
        record(&server, Event::LoginRefused { user: name.map(Into::into), address: caller.text(), fault }).await;
        let page = assets::login("Too many failed attempts. Wait a minute, then try again.");
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "60")], page).into_response();
    }
    door.throttle.count(address, name);
    let hash = user.map_or_else(|| door.nobody.clone(), |user| user.hash.clone());
    let right = check(door, hash, Zeroizing::new(given.password)).await;
    let (Some(name), true) = (name, right) else {
        metrics::login(LoginResult::Refused);
        let fault = Fault::new("login-refused", Blame::Peer, "User name or password is wrong.");
        record(&server, Event::LoginRefused { user: name.map(Into::into), address: caller.text(), fault }).await;
        return (StatusCode::UNAUTHORIZED, assets::login("User name or password is wrong.")).into_response();
    };
    let begun = Event::LoggedIn { user: name.into(), address: caller.text() };
    let session = if record(&server, begun).await { door.sessions.begin(name) } else { None };
    let Some(token) = session else {
        let page = assets::login("Logins cannot be recorded at the moment, so none is possible.");
        return (StatusCode::SERVICE_UNAVAILABLE, page).into_response();
    };
    door.throttle.forget(address, name);
    metrics::login(LoginResult::Accepted);
    ([(header::SET_COOKIE, cookie(&token, SESSION_LIFE.as_secs()))], Redirect::to("/")).into_response()
}

/// `POST /logout`
pub(super) async fn logout(
    State(server): State<Arc<Server>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let user = server.door.as_ref().and_then(|door| door.sessions.end(token(&headers)?));
    if let Some(user) = user {
        record(&server, Event::LoggedOut { user, address: caller.text() }).await;
    }
    ([(header::SET_COOKIE, cookie("", 0))], Redirect::to("/login")).into_response()
}

fn cookie(token: &str, life: u64) -> String {
    format!("{COOKIE}={token}; Path=/; Max-Age={life}; HttpOnly; Secure; SameSite=Strict")
}

/// Checks a password off the event loop, a few at a time.
async fn check(door: &Door, hash: String, password: Zeroizing<String>) -> bool {
    let Ok(_permit) = door.checks.acquire().await else { return false };
    let checked = tokio::task::spawn_blocking(move || {
        password.len() <= MAX_CREDENTIAL
            && PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
    });
    checked.await.unwrap_or(false)
}

/// True when the event is in the audit log, or there is none.
pub(super) async fn record(server: &Server, event: Event) -> bool {
    let Some(log) = server.audit.clone() else { return true };
    matches!(tokio::task::spawn_blocking(move || log.append(event)).await, Ok(Ok(_)))
}
