//! Models, destinations, and the routes between them.
use super::node::{authorities, certificate_and_key};
use super::problem::meant;
use super::reader::Section;
use super::value::{AeTitle, HostPort, Name, Time};
use crate::association::{Caller, Peer};
use crate::deliver::Destination;
use crate::model::Package;
use crate::outcome::Outcome;
use crate::route::{Mode, Route, Selection};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use toml::de::ValueDeserializer;

/// Reads `[[models]]`: each package is opened and its networks' digests are compared.
pub(super) fn packages(root: &Section<'_, '_>) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    for section in root.sections("models", "models") {
        section.require::<PathBuf>("folder");
        let Some(folder) = section.path("folder") else { continue };
        match Package::open(&folder) {
            Ok(package) if packages.iter().any(|known| known.manifest.name == package.manifest.name) => {
                let message = format!("a package named `{}` stands above already", package.manifest.name);
                section.complain("folder", &message, "one version of a model is loaded at a time");
            }
            Ok(package) => packages.push(package),
            Err(fault) => {
                section.complain("folder", &fault.to_string(), &format!("see: sund model check {}", folder.display()));
            }
        }
    }
    packages
}

/// Reads `[[destinations]]`.
pub(super) fn destinations(root: &Section<'_, '_>, calling_ae: &str) -> Vec<Destination> {
    let mut destinations: Vec<Destination> = Vec::new();
    for section in root.sections("destinations", "destinations") {
        let name = section.require::<Name>("name");
        let called_ae = section.require::<AeTitle>("ae_title");
        let address = section.require::<HostPort>("address");
        let tls = section.section("tls", "destinations.tls").map(|tls| client_tls(&tls));
        let (Some(Name(name)), Some(AeTitle(called_ae)), Some(HostPort(address))) = (name, called_ae, address) else {
            continue;
        };
        // TLS that was asked for and cannot be had is a problem, told above; never a plain connection instead.
        let tls = match tls {
            None => None,
            Some(Some(tls)) => Some(tls),
            Some(None) => continue,
        };
        if destinations.iter().any(|known| known.name == name) {
            section.complain("name", &format!("another destination is named `{name}`"), "each needs a name of its own");
        }
        let peer = Peer { calling_ae: calling_ae.to_owned(), called_ae, address, tls };
        let patient_check =
            section.section("patient_check", "destinations.patient_check").map(|check| patient_check(&check, &peer));
        destinations.push(Destination { patient_check, ..Destination::new(name, peer) });
    }
    destinations
}

/// The node to ask: the destination itself, where nothing else is said.
fn patient_check(section: &Section<'_, '_>, destination: &Peer) -> Peer {
    let called_ae = section.value::<AeTitle>("ae_title").map(|title| title.0);
    let address = section.value::<HostPort>("address").map(|address| address.0);
    Peer {
        called_ae: called_ae.unwrap_or_else(|| destination.called_ae.clone()),
        address: address.unwrap_or_else(|| destination.address.clone()),
        ..destination.clone()
    }
}

fn client_tls(section: &Section<'_, '_>) -> Option<(Arc<TlsConnector>, ServerName<'static>)> {
    section.require::<PathBuf>("authorities");
    let authorities = authorities(section, "authorities");
    let name = section.require::<String>("server_name").and_then(|name| match ServerName::try_from(name) {
        Ok(name) => Some(name),
        Err(_) => {
            section.complain("server_name", "is neither a host name nor an IP address", "the name in its certificate");
            None
        }
    });
    let ours = (section.entry("certificate").is_some() || section.entry("key").is_some())
        .then(|| certificate_and_key(section));
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?.with_root_certificates(authorities?);
    let config = match ours {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = pair?;
            match builder.with_client_auth_cert(chain, key) {
                Ok(config) => config,
                Err(error) => {
                    section.complain("certificate", &format!("does not fit its key: {error}"), "");
                    return None;
                }
            }
        }
    };
    Some((Arc::new(TlsConnector::from(Arc::new(config))), name?))
}

/// Reads `[[routes]]`.
pub(super) fn routes(root: &Section<'_, '_>, packages: &[Package], callers: &[Caller]) -> Vec<Route> {
    let models: Vec<&str> = packages.iter().map(|package| package.manifest.name.as_str()).collect();
    // By their names alone: one with problems of its own is told where it stands.
    let sections = root.sections_quietly("destinations", "destinations");
    let nodes: Vec<&str> = sections.iter().filter_map(|section| section.entry("name")?.get_ref().as_str()).collect();
    // The name of a package that could not be opened is not known.
    let all_opened = packages.len() == root.sections_quietly("models", "models").len();
    let may_call: Vec<&str> = callers.iter().map(|caller| caller.ae_title.as_str()).collect();
    let mut routes: Vec<Route> = Vec::new();
    for section in root.sections("routes", "routes") {
        let name = section.require::<Name>("name");
        let titles = |key| section.value_or::<Vec<AeTitle>>(key, Vec::new()).into_iter().map(|ae| ae.0).collect();
        let route = Route {
            name: name.map_or_else(String::new, |name| name.0),
            called_ae: titles("called_ae"),
            callers: titles("callers"),
            selection: rules(&section),
            models: section.require("models").unwrap_or_default(),
            mode: section.value_or("mode", Mode::Shadow),
            destinations: section.value_or("destinations", Vec::new()),
            outcome_reports: section.value_or("outcome_reports", vec![Outcome::Failed, Outcome::TooLate]),
            deadline: section.value::<Time>("deadline").map(|time| time.0),
        };
        if all_opened {
            known(&section, "models", &route.models, &models, "model");
        }
        known(&section, "destinations", &route.destinations, &nodes, "destination");
        if !callers.is_empty() {
            known(&section, "callers", &route.callers, &may_call, "caller");
        }
        if section.entry("models").is_some() && route.models.is_empty() {
            section.complain("models", "names no model", "name at least one");
        }
        if route.mode != Mode::Shadow && route.destinations.is_empty() {
            section.complain("mode", "sends results, and the route names no destination", "add `destinations`");
        }
        if routes.iter().any(|known| known.name == route.name && !route.name.is_empty()) {
            let message = format!("another route is named `{}`", route.name);
            section.complain("name", &message, "each needs a name of its own");
        }
        routes.push(route);
    }
    routes
}

/// Names that another section must know.
fn known(section: &Section<'_, '_>, key: &'static str, names: &[String], among: &[&str], what: &str) {
    for (n, name) in names.iter().enumerate() {
        if names[..n].contains(name) {
            section.complain(key, &format!("`{name}` stands here twice"), "");
        }
        if among.contains(&name.as_str()) {
            continue;
        }
        let help = match meant(name, among.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None if among.is_empty() => format!("no {what} is configured"),
            None => format!("known here: {}", among.join(", ")),
        };
        section.complain(key, &format!("there is no {what} `{name}`"), &help);
    }
}

/// What a series must be beyond the model's own rule, in the same words.
fn rules(section: &Section<'_, '_>) -> Selection {
    let Some(value) = section.entry("rules") else { return Selection::default() };
    match Selection::deserialize(ValueDeserializer::from(value.clone())) {
        Ok(selection) => selection,
        Err(error) => {
            let offset = error.span().map_or(value.span().start, |span| span.start);
            section.complain_at(offset, "rules", error.message(), "the words are those of [selection] in a package");
            Selection::default()
        }
    }
}
