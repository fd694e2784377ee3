//! What a document becomes on a box: files with their names below `/etc/sund`. Most are written by every document; what one may leave
//! out is removed by the next one that does (`place.rs` has the list).
use super::document::{Addresses, Document};
use serde_json::json;
use std::fmt::Write as _;

/// The table with the ways of the clinical network, by the name that networkd has for it: the main one is the management network's, whose
/// ways nothing on the clinical network may take.
const CLINICAL: &str = "clinical";

/// A file: its name, its mode, its content.
pub(super) type File = (String, u32, Vec<u8>);

/// All that follows from the document alone.
pub(super) fn of(document: &Document) -> Result<Vec<File>, String> {
    let network = &document.network;
    let mut files = vec![
        ("root.json".to_owned(), 0o644, document.root.clone().into_bytes()),
        ("channel-ca.pem".to_owned(), 0o644, document.channel_ca.clone().into_bytes()),
        ("sund.toml".to_owned(), 0o640, document.site.clone().into_bytes()),
        // A proxy's address may carry a password.
        ("updater.toml".to_owned(), 0o640, updater(document)?.into_bytes()),
        (
            "network/50-clinical.network.d/10-site.conf".to_owned(),
            0o644,
            addresses(network.clinical.as_ref(), Some(CLINICAL)),
        ),
        (
            "network/50-management.network.d/10-site.conf".to_owned(),
            0o644,
            addresses(network.management.as_ref(), None),
        ),
        ("chrony/site.sources".to_owned(), 0o644, time_servers(document)),
    ];
    if let Some(key) = &document.recovery_key {
        files.push(("escrow.pem".to_owned(), 0o644, key.clone().into_bytes()));
    }
    if let Some(code) = &document.code {
        // Whether it is needed, the enrolment finds out: a box whose certificate is good keeps it.
        files.push(("updater/code".to_owned(), 0o600, format!("{code}\n").into_bytes()));
    }
    for (name, key) in &document.vendors {
        files.push((format!("vendors/{name}.pem"), 0o644, key.clone().into_bytes()));
    }
    Ok(files)
}

/// `updater.toml`.
fn updater(document: &Document) -> Result<String, String> {
    let base = document.server.as_str().trim_end_matches('/');
    let mut server = json!({
        "url": base,
        "ca": "/etc/sund/channel-ca.pem",
        "certificate": "/etc/sund/updater/box.pem",
        "key": document.key.named(),
    });
    if let Some(proxy) = &document.network.proxy {
        server["proxy"] = json!(proxy);
    }
    let mut configuration = json!({
        "id": document.name,
        "tenant": document.tenant,
        "attributes": document.attributes,
        "server": server,
        "repository": {
            "metadata": format!("{base}/repository/metadata"),
            "targets": format!("{base}/repository/targets"),
            "root": "/etc/sund/root.json",
        },
        "agent": { "socket": "/run/sund-agent/channel.sock" },
        "os": {},
    });
    if document.recovery_key.is_some() {
        configuration["escrow"] = json!({ "key": "/etc/sund/escrow.pem" });
    }
    toml::to_string(&configuration).map_err(|error| error.to_string())
}

/// A drop-in of systemd-networkd; the ways are in this table, or in the main one.
fn addresses(addresses: Option<&Addresses>, table: Option<&str>) -> Vec<u8> {
    let Some(addresses) = addresses else { return b"# Addresses come by DHCP.\n".to_vec() };
    let mut text = "[Network]\nDHCP=no\n".to_owned();
    // Into memory: nothing can fail.
    for server in &addresses.dns {
        let _ = writeln!(text, "DNS={server}");
    }
    let _ = writeln!(text, "[Address]\nAddress={}", addresses.address);
    if let Some(table) = table {
        // The kernel has the way to who is on the network itself in the main one.
        let _ = writeln!(text, "AddPrefixRoute=no\n[Route]\nDestination={}\nTable={table}", addresses.address);
    }
    if let Some(gateway) = addresses.gateway {
        let _ = writeln!(text, "[Route]\nGateway={gateway}");
        if let Some(table) = table {
            let _ = writeln!(text, "Table={table}");
        }
    }
    text.into_bytes()
}

/// Sources of chrony.
fn time_servers(document: &Document) -> Vec<u8> {
    let lines = document.network.ntp.iter();
    let lines = lines.map(|server| format!("server {} iburst{}\n", server.host, if server.nts { " nts" } else { "" }));
    std::iter::once("# Time servers of the site.\n".to_owned()).chain(lines).collect::<String>().into_bytes()
}
