//! What is published: models, operating systems, configurations, and the desired states that name them.
use super::draft::Draft;
use super::files;
use super::formerly;
use super::home::Home;
use super::limits::{MAX_PACKAGE, MAX_WATCH_SECONDS};
use super::package::Package;
use super::proposal::Proposal;
use super::roles::{CONFIG, OS, STATE, check_name, models_of};
use super::routes;
use super::store;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use sund_ota::documents::{STOP, SUSPENSIONS, VENDORS, Vendors};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::limits::{MAX_CONFIGURATION, MAX_STATE};
use sund_ota::state::{DesiredState, Pin};
use tough::schema::Target;

/// What is listed beside a configuration of the one that it takes the place of: whoever signs reads what changes.
pub(super) const AFTER: &str = "after";

/// An operating system to publish.
#[derive(Clone, Debug)]
pub struct Operating {
    /// The RAUC bundle.
    pub file: PathBuf,
    /// Version, as in its manifest.
    pub version: String,
    /// SHA-256 of its manifest.
    pub manifest_sha256: String,
}

/// Proposes a model package.
pub fn model(home: &Home, with: Option<&str>, vendor: &str, file: &Path) -> Result<(Proposal, Pin), Fault> {
    let mut draft = Draft::begin(home, with)?;
    let role = models_of(vendor)?;
    let package = Package::read(file)?;
    let vendors = draft.read(VENDORS)?.map(|bytes| Vendors::parse(&bytes)).transpose()?.unwrap_or_default();
    let known = vendors.vendors.get(vendor).ok_or_else(|| {
        let reason = format!("the region knows no vendor `{vendor}`: `sund-channel delegate {role} ...` first");
        Fault::new("vendor-unknown", Blame::Configuration, reason)
    })?;
    package.check(known)?;
    let (name, version) = (&package.manifest.name, &package.manifest.version);
    let target = format!("{role}/{name}-{version}.sund");
    let custom = json!({
        "name": name,
        "version": version,
        "vendor": package.manifest.vendor,
        "digest": package.digest(),
        "intended_use": package.manifest.intended_use,
        "regulatory_status": package.manifest.regulatory_status,
    });
    let pin = release(&mut draft, &target, file, custom)?;
    Ok((draft.finish(&format!("{name} {version} by {} is released", package.manifest.vendor))?, pin))
}

/// Proposes an operating system.
pub fn operating_system(home: &Home, with: Option<&str>, os: &Operating) -> Result<(Proposal, Pin), Fault> {
    check_name("version", &os.version)?;
    let is_digest = os.manifest_sha256.len() == 64
        && os.manifest_sha256.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !is_digest {
        let reason = "the manifest's SHA-256 has 64 lower-case hexadecimal digits: `rauc info` tells it";
        return Err(Fault::new("digest-invalid", Blame::Configuration, reason));
    }
    let mut draft = Draft::begin(home, with)?;
    let target = format!("{OS}/sund-{}.raucb", os.version);
    let custom = json!({ "version": os.version, "manifest_sha256": os.manifest_sha256 });
    let pin = release(&mut draft, &target, &os.file, custom)?;
    Ok((draft.finish(&format!("operating system {} is released", os.version))?, pin))
}

/// Proposes a configuration. Each one has a path of its own, so that an older state still finds what it names.
pub fn configuration(home: &Home, with: Option<&str>, name: &str, file: &Path) -> Result<(Proposal, Pin), Fault> {
    check_name("configuration", name)?;
    let bytes = files::read(file, MAX_CONFIGURATION)?;
    let read = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
    if let Err(error) = read.and_then(|text| toml::from_str::<toml::Table>(text).map_err(|error| error.to_string())) {
        let reason = format!("{} is no configuration of the agent: {error}", file.display());
        return Err(Fault::new("configuration-invalid", Blame::Configuration, reason));
    }
    let mut draft = Draft::begin(home, with)?;
    let digest = hex(&files::sha256(&bytes));
    let target = format!("{CONFIG}/{name}-{}.toml", &digest[..12]);
    let published = draft.published.as_ref();
    let is_its_own = |listed: &Target| listed.custom.get("name").is_some_and(|known| known == name);
    let earlier =
        published.map(|published| formerly::newest(home, published, CONFIG, is_its_own)).transpose()?.flatten();
    let custom = match earlier {
        Some(earlier) => json!({ "name": name, AFTER: earlier.raw() }),
        None => json!({ "name": name }),
    };
    let pin = release(&mut draft, &target, file, custom)?;
    Ok((draft.finish(&format!("a configuration for {name} is released"))?, pin))
}

/// Proposes a desired state. What its pins leave out (hash, length, version) is taken from what is listed.
pub fn state(home: &Home, with: Option<&str>, file: &Path) -> Result<(Proposal, Pin), Fault> {
    let mut draft = Draft::begin(home, with)?;
    let invalid =
        |reason: String| Fault::new("state-invalid", Blame::Configuration, format!("{}: {reason}", file.display()));
    let bytes = files::read(file, MAX_STATE)?;
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    complete(&draft, &mut value)?;
    let is_watch_said = value.get("watch_seconds").is_some();
    let state: DesiredState = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
    check_name("state", &state.name)?;
    let target = format!("{STATE}/{}.json", state.name);
    if [STOP, SUSPENSIONS].contains(&target.as_str()) {
        return Err(invalid(format!("`{}` is the name of a switch: choose another", state.name)));
    }
    if !is_watch_said || state.watch_seconds > MAX_WATCH_SECONDS {
        return Err(invalid(format!(
            "`watch_seconds` says how long each box watches itself before it calls the state good: name it, at most \
             {MAX_WATCH_SECONDS}; 0 is for a state that is not watched"
        )));
    }
    if state.configuration.is_some() && state.boxes.is_none() {
        let reason = "a configuration names a site's own archive: say in `boxes` which boxes this state is for, such as \
                      [\"north-*\"]; [\"*\"] says all";
        return Err(Fault::new("state-boxes-missing", Blame::Configuration, reason));
    }
    for pin in state.pins() {
        let is_listed = draft.find(&pin.target).is_some_and(|listed| *pin == pin_of(&pin.target, listed));
        if !is_listed {
            return Err(not_listed(&format!("{} is not listed under that hash", pin.target)));
        }
    }
    let configuration = state.configuration.as_ref().and_then(|pin| draft.read(&pin.target).ok().flatten());
    let left_out = configuration.and_then(|text| routes::left_out(&state, &text)).unwrap_or_default();
    if !left_out.is_empty() {
        return Err(invalid(format!(
            "its configuration has routes that it does not name, and they would run nothing: {}. Name each; with an empty list of \
             models where it is to run nothing",
            left_out.join(", ")
        )));
    }
    let mut whole = serde_json::to_vec_pretty(&state).map_err(|error| invalid(error.to_string()))?;
    whole.push(b'\n');
    DesiredState::parse(&target, &whole)?;
    let new = store::target_of(&files::sha256(&whole), whole.len() as u64);
    check_new(&draft, &target, &new)?;
    let listed = draft.list_bytes(&target, whole)?;
    let pin = pin_of(&target, &listed);
    Ok((draft.finish(&format!("desired state {}", state.name))?, pin))
}

fn not_listed(what: &str) -> Fault {
    let reason = format!("{what}: publish it first, or with this state");
    Fault::new("target-not-listed", Blame::Configuration, reason)
}

/// Fills in what a draft of a state leaves out.
fn complete(draft: &Draft, state: &mut Value) -> Result<(), Fault> {
    let Some(state) = state.as_object_mut() else { return Ok(()) };
    state.entry("format").or_insert(json!(1));
    let fill = |pin: &mut Value, from_custom: &[&str]| {
        let Some(pin) = pin.as_object_mut() else { return Ok(()) };
        let Some(target) = pin.get("target").and_then(Value::as_str).map(str::to_owned) else { return Ok(()) };
        let Some(listed) = draft.find(&target) else {
            let is_pinned = pin.contains_key("sha256");
            return if is_pinned { Ok(()) } else { Err(not_listed(&format!("{target} is not listed"))) };
        };
        pin.entry("sha256").or_insert(json!(store::sha256_of(listed)));
        pin.entry("length").or_insert(json!(listed.length));
        for key in from_custom {
            if let Some(known) = listed.custom.get(*key) {
                pin.entry(*key).or_insert(known.clone());
            }
        }
        Ok(())
    };
    if let Some(os) = state.get_mut("os") {
        fill(os, &["version", "manifest_sha256"])?;
    }
    if let Some(configuration) = state.get_mut("configuration") {
        fill(configuration, &[])?;
    }
    let mut models = state.get_mut("models").and_then(Value::as_array_mut).into_iter().flatten();
    models.try_for_each(|model| fill(model, &["name", "version"]))
}

/// Puts a payload into the store and lists it.
fn release(draft: &mut Draft, target: &str, file: &Path, custom: Value) -> Result<Pin, Fault> {
    let mut listed = draft.put_file(target, file, MAX_PACKAGE)?;
    if let Value::Object(custom) = custom {
        listed.custom = custom.into_iter().collect();
    }
    check_new(draft, target, &listed)?;
    let pin = pin_of(target, &listed);
    draft.list(target, listed)?;
    Ok(pin)
}

/// What was once listed under a path never changes there, also after it was withdrawn: a state that names it would name
/// something else.
fn check_new(draft: &Draft, target: &str, new: &Target) -> Result<(), Fault> {
    match draft.find(target) {
        Some(listed) if store::sha256_of(listed) == store::sha256_of(new) => {
            let reason = format!("{target} is listed already, to the byte: there is nothing to propose");
            Err(Fault::new("nothing-to-do", Blame::Configuration, reason))
        }
        Some(_) => {
            let reason = format!("{target} is listed already with other bytes: give the new one a version of its own");
            Err(Fault::new("version-there-already", Blame::Configuration, reason))
        }
        None => draft.check_formerly(target, new),
    }
}

/// A target by its hash.
pub fn pin_of(target: &str, listed: &Target) -> Pin {
    Pin { target: target.to_owned(), sha256: store::sha256_of(listed), length: listed.length }
}
