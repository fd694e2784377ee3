//! The machine: processor, memory, disks, kernel, system. No name of it, no address, no serial number.
use crate::config::Config;
use serde_json::{Value, json};
use std::path::Path;

/// What the machine is.
pub fn machine(config: Option<&Config>) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str, divider: char| {
        let lines = text.lines().filter_map(|line| line.split_once(divider));
        lines.clone().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let (memory, system) = (read("/proc/meminfo"), read("/etc/os-release"));
    let disk = |path: &Path| {
        let stat = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(json!({ "bytes": bytes(stat.f_blocks), "free": bytes(stat.f_bavail) }))
    };
    json!({
        "sund": env!("CARGO_PKG_VERSION"),
        "architecture": std::env::consts::ARCH,
        "processor": field(&read("/proc/cpuinfo"), "model name", ':'),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field(&memory, "MemTotal", ':'),
        "memory_available": field(&memory, "MemAvailable", ':'),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "system": field(&system, "NAME", '='),
        "system_version": field(&system, "VERSION_ID", '='),
        "nvidia_driver": read("/proc/driver/nvidia/version").lines().next().unwrap_or_default(),
        "load": read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>(),
        "spool_disk": config.and_then(|config| disk(&config.spool.directory)),
        "audit_disk": config.and_then(|config| disk(&config.audit.dir)),
    })
}
