//! A configuration with the values of listed keys alone.
use toml::{Table, Value};

/// What stands for a value that was left out.
pub const LEFT_OUT: &str = "(left out)";
/// Longest text that is taken; none of what is listed needs more.
const MAX_TEXT: usize = 256;

/// Sections, and the keys in them whose values are taken: numbers, switches, names of nodes and of models. Paths, secrets, reasons,
/// people and what a route asks of a patient are not among them.
const TAKEN: &[(&str, &[&str])] = &[
    ("node", &["ae_title", "listen", "require_called_ae", "max_associations"]),
    ("node.plain_dicom_exception", &["until"]),
    ("callers", &["ae_title", "address", "certificate_name"]),
    ("console", &["listen", "allowed_hosts"]),
    ("spool", &["quota", "reserve", "segment", "retention"]),
    ("study", &["quiet", "complete_on_association_end"]),
    ("audit", &["keep"]),
    ("forward", &["collector", "server_name", "format"]),
    ("certificate", &["names", "alarm"]),
    ("golden", &["most_tolerance_ml_percent", "least_dice", "least_overlap", "most_tolerance_score"]),
    ("destinations", &["name", "ae_title", "address", "rejection_notes"]),
    ("destinations.tls", &["server_name"]),
    ("destinations.patient_check", &["ae_title", "address"]),
    ("routes", &["name", "called_ae", "callers", "models", "mode", "destinations", "outcome_reports", "deadline"]),
    ("worker", &["launcher", "memory_limit", "timeout", "devices", "studies_per_gpu"]),
    ("log", &["filter", "format"]),
];

/// A configuration for a support bundle. Comments and unknown keys are gone.
pub fn told(text: &str) -> String {
    match toml::from_str::<Table>(text) {
        Ok(table) => toml::to_string(&section("", &table)).unwrap_or_default(),
        Err(_) => "# The configuration is not TOML.\n".to_owned(),
    }
}

fn section(path: &str, table: &Table) -> Table {
    let taken = TAKEN.iter().find(|(name, _)| *name == path).map_or(&[][..], |(_, keys)| keys);
    let known = crate::config::KEYS.iter().find(|(name, _)| *name == path).map_or(&[][..], |(_, keys)| keys);
    let mut told = Table::new();
    for (key, value) in table.iter().filter(|(key, _)| known.contains(&key.as_str())) {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let is_section = crate::config::KEYS.iter().any(|(name, _)| *name == below);
        let value = match value {
            Value::Table(table) if is_section => Value::Table(section(&below, table)),
            Value::Array(entries) if is_section => {
                let tables = entries.iter().filter_map(Value::as_table);
                Value::Array(tables.map(|table| Value::Table(section(&below, table))).collect())
            }
            value if taken.contains(&key.as_str()) && is_plain(value) => value.clone(),
            _ => Value::String(LEFT_OUT.to_owned()),
        };
        told.insert(key.clone(), value);
    }
    told
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= MAX_TEXT,
        Value::Array(values) => values.iter().all(|value| !value.is_array() && is_plain(value)),
        Value::Table(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_configuration_only_listed_values_are_told() {
        let text = "# of Quillfeather\n[node]\nae_title = \"SUND\"\nQuillfeather = 1\n[node.plain_dicom_exception]\n\
                    reason = \"Quillfeather's scan\"\nuntil = 2027-06-30\n[spool]\ndirectory = \"/Quillfeather\"\n\
                    [[routes]]\nname = \"neuro\"\n[routes.rules]\nrequire = [{ attribute = \"PatientName\", one_of = [\"Quillfeather\"] }]\n\
                    [[console.users]]\nname = \"Quillfeather\"\npassword_hash = \"secret\"\n[Quillfeather]\n";
        let told = told(text);
        assert!(!told.contains("Quillfeather") && !told.contains("secret"), "{told}");
        for kept in ["ae_title = \"SUND\"", "until = 2027-06-30", "name = \"neuro\"", LEFT_OUT] {
            assert!(told.contains(kept), "{kept}: {told}");
        }
    }

    #[test]
    fn every_key_whose_value_is_taken_is_a_key_of_the_configuration() {
        for (section, keys) in TAKEN {
            let (_, known) = crate::config::KEYS.iter().find(|(name, _)| name == section).unwrap();
            assert!(keys.iter().all(|key| known.contains(key)), "{section}");
        }
    }
}
