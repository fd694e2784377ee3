//! The state of an agent in figures and in names of the configuration.
use crate::refusals;
use crate::status::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is told of a state; of studies how many there are of each kind, and which codes their timelines have.
pub fn figures(status: &Status) -> Value {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for study in &status.studies {
        *states.entry(&study.state).or_default() += 1;
        for code in study.timeline.iter().filter_map(|moment| refusals::known(moment.code.as_deref()?)) {
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
        "held_until": status.held_until.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
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
