//! The fleet page: which box runs what, how rollouts go, and what failed in the box's own words.
mod api;
mod assets;
mod guard;
mod login;
mod sessions;

pub(crate) use login::Door;
pub use login::hash_password;

use crate::limits::people::MAX_CREDENTIAL;
use crate::server::Server;
use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Params};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What a person who has logged in may do. Each looks; an operator approves nothing, and an approver begins nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Starts, pauses, resumes, stops and retries rollouts.
    Operator,
    /// Agrees to rollouts of others, and may pause and stop.
    Approver,
}

/// A person who may log in.
#[derive(Clone)]
pub struct User {
    name: String,
    role: Role,
    hash: String,
}

impl User {
    /// A person by name, role and argon2id hash in PHC form (`$argon2id$v=19$m=…`), as [`hash_password`] makes it.
    pub fn new(name: &str, role: Role, hash: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("the user {name:?} cannot be taken: {why}"));
        if name.is_empty() || name.len() > MAX_CREDENTIAL {
            return refuse("the name is empty or too long");
        }
        let Ok(parsed) = PasswordHash::new(hash) else { return refuse("the password's hash is not in PHC form") };
        if parsed.algorithm != Algorithm::Argon2id.ident() {
            return refuse("the password's hash is not argon2id");
        }
        let Ok(cost) = Params::try_from(&parsed) else { return refuse("the hash's parameters are out of range") };
        if cost.m_cost() < Params::DEFAULT_M_COST || cost.m_cost() > 16 * Params::DEFAULT_M_COST || cost.t_cost() > 16 {
            return refuse("the hash takes too little or too much memory or time (19 to 304 MiB, at most 16 passes)");
        }
        Ok(Self { name: name.into(), role, hash: hash.into() })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// The page's routes.
pub(crate) fn routes(server: Arc<Server>) -> Router<Arc<Server>> {
    Router::new()
        .route("/", get(assets::index))
        .route("/assets/{name}", get(assets::asset))
        .route("/login", get(login::page).post(login::login))
        .route("/logout", post(login::logout))
        .route("/api/v1/session", get(api::session))
        .route("/api/v1/overview", get(api::overview))
        .route("/api/v1/devices", get(api::devices))
        .route("/api/v1/rollouts", get(api::rollouts).post(api::make))
        .route("/api/v1/rollouts/{name}/{order}", post(api::order))
        .route("/api/v1/events", get(api::events))
        .layer(from_fn_with_state(server, guard::guard))
}
