//! A trial: everything that must hold before a state may serve, found out beside the one that does, which goes on untouched.
use super::cohort;
use super::gone::gone;
use super::kept::{Kept, KeptFile};
use super::protocol::{Finding, Offer, OfferedPackage};
use crate::config::{self, Channel, Config, Deployment, Pinned, Problem, check_deployed, render, sha256};
use crate::counted::counted;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::channel::{MAX_NAME, MAX_PACKAGES, MAX_ROUTES};
use crate::limits::model::MAX_PACKED;
use crate::model::Package;
use crate::pipeline::{Pipeline, Proven, Tried};
use crate::worker::{CallOff, Seat};
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// Read at once of a file that is summed.
const CHUNK: usize = 1 << 20;

/// A state that held, ready to serve.
pub(super) struct Held {
    pub(super) kept: Kept,
    pub(super) config: Config,
    pub(super) proven: Vec<Proven>,
}

/// What a state is tried beside.
pub(super) struct Beside<'a> {
    pub(super) channel: &'a Channel,
    /// What serves.
    pub(super) pipeline: &'a Pipeline,
    /// Whether it is to be left.
    pub(super) off: &'a CallOff,
}

impl Beside<'_> {
    /// A fault once the trial is to be left.
    fn goes_on(&self) -> Result<(), Fault> {
        self.off.called().map_or(Ok(()), Err)
    }
}

/// Refuses an offer that is no state's, before anything is opened.
pub(super) fn admit(offer: &Offer) -> Result<(), Fault> {
    let is_name = |text: &str| {
        (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hash = |text: &String| text.len() == 64 && text.bytes().all(is_digit);
    let why = if !is_name(&offer.state.name) {
        format!("its name is not of at most {MAX_NAME} letters, digits, `-`, `_` and `.`")
    } else if !offer.state.sha256.as_ref().is_some_and(is_hash) {
        "it is not named by its SHA-256 as well, of 64 lower-case hexadecimal digits".to_owned()
    } else if offer.packages.len() > MAX_PACKAGES || offer.routes.len() > MAX_ROUTES {
        format!("it has more than {MAX_PACKAGES} packages or {MAX_ROUTES} routes")
    } else if let Some(excess) = offer.vendors.as_ref().and_then(Pinned::excess) {
        excess
    } else {
        return Ok(());
    };
    Err(Fault::new("offer-invalid", Blame::Peer, format!("the state cannot be tried: {why}")))
}

/// Tries a state; `tell` is told what is found, as it is found. The first thing that does not hold ends it.
pub(super) fn run(
    offer: &Offer,
    beside: &Beside<'_>,
    seat: Seat,
    tell: &mut dyn FnMut(Finding),
) -> Result<Held, Fault> {
    let Beside { channel, pipeline, .. } = *beside;
    let pinned = offer.vendors.as_ref().map(Pinned::read);
    let mut packages = Vec::new();
    for offered in &offer.packages {
        beside.goes_on()?;
        let begun = Instant::now();
        let opened = open(offered);
        let text = match &opened {
            Ok(package) => format!("version {}, digest {}", package.manifest.version, package.digest),
            Err(fault) => fault.to_string(),
        };
        tell(finding(Some(&offered.name), "opened", opened.is_ok(), text, begun.elapsed()));
        let mut package = opened?;
        if let Some(pinned) = &pinned {
            let begun = Instant::now();
            let signed = pinned.signed(package, &offer.routes);
            let text = match &signed {
                Ok(package) => {
                    package.signed_by.map_or("by nobody, for research alone".to_owned(), |key| format!("by {key:?}"))
                }
                Err(fault) => fault.to_string(),
            };
            tell(finding(Some(&offered.name), "signature", signed.is_ok(), text, begun.elapsed()));
            package = signed?;
        }
        packages.push(package);
    }

    let begun = Instant::now();
    let deployment = Deployment { packages, is_pinned: pinned.is_some(), routes: offer.routes.clone() };
    let checked = check(offer, channel, &deployment);
    let text = match &checked {
        Ok((config, _)) => format!(
            "holds: {}, {}, {}",
            counted(config.routes.len(), "route", "routes"),
            counted(config.destinations.len(), "destination", "destinations"),
            counted(config.callers.len(), "caller", "callers"),
        ),
        Err(fault) => fault.to_string(),
    };
    tell(finding(None, "configuration", checked.is_ok(), text, begun.elapsed()));
    let (mut config, configuration) = checked?;
    if let Some(gone) = gone(&pipeline.serving_set(), &config) {
        tell(finding(None, "what-goes", true, gone, Duration::ZERO));
    }

    let mut proven = Vec::new();
    for package in &config.packages {
        beside.goes_on()?;
        let name = Some(package.manifest.name.as_str());
        let Tried { proven: engine, told } = pipeline.try_package(package, &config.floors, &seat);
        let last = told.len();
        for (n, (text, took)) in told.into_iter().enumerate() {
            tell(finding(name, "golden-cases", engine.is_ok() && n + 1 == last, text, took));
        }
        let text = match &engine {
            Ok(proven) => proven.to_string(),
            Err(fault) => fault.to_string(),
        };
        tell(finding(name, "engine", engine.is_ok(), text, Duration::ZERO));
        proven.push(engine?);
    }
    beside.goes_on()?;
    if let Some(folder) = &channel.acceptance {
        config.accepted = cohort::accept(folder, &config.packages, &proven, beside, seat, tell)?;
    }
    let kept = Kept {
        name: offer.state.name.clone(),
        sha256: offer.state.sha256.clone(),
        configuration,
        packages: offer
            .packages
            .iter()
            .zip(&deployment.packages)
            .map(|(offered, package)| KeptFile { path: offered.file.clone(), digest: package.digest.clone() })
            .collect(),
        routes: offer.routes.clone(),
        vendors: offer.vendors.clone(),
        accepted: config.accepted.clone(),
        stays: false,
    };
    Ok(Held { kept, config, proven })
}

/// Opens a package: it must be the very file that was offered.
fn open(offered: &OfferedPackage) -> Result<Package, Fault> {
    let OfferedPackage { file, sha256, name } = offered;
    let mismatch = |why: String| {
        let reason = format!("{} is not the package that the state names: {why}", file.display());
        Fault::new("offer-mismatch", Blame::Peer, reason)
    };
    let found = sum(file).map_err(|error| {
        let reason = format!("{} cannot be read: {error}; may the agent's user read it?", file.display());
        Fault::new("offer-unreadable", Blame::Peer, reason)
    })?;
    if found != *sha256 {
        return Err(mismatch(format!("its SHA-256 is {found}, not {sha256}")));
    }
    let package = Package::open(file)?;
    if package.manifest.name != *name {
        return Err(mismatch(format!("it is `{}`, not `{name}`", package.manifest.name)));
    }
    Ok(package)
}

fn sum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?.take(MAX_PACKED + 1);
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            length => context.update(&chunk[..length]),
        }
    }
    if file.limit() == 0 {
        return Err(io::Error::other("it is larger than a package may be"));
    }
    Ok(hex(context.finish().as_ref()))
}

/// The configuration of a state as the agent would serve it, and the file that it is from.
fn check(offer: &Offer, channel: &Channel, deployment: &Deployment) -> Result<(Config, Option<KeptFile>), Fault> {
    let path = offer.configuration.as_ref().unwrap_or(&channel.own);
    let invalid = |problems: Vec<Problem>| {
        Fault::new("configuration-invalid", Blame::Configuration, render(path, &problems).trim_end())
    };
    let text = config::read(path).map_err(|problem| invalid(vec![problem]))?;
    let config = check_deployed(&text, offer.configuration.is_none(), channel, deployment).map_err(invalid)?;
    // The box's own serves already.
    if offer.configuration.is_some() && !config.doubts.is_empty() {
        return Err(invalid(config.doubts));
    }
    let file = offer.configuration.clone().map(|path| KeptFile { path, digest: sha256(&text) });
    Ok((config, file))
}

pub(super) fn finding(package: Option<&str>, check: &str, held: bool, text: String, took: Duration) -> Finding {
    Finding { package: package.map(str::to_owned), check: check.to_owned(), held, text, ms: took.as_secs_f64() * 1e3 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::channel::MAX_VENDOR_KEYS;
    use crate::pipeline::StateId;
    use std::collections::BTreeMap;

    #[test]
    fn an_offer_without_bounds_is_refused_before_anything_is_opened() {
        let package = OfferedPackage { file: "/dev/zero".into(), sha256: String::new(), name: String::new() };
        let offer = |state: &str, packages: usize| Offer {
            state: StateId { name: state.into(), sha256: Some("0a".repeat(32)) },
            configuration: None,
            packages: vec![package.clone(); packages],
            routes: BTreeMap::new(),
            vendors: None,
        };
        assert!(admit(&offer("north-2026.1_b", MAX_PACKAGES)).is_ok());
        for wrong in [None, Some("0a".repeat(31)), Some("0A".repeat(32))] {
            let mut nameless = offer("a", 0);
            nameless.state.sha256 = wrong;
            assert_eq!(admit(&nameless).unwrap_err().code, "offer-invalid");
        }
        let keys = |vendors: usize, each: usize| {
            let vendors = (0..vendors).map(|n| (n.to_string(), vec![String::new(); each])).collect();
            Offer { vendors: Some(vendors), ..offer("a", 0) }
        };
        assert!(admit(&keys(MAX_PACKAGES, MAX_VENDOR_KEYS)).is_ok());
        for wrong in [keys(MAX_PACKAGES + 1, 1), keys(1, MAX_VENDOR_KEYS + 1)] {
            assert_eq!(admit(&wrong).unwrap_err().code, "offer-invalid");
        }
        for wrong in [offer("", 0), offer("a/b", 0), offer(&"a".repeat(MAX_NAME + 1), 0), offer("a", MAX_PACKAGES + 1)]
        {
            assert_eq!(admit(&wrong).unwrap_err().code, "offer-invalid");
        }
    }
}
