//! The state of an agent in figures and in names of the configuration.
use crate::status::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Every code that stands in agent/REFUSALS.md.
const REFUSALS: &str = include_str!("../../REFUSALS.md");

/// True for a code of this program's own; a worker, which reads what came from outside, could make up others.
pub(super) fn is_known_code(code: &str) -> bool {
    REFUSALS.split('`').skip(1).step_by(2).any(|known| known == code)
}

/// What is told of a state; of studies how many there are of each kind, and which codes their timelines have.
pub fn figures(status: &Status) -> Value {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for study in &status.studies {
        *states.entry(&study.state).or_default() += 1;
        let told = study.timeline.iter().filter_map(|moment| moment.code.as_deref());
        for code in told.filter(|code| is_known_code(code)) {
            *codes.entry(code).or_default() += 1;
        }
    }
    let models: Vec<Value> = status
        .models
        .iter()
        .map(|model| {
            json!({
                "name": model.name, "version": model.version, "digest": model.digest, "mode": model.mode,
                "engine": model.engine, "state": model.state, "outcomes": model.outcomes,
            })
        })
        .collect();
    let destinations: Vec<Value> = status
        .destinations
        .iter()
        .map(|to| {
            json!({
                "name": to.name, "waiting": to.waiting, "delivered": to.delivered, "dead": to.dead, "held": to.held,
                "in_trouble": to.trouble.is_some(),
            })
        })
        .collect();
    let running = status.queue.iter().filter(|job| job.state == "running").count();
    json!({
        "version": status.version,
        "started": humantime::format_rfc3339_seconds(status.started).to_string(),
        "draining": status.draining,
        "state": status.state,
        "associations": status.node.associations,
        "received": status.node.received,
        "spool": status.spool,
        "certificate": status.certificate.as_ref().map(|certificate| json!({
            "not_after": certificate.not_after.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
            "renews": certificate.renews, "alarm": certificate.alarm, "in_trouble": certificate.trouble.is_some(),
        })),
        "forward": status.forward.as_ref().map(|forward| json!({
            "collected": forward.collected, "waiting": forward.waiting, "in_trouble": forward.trouble.is_some(),
        })),
        "models": models,
        "workers": status.workers.len(),
        "gpus_left": status.gpus_left.len(),
        "destinations": destinations,
        "jobs": { "running": running, "waiting": status.queue.len() - running },
        "studies": states,
        "codes": codes,
    })
}
