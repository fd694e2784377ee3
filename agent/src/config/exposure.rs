//! Nothing is trusted because it is inside: what stands open to the network is told by name, or not at all.
use super::node::Node;
use super::reader::Section;
use super::service::Console;
use super::value::Day;
use crate::association::Caller;
use std::net::SocketAddr;

/// The rules for what can be reached from other machines.
pub(super) fn check(
    root: &Section<'_, '_>,
    node: Option<&Node>,
    callers: &[Caller],
    console: Option<&Console>,
    today: Day,
) {
    let is_open = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
    let (Some(node), Some(section)) = (node, root.section_quietly("node", "node")) else { return };
    let node_is_open = is_open(node.listen);

    if node_is_open && callers.is_empty() {
        let message = format!("{} can be reached from the network, and nobody is named who may call", node.listen);
        section.complain("listen", &message, "name each caller: [[callers]] ae_title, address");
    }
    let is_plain = section.entry("tls").is_none();
    if node_is_open && is_plain && section.entry("plain_dicom_exception").is_none() {
        let message = format!("{} would be plain DICOM, readable by whoever sees the network", node.listen);
        let help = "set [node.tls], or name the exception: [node.plain_dicom_exception] reason, approved_by, until";
        section.complain("listen", &message, help);
    }
    if let Some(exception) = &node.plain_dicom {
        if exception.until < today {
            let message = format!("the exception for plain DICOM ended on {}", exception.until);
            let help = "set [node.tls], or have the exception approved anew with a later `until`";
            section.complain("plain_dicom_exception", &message, help);
        }
        if !node_is_open || !is_plain {
            let help = "remove it; it is for a plain port that can be reached from the network";
            section.complain("plain_dicom_exception", "is not needed here", help);
        }
    }
    // An AE title is a claim that anybody can make, and a certificate of the region's says no more than that its holder
    // belongs there: a name in it, or the address, is what tells callers apart.
    for (caller, entry) in callers.iter().zip(root.sections_quietly("callers", "callers")) {
        if caller.certificate_name.is_some() && !node.callers_prove_themselves {
            let help = "have callers prove who they are: `client_authorities` in [node.tls]";
            entry.complain("certificate_name", "is never asked for", help);
        } else if node_is_open && caller.address.is_none() && caller.certificate_name.is_none() {
            let message = format!("`{}` could be anybody", caller.ae_title);
            let help = "add `address`, or `certificate_name` with `client_authorities` in [node.tls]";
            entry.complain("ae_title", &message, help);
        }
    }
    let Some(console) = console else { return };
    let console_is_open = is_open(console.listen);
    let Some(section) = root.section_quietly("console", "console") else { return };
    if (node_is_open || console_is_open) && (section.entry("tls").is_none() || section.entry("users").is_none()) {
        let message = "this node can be reached from the network, and its console has no TLS or no login";
        section.complain("listen", message, "set [console.tls] and at least one [[console.users]]");
    }
    if console.listen == node.listen && console.listen.port() != 0 {
        section.complain("listen", "is the address of the DICOM node", "each needs a port of its own");
    }
}
