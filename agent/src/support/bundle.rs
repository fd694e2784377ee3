//! The bundle: what goes into it, and what it lacks.
use super::{archive, counts, figures, machine, told_of_configuration, told_of_log};
use crate::config;
use crate::fault::{Blame, Fault};
use crate::release::RELEASE;
use crate::status::Status;
use serde_json::Value;
use std::path::Path;
use std::time::SystemTime;

/// One archive for those who help.
pub struct Bundle {
    /// As `tar` reads it.
    pub bytes: Vec<u8>,
    /// What is not in it, and why, for who has asked for it.
    pub lacks: Vec<String>,
}

/// Makes one of the configuration at `own`, of state and metrics, and of a log; or of why there are none. `of_log` is said above
/// the log's lines.
pub fn bundle(
    own: &Path,
    state: Result<(Status, String), String>,
    log: Result<String, String>,
    of_log: &str,
) -> Result<Bundle, Fault> {
    let text = config::read(own).map_err(|problem| {
        Fault::new("configuration-invalid", Blame::Configuration, config::render(own, &[problem]).trim_end())
    })?;
    let mut lacks = Vec::new();
    let checked = config::check(own);
    // Only where and how many: a problem quotes what is written there.
    let problems = match &checked {
        Ok(_) => "the configuration holds\n".to_owned(),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(|problem| problem.line.to_string()).collect();
            format!("these lines do not hold: {}\n", lines.join(", "))
        }
    };
    let (status, metrics) = match state {
        Ok((status, metrics)) => (json(&figures(&status)), metrics),
        Err(why) => {
            lacks.push(format!("state and metrics: {why}"));
            (b"no agent answers\n".to_vec(), String::new())
        }
    };
    let audit = checked.as_ref().ok().map(|config| match counts(&config.audit.dir) {
        Ok(counts) => json(&counts),
        Err(error) => format!("the audit log cannot be read: {}\n", error.kind()).into_bytes(),
    });
    let log = match log {
        Ok(log) => of_log.to_owned() + &told_of_log(&log),
        Err(why) => {
            lacks.push(format!("the log: {why}"));
            "no log was read\n".to_owned()
        }
    };
    let members = [
        ("machine.json", json(&machine(checked.as_ref().ok(), Path::new(RELEASE)))),
        ("status.json", status),
        ("metrics.txt", metrics.into_bytes()),
        ("configuration.toml", told_of_configuration(&text).into_bytes()),
        ("problems.txt", problems.into_bytes()),
        ("audit.json", audit.unwrap_or_else(|| b"{}\n".to_vec())),
        ("log.txt", log.into_bytes()),
    ];
    let bytes = archive(&members).ok_or_else(|| {
        Fault::new("support-unwritable", Blame::Sund, "a part of the bundle has no place in an archive")
    })?;
    Ok(Bundle { bytes, lacks })
}

/// The name of a bundle that is made now.
pub fn name() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "");
    format!("sund-support-{now}.tar")
}

fn json(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
