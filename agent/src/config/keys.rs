//! Every section and key that a configuration may have. `agent/sund.example.toml` documents each of them.

/// Sections, and the keys of each; the first one is the file itself.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "node",
            "callers",
            "console",
            "spool",
            "study",
            "identity",
            "audit",
            "forward",
            "certificate",
            "vendors",
            "models",
            "golden",
            "destinations",
            "routes",
            "worker",
            "log",
            "channel",
        ],
    ),
    ("node", &["ae_title", "listen", "require_called_ae", "max_associations", "tls", "plain_dicom_exception"]),
    ("node.tls", &["certificate", "key", "client_authorities"]),
    ("node.plain_dicom_exception", &["reason", "approved_by", "until"]),
    ("callers", &["ae_title", "address", "certificate_name"]),
    ("console", &["listen", "allowed_hosts", "metrics_token_file", "tls", "users"]),
    ("console.tls", &["certificate", "key"]),
    ("console.users", &["name", "password_hash", "orders"]),
    ("spool", &["directory", "master_key_file", "quota", "reserve", "segment", "retention"]),
    ("study", &["quiet", "complete_on_association_end"]),
    ("identity", &["uid_key_file"]),
    ("audit", &["directory", "key_file", "keep"]),
    ("forward", &["collector", "authorities", "server_name", "certificate", "key", "format"]),
    ("certificate", &["file", "names", "authorities", "est", "est_authorities", "alarm"]),
    ("models", &["package"]),
    ("golden", &["most_tolerance_ml_percent", "least_dice", "least_overlap", "most_tolerance_score"]),
    ("vendors", &["name", "key"]),
    ("destinations", &["name", "ae_title", "address", "rejection_notes", "tls", "patient_check"]),
    ("destinations.tls", &["authorities", "server_name", "certificate", "key"]),
    ("destinations.patient_check", &["ae_title", "address"]),
    (
        "routes",
        &["name", "called_ae", "callers", "models", "mode", "destinations", "outcome_reports", "deadline", "rules"],
    ),
    (
        "worker",
        &[
            "launcher",
            "socket",
            "memory_limit",
            "timeout",
            "devices",
            "studies_per_gpu",
            "onnxruntime",
            "tensorrt_rtx",
            "tensorrt",
        ],
    ),
    ("log", &["filter", "format"]),
    ("channel", &["socket", "directory", "updater_user", "updater_status", "firewall", "acceptance"]),
];

/// The keys of a section.
pub(super) fn of(section: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}
