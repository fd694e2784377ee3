//! Models, destinations, and the routes between them.
use super::channel::RoutePlan;
use super::node::{authorities, live_pair};
use super::problem::meant;
use super::reader::Section;
use super::value::{AeTitle, HostPort, Name, Percent, Share, Time};
use crate::association::{Caller, Peer};
use crate::deliver::Destination;
use crate::fault::Fault;
use crate::model::manifest::Manifest;
use crate::model::signed::Verifier;
use crate::model::{Floors, Package};
use crate::outcome::Outcome;
use crate::route::{Mode, Route, Selection};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use toml::de::ValueDeserializer;

/// Whose packages serve: what a vendor calls itself in a manifest, and a key of its.
#[derive(Clone)]
pub(super) struct Vendor {
    pub(super) name: String,
    pub(super) key: Verifier,
}

/// Reads `[[vendors]]`; several entries of one name are several keys.
pub(super) fn vendors(root: &Section<'_, '_>) -> Vec<Vendor> {
    let mut vendors = Vec::new();
    for section in root.sections("vendors", "vendors") {
        let name = section.require::<String>("name");
        section.require::<PathBuf>("key");
        let Some(path) = section.path("key") else { continue };
        match (name, Verifier::read(&path)) {
            (Some(name), Ok(key)) => vendors.push(Vendor { name, key }),
            (None, Ok(_)) => {}
            (_, Err(fault)) => section.complain("key", &fault.to_string(), ""),
        }
    }
    vendors
}

/// Reads `[[models]]`: each package is opened, its digests are compared, and the signature of its vendor is looked for.
pub(super) fn packages(root: &Section<'_, '_>, vendors: &[Vendor]) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    for section in root.sections("models", "models") {
        section.require::<PathBuf>("package");
        let Some(path) = section.path("package") else { continue };
        match Package::open(&path).and_then(|package| signed(package, vendors)) {
            Ok(package) if packages.iter().any(|known| known.manifest.name == package.manifest.name) => {
                let message = format!("a package named `{}` stands above already", package.manifest.name);
                section.complain("package", &message, "one version of a model is loaded at a time");
            }
            Ok(package) => packages.push(package),
            Err(fault) => {
                section.complain("package", &fault.to_string(), &format!("see: sund model check {}", path.display()));
            }
        }
    }
    packages
}

/// The package, with the key of its vendor that has signed it.
pub(super) fn signed(mut package: Package, vendors: &[Vendor]) -> Result<Package, Fault> {
    let envelope = package.envelope()?;
    let name = package.manifest.vendor.as_str();
    let mut keys = vendors.iter().filter(|vendor| vendor.name == name).map(|vendor| vendor.key);
    package.signed_by = envelope.and_then(|envelope| keys.find(|key| envelope.is_signed_by(key)));
    Ok(package)
}

/// Reads `[golden]`.
pub(super) fn floors(root: &Section<'_, '_>) -> Floors {
    let Some(section) = root.section("golden", "golden") else { return Floors::default() };
    let share = |key| section.value::<Share>(key).map(|share| share.0);
    Floors {
        most_tolerance_ml_percent: section.value::<Percent>("most_tolerance_ml_percent").map(|percent| percent.0),
        least_dice: share("least_dice"),
        least_overlap: share("least_overlap"),
        most_tolerance_score: share("most_tolerance_score"),
    }
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
        let takes_rejections = section.value_or("rejection_notes", false);
        destinations.push(Destination { patient_check, takes_rejections, ..Destination::new(name, peer) });
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
    let ours = (section.entry("certificate").is_some() || section.entry("key").is_some()).then(|| live_pair(section));
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?.with_root_certificates(authorities?);
    let config = match ours {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(pair?),
    };
    Some((Arc::new(TlsConnector::from(Arc::new(config))), name?))
}

/// Reads `[[routes]]`. A state of the channel says by its `plans` what each of them runs; one that it does not name runs nothing.
pub(super) fn routes(
    root: &Section<'_, '_>,
    packages: &[Package],
    callers: &[Caller],
    plans: Option<&BTreeMap<String, RoutePlan>>,
) -> Vec<Route> {
    let unsigned: Vec<&Package> = packages.iter().filter(|package| package.signed_by.is_none()).collect();
    let models: Vec<&str> = packages.iter().map(|package| package.manifest.name.as_str()).collect();
    // By their names alone: one with problems of its own is told where it stands.
    let sections = root.sections_quietly("destinations", "destinations");
    let nodes: Vec<&str> = sections.iter().filter_map(|section| section.entry("name")?.get_ref().as_str()).collect();
    // The name of a package that could not be opened is not known.
    let all_opened = plans.is_some() || packages.len() == root.sections_quietly("models", "models").len();
    let may_call: Vec<&str> = callers.iter().map(|caller| caller.ae_title.as_str()).collect();
    let mut routes: Vec<Route> = Vec::new();
    for section in root.sections("routes", "routes") {
        let name = section.require::<Name>("name");
        let mode = section.value::<Mode>("mode");
        // One that is no mode is told already.
        let is_told = mode.is_none() && section.entry("mode").is_some();
        let titles = |key| section.value_or::<Vec<AeTitle>>(key, Vec::new()).into_iter().map(|ae| ae.0).collect();
        let mut route = Route {
            name: name.map_or_else(String::new, |name| name.0),
            called_ae: titles("called_ae"),
            callers: titles("callers"),
            selection: rules(&section),
            models: if plans.is_none() { section.require("models").unwrap_or_default() } else { Vec::new() },
            mode: mode.unwrap_or(Mode::Shadow),
            destinations: section.value_or("destinations", Vec::new()),
            outcome_reports: section.value_or("outcome_reports", vec![Outcome::Failed, Outcome::TooLate]),
            deadline: section.value::<Time>("deadline").map(|time| time.0),
        };
        if let Some(plans) = plans {
            let plan = plans.get(&route.name);
            route.models = plan.map_or_else(Vec::new, |plan| plan.models.clone());
            route.mode = plan.map_or(Mode::Shadow, |plan| plan.mode);
        }
        if all_opened {
            known(&section, "models", &route.models, &models, "model");
        }
        known(&section, "destinations", &route.destinations, &nodes, "destination");
        if !callers.is_empty() {
            known(&section, "callers", &route.callers, &may_call, "caller");
        }
        if route.mode != Mode::Research && !is_told {
            for package in unsigned.iter().filter(|package| route.models.contains(&package.manifest.name)) {
                let Manifest { name, vendor, .. } = &package.manifest;
                let message = format!("`{name}` is not signed by a key of its vendor, \"{vendor}\" [package-unsigned]");
                let help = "name the vendor's key in [[vendors]] and sign the package (sund model sign), or write mode = \"research\"";
                section.complain("models", &message, help);
            }
        }
        if plans.is_none() && section.entry("models").is_some() && route.models.is_empty() {
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
    for name in plans.iter().flat_map(|plans| plans.keys()) {
        if !routes.iter().any(|route| route.name == *name) {
            let message = format!("there is no route `{name}`, which the state says what to run on");
            root.complain("routes", &message, "add it to the configuration that the state brings");
        }
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
