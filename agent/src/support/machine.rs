//! The machine: processor, memory, disks, kernel, system. No name of it, no address, no serial number.
use crate::config::Config;
use crate::release::Release;
use serde_json::{Value, json};
use std::path::Path;

/// What the machine is, with the system that names itself in `release`.
pub fn machine(config: Option<&Config>, release: &Path) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str, divider: char| {
        let lines = text.lines().filter_map(|line| line.split_once(divider));
        lines.clone().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let (memory, system) = (read("/proc/meminfo"), Release::read(release));
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
        "system": system.value("NAME"),
        "system_version": system.value("VERSION_ID"),
        "system_variant": system.variant(),
        "nvidia_driver": read("/proc/driver/nvidia/version").lines().next().unwrap_or_default(),
        "load": read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>(),
        "spool_disk": config.and_then(|config| disk(&config.spool.directory)),
        "audit_disk": config.and_then(|config| disk(&config.audit.dir)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_of_a_debug_variant_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("os-release");
        std::fs::write(&release, "NAME=Sund\nVARIANT_ID=debug\nVARIANT=\"DEBUG: not for patients\"\n").unwrap();
        let told = machine(None, &release);
        assert_eq!(told["system"], "Sund");
        assert_eq!(told["system_variant"], json!({ "id": "debug", "name": "DEBUG: not for patients" }));
        std::fs::write(&release, "NAME=Sund\n").unwrap();
        assert_eq!(machine(None, &release)["system_variant"], Value::Null);
    }
}
