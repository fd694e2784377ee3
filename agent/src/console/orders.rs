//! What a person with a browser has the node do: switch a model off and on, take back what one has made, send again what was given up. On
//! a production box there is no shell to do it by. Only who has logged in and may order is heard, and only once the audit log says who it was.
use super::login::record;
use super::server::{Caller, Server};
use crate::audit::Event;
use crate::counted::counted;
use crate::fault::{Blame, Fault};
use crate::limits::console::{ORDER_KEPT, ORDER_WAIT};
use crate::recall::{Counts, Reason, Report, Which};
use axum::Extension;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, timeout_at};

/// An order, as the page sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Switch a model off at once, until it is resumed.
    Suspend {
        /// Name of its package.
        package: String,
        /// Why.
        reason: Reason,
    },
    /// Take a suspension back.
    Resume {
        /// Name of the package.
        package: String,
    },
    /// Queue again what was given up or is held.
    Requeue {
        /// Name of the destination.
        destination: String,
    },
    /// Recall the results of a package.
    Recall {
        /// Whose results.
        package: Which,
        /// Why; `None` for a dry run, which only tells.
        reason: Option<Reason>,
    },
}

impl Order {
    /// What the audit log calls it.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Suspend { .. } => "suspend",
            Self::Resume { .. } => "resume",
            Self::Requeue { .. } => "requeue",
            Self::Recall { .. } => "recall",
        }
    }

    /// What it is about.
    fn object(&self) -> String {
        match self {
            Self::Suspend { package, .. } | Self::Resume { package } => package.clone(),
            Self::Requeue { destination } => destination.clone(),
            Self::Recall { package, .. } => package.to_string(),
        }
    }

    /// True where it only tells.
    fn is_dry(&self) -> bool {
        matches!(self, Self::Recall { reason: None, .. })
    }

    /// True where it looks through the whole spool, so that one at a time does. A model can be switched off meanwhile.
    fn takes_long(&self) -> bool {
        matches!(self, Self::Recall { .. } | Self::Requeue { .. })
    }
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// The suspension is kept, or was taken back.
    Suspended {
        /// Name of the package.
        package: String,
        /// Whether it is off now.
        off: bool,
    },
    /// Queued again: this many results.
    Requeued {
        /// Results.
        results: u64,
    },
    /// Recalled, or what a recall would find.
    Recalled(Recalled),
}

/// A recall in numbers: which studies they are is no matter of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// Whose results.
    pub package: Which,
    /// True where it was only asked what a recall would find.
    pub dry: bool,
    /// Studies with results of the package.
    pub studies: u64,
    /// Studies of which not all could be done; the agent's log and the studies' timelines say why.
    pub not_done: u64,
    /// By destination.
    pub destinations: BTreeMap<String, Counts>,
    /// Jobs that have not ended.
    pub open_jobs: u64,
    /// Models that still serve, and make more of what is taken back.
    pub still_on: Vec<String>,
}

impl From<Report> for Recalled {
    fn from(report: Report) -> Self {
        let mut destinations: BTreeMap<String, Counts> = BTreeMap::new();
        for one in report.studies.iter().flat_map(|study| &study.destinations) {
            let sum = destinations.entry(one.destination.clone()).or_default();
            *sum = *sum + one.counts;
        }
        Self {
            package: report.package,
            dry: report.reason.is_none(),
            studies: report.studies.len() as u64,
            not_done: report.studies.iter().filter(|study| study.fault.is_some()).count() as u64,
            destinations,
            open_jobs: report.open_jobs,
            still_on: report.still_on.into_iter().map(|model| model.package.name).collect(),
        }
    }
}

/// Who carries orders out.
pub trait Operator: Send + Sync + 'static {
    /// Carries one out. Blocks.
    fn carry_out(&self, order: Order) -> Result<Done, Fault>;
}

/// `POST /api/v1/orders`
pub(super) async fn order(
    State(server): State<Arc<Server>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    order: Result<Json<Order>, JsonRejection>,
) -> Response {
    let Some(operator) = server.operator.clone() else { return StatusCode::NOT_FOUND.into_response() };
    // A console without a login does not know who orders.
    let Some((door, user)) = server.door.as_ref().and_then(|door| Some((door, door.user(&headers)?))) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if !door.may_order(&user) {
        let why = format!("{user} may look and not order: that takes `orders = true` in [[console.users]]");
        return refused(StatusCode::FORBIDDEN, &Fault::new("order-not-allowed", Blame::Configuration, why));
    }
    let order = match order {
        Ok(Json(order)) => order,
        Err(why) => return refused(why.status(), &Fault::new("order-unclear", Blame::Peer, why.body_text())),
    };
    // The answer is given in time also where the audit log's disk is slow.
    let end = Instant::now() + ORDER_WAIT;
    if let Some(found) = server.found.take(&order) {
        return Json(found).into_response();
    }
    let unavailable =
        |code: &'static str, why: String| refused(StatusCode::SERVICE_UNAVAILABLE, &Fault::new(code, Blame::Box, why));
    let one = match order.takes_long().then(|| Arc::clone(&server.orders).try_acquire_owned()) {
        Some(Err(_)) => {
            let why = "another order is being carried out; try again in a moment".to_owned();
            return unavailable("order-under-way", why);
        }
        one => one,
    };
    let (operation, about) = (order.operation(), order.object());
    let ordered = Event::ConsoleOrder { user, address: caller.text(), operation, about };
    if !order.is_dry() && !record(&server, ordered).await {
        return unavailable(
            "order-not-recorded",
            "it cannot be recorded who orders this, so it is not done".to_owned(),
        );
    }
    let carried_out = tokio::task::spawn_blocking(move || {
        // For as long as it takes, also where nobody waits for it any more.
        let _one = one;
        let asked = order.is_dry().then(|| order.clone());
        let done = operator.carry_out(order);
        if let (Some(asked), Ok(done), true) = (asked, &done, Instant::now() >= end) {
            server.found.keep(asked, done.clone());
        }
        done
    });
    match timeout_at(end, carried_out).await {
        Ok(Ok(Ok(done))) => Json(done).into_response(),
        Ok(Ok(Err(fault))) => refused(StatusCode::CONFLICT, &fault),
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => {
            let wait = counted(ORDER_WAIT.as_secs(), "second", "seconds");
            let reason = format!("it takes longer than {wait}, and goes on; ask again later what it finds");
            refused(StatusCode::ACCEPTED, &Fault::new("order-goes-on", Blame::Box, reason))
        }
    }
}

/// What a dry run found that took longer than anybody waited for: whoever asks the same again has it.
#[derive(Default)]
pub(super) struct Found(Mutex<Option<(Order, Done, Instant)>>);

impl Found {
    fn keep(&self, order: Order, done: Done) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((order, done, Instant::now()));
    }

    fn take(&self, order: &Order) -> Option<Done> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.take_if(|(asked, ..)| asked == order)?;
        (found.2.elapsed() < ORDER_KEPT).then_some(found.1)
    }
}

fn refused(status: StatusCode, fault: &Fault) -> Response {
    (status, Json(serde_json::json!({ "refused": fault }))).into_response()
}
