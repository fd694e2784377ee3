//! `sund status`, `sund erase`, `sund requeue`, `sund suspend` and `sund resume`: what the agent that runs says of itself, and what it is asked to do.
use super::{fail, print};
use crate::config;
use crate::control::{Answer, Request, ask};
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::spool::Lack;
use crate::status::Status;
use std::fmt::Write as _;
use std::path::Path;

/// Prints the state, for people or as JSON.
pub(super) async fn status(config: &Path, json: bool) -> Exit {
    match request(config, &Request::Status).await {
        Ok(Answer::Status(status)) if json => match serde_json::to_string_pretty(&status) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => fail(&Fault::new("status-unreadable", Blame::Sund, error.to_string())),
        },
        Ok(Answer::Status(status)) => print(&table(&status)),
        Ok(Answer::Refused(fault)) | Err(fault) => fail(&fault),
        Ok(_) => fail(&unexpected()),
    }
}

/// Erases a study.
pub(super) async fn erase(config: &Path, study: &str) -> Exit {
    match request(config, &Request::Erase { study: study.to_owned() }).await {
        Ok(Answer::Erased { instances }) => {
            print(&format!("erased: {}, results among them\n", counted(instances, "instance", "instances")))
        }
        Ok(Answer::Refused(fault)) | Err(fault) => fail(&fault),
        Ok(_) => fail(&unexpected()),
    }
}

/// Queues again what was given up or is held.
pub(super) async fn requeue(config: &Path, destination: Option<String>) -> Exit {
    match request(config, &Request::Requeue { destination }).await {
        Ok(Answer::Requeued { results }) => {
            print(&format!("queued again: {}\n", counted(results, "result", "results")))
        }
        Ok(Answer::Refused(fault)) | Err(fault) => fail(&fault),
        Ok(_) => fail(&unexpected()),
    }
}

/// Switches a model off, for a reason, or on again.
pub(super) async fn suspend(config: &Path, package: String, reason: Option<String>) -> Exit {
    let asked = match reason {
        Some(reason) => Request::Suspend { package, reason },
        None => Request::Resume { package },
    };
    match request(config, &asked).await {
        Ok(Answer::Suspended { package, off: true }) => print(&format!("suspended: {package} answers nothing\n")),
        Ok(Answer::Suspended { package, off: false }) => print(&format!("resumed: {package}\n")),
        Ok(Answer::Refused(fault)) | Err(fault) => fail(&fault),
        Ok(_) => fail(&unexpected()),
    }
}

pub(super) async fn request(config: &Path, request: &Request) -> Result<Answer, Fault> {
    ask(&config::spool_directory(config)?, request).await
}

pub(super) fn unexpected() -> Fault {
    Fault::new("control-request", Blame::Sund, "the agent answered something else; is it of another version?")
}

fn table(status: &Status) -> String {
    let mut text = String::new();
    let state = match (status.draining, status.spool.lack) {
        (true, _) => "draining",
        (false, None) => "serving",
        (false, Some(Lack::Quota)) => "serving, but full: [spool] quota is used up, and C-STORE is answered A700",
        (false, Some(Lack::Disk)) => "serving, but the spool's disk is full, and C-STORE is answered A700",
        (false, Some(Lack::Stopped)) => "ending: the spool takes no writes any more, see the log",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "sund {}: {state}", status.version);
    if let Some(variant) = &status.variant {
        let _ = writeln!(text, "variant      {}", variant.name);
    }
    let _ = writeln!(text, "node         {} on {}", status.node.ae_title, status.node.address);
    if let Some(state) = &status.state {
        let _ = writeln!(text, "state        {state}, by the channel");
    }
    let (used, quota) = (size(status.spool.bytes), size(status.spool.quota));
    let instances = counted(status.spool.instances, "instance", "instances");
    let _ = writeln!(text, "spool        {used} of {quota}, {instances}");
    if status.spool.unconsidered > 0 {
        let waiting = counted(status.spool.unconsidered, "instance waits", "instances wait");
        let _ = writeln!(text, "             {waiting} for the study to be complete");
    }
    if status.spool.damaged > 0 {
        let places = counted(status.spool.damaged, "place does", "places do");
        let _ = writeln!(text, "             damaged: {places} not read back; check the disk [spool-damaged]");
    }
    if let Some(certificate) = &status.certificate {
        let until = certificate.not_after.map_or("none yet".to_owned(), |at| {
            format!("{}, until {}", certificate.names.join(" "), humantime::format_rfc3339_seconds(at))
        });
        let _ = writeln!(text, "certificate  {until}{}", if certificate.alarm { ": ALARM, see to it" } else { "" });
        if let Some(trouble) = &certificate.trouble {
            let _ = writeln!(text, "             {trouble}");
        }
    }
    if let Some(forward) = &status.forward {
        let counts = format!("{} events sent, {} waiting", forward.collected, forward.waiting);
        let _ = writeln!(text, "audit        collected by {}: {counts}", forward.collector);
        if let Some(trouble) = &forward.trouble {
            let _ = writeln!(text, "             {trouble}");
        }
    }
    for model in &status.models {
        let engine = model.engine.as_deref().unwrap_or("no engine");
        let _ =
            writeln!(text, "model        {} {}: {}, {}, {engine}", model.name, model.version, model.state, model.mode);
        // Of one that serves, its engines say it all.
        if model.state != "active" || model.engines.is_empty() {
            let _ = writeln!(text, "             {}", model.explanation);
        }
        for engine in &model.engines {
            let mark = if engine.serves { "*" } else { "-" };
            let _ = writeln!(text, "             {mark} {}: {}", engine.name, engine.reason);
        }
    }
    for to in &status.destinations {
        let counts = format!("{} waiting, {} delivered, {} dead, {} held", to.waiting, to.delivered, to.dead, to.held);
        let _ = writeln!(text, "destination  {} ({} on {}): {counts}", to.name, to.ae_title, to.address);
        if let Some(trouble) = &to.trouble {
            let _ = writeln!(text, "             {trouble}");
        }
    }
    for worker in &status.workers {
        let device = worker.device.as_deref().unwrap_or("no GPU named");
        let job = worker.job.map_or("free".to_owned(), |job| format!("runs job {job}"));
        let _ = writeln!(text, "worker       {device}: {job}");
    }
    for gpu in &status.gpus_left {
        let device = gpu.device.as_deref().unwrap_or("no GPU named");
        let until = humantime::format_rfc3339_seconds(gpu.until);
        let _ = writeln!(text, "GPU          {device}: left alone until {until} [{}]", gpu.code);
        let _ = writeln!(text, "             lost again and again, at last with: {}", gpu.reason);
    }
    let running = status.queue.iter().filter(|job| job.state == "running").count();
    let _ = writeln!(text, "queue        {running} running, {} waiting", status.queue.len() - running);
    if let Some(until) = status.held_until {
        let until = humantime::format_rfc3339_seconds(until);
        let _ =
            writeln!(text, "             none begins before {until}: the updater has asked for it, to restart the box");
    }
    for state in ["receiving", "running", "done", "delivered", "held", "refused", "failed"] {
        let count = status.studies.iter().filter(|study| study.state == state).count();
        if count > 0 {
            let _ = writeln!(text, "studies      {count} {state}");
        }
    }
    text
}

/// In GiB, or in MiB where it is less than one.
fn size(bytes: u64) -> String {
    let unit = |exponent: u32| bytes as f64 / f64::from(1 << exponent);
    if bytes < 1 << 30 { format!("{:.1} MiB", unit(20)) } else { format!("{:.1} GiB", unit(30)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_of_a_debug_variant_says_so_before_all_else() {
        let mut status = json!({
            "format": 1, "version": "0.1.0", "started": "2026-11-23T08:00:00.000Z", "draining": false,
            "node": { "ae_title": "SUND", "address": "127.0.0.1:11112", "associations": 0, "received": 0 },
            "spool": { "bytes": 0, "quota": 1, "instances": 0, "accepting": true, "lack": null, "damaged": 0 },
            "models": [], "workers": [], "destinations": [], "queue": [], "studies": [],
        });
        let second = |status: &serde_json::Value| {
            table(&serde_json::from_value(status.clone()).unwrap()).lines().nth(1).map(str::to_owned)
        };
        assert_eq!(second(&status).unwrap(), "node         SUND on 127.0.0.1:11112");
        status["variant"] = json!({ "id": "debug", "name": "DEBUG: not for patients" });
        assert_eq!(second(&status).unwrap(), "variant      DEBUG: not for patients");
    }
}
