//! The manifest with other entries; all that its author wrote, comments among it, stays as it is.
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::model::MAX_MANIFEST;
use crate::model::compiled::Compiled;
use crate::model::{MANIFEST, Package};
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, value};

/// The manifest with these compiled engines, in the place of those of the same networks, class, precision and version.
pub(super) fn with(package: &Package, entries: &[Compiled]) -> Result<String, Fault> {
    let mut document = document(package)?;
    let item = document.entry("compiled").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let known = item.as_array_of_tables_mut().ok_or_else(|| {
        invalid("`compiled` is written as a list in one line: write [[compiled]] above each entry".to_owned())
    })?;
    known.retain(|table| {
        let text = |key| table.get(key).and_then(Item::as_str).unwrap_or_default();
        !entries.iter().any(|entry| {
            [text("network"), text("class"), text("precision"), text("version")]
                == [&entry.network, &entry.class, &entry.precision, &entry.version].map(String::as_str)
        })
    });
    for entry in entries {
        let mut table = Table::new();
        for (key, text) in [
            ("network", &entry.network),
            ("class", &entry.class),
            ("precision", &entry.precision),
            ("version", &entry.version),
        ] {
            table.insert(key, value(text));
        }
        table.insert("architectures", value(entry.architectures.iter().collect::<Array>()));
        table.insert("file", value(&entry.file));
        table.insert("sha256", value(&entry.sha256));
        known.push(table);
    }
    Ok(document.to_string())
}

/// The manifest of a package with these networks that is validated for ONNX Runtime alone.
pub(super) fn on_onnxruntime(package: &Package, networks: &BTreeMap<&str, &[u8]>) -> Result<String, Fault> {
    let mut document = document(package)?;
    let mut engine = InlineTable::new();
    engine.insert("class", "onnxruntime".into());
    engine.insert("precision", "fp32".into());
    document.insert("engines", value(Array::from_iter([engine])));
    document.remove("compiled");
    for (n, network) in package.manifest.networks.iter().enumerate() {
        let Some(bytes) = networks.get(network.name.as_str()) else { continue };
        let sha256 =
            document.get_mut("networks").and_then(|list| list.get_mut(n)).and_then(|one| one.get_mut("sha256"));
        let sha256 = sha256.ok_or_else(|| invalid(format!("network {} has no digest", network.name)))?;
        *sha256 = value(hex(digest(&SHA256, bytes).as_ref()));
    }
    Ok(document.to_string())
}

fn document(package: &Package) -> Result<DocumentMut, Fault> {
    let bytes = package.contents.read(MANIFEST, MAX_MANIFEST).map_err(invalid)?;
    let text = String::from_utf8(bytes).map_err(|_| invalid(format!("{MANIFEST} is not UTF-8")))?;
    text.parse().map_err(|error: toml_edit::TomlError| invalid(format!("{MANIFEST} is not TOML: {}", error.message())))
}

fn invalid(reason: String) -> Fault {
    Fault::new("package-invalid", Blame::Package, reason)
}
