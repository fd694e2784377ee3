//! Finds out what is shown. Everything may be missing: a screen that shows less is better than none.
use super::picture::{Picture, Stage};
use crate::agent::client::Agent;
use crate::config::{Config, Credentials};
use crate::ddi::Progress;
use crate::fault::Fault;
use crate::firmware::SecureBoot;
use crate::hex::hex;
use crate::identity::Standing;
use crate::machine::record::Origin;
use crate::recovery::RecoveryStatus;
use crate::release::Release;
use crate::status::Status;
use crate::stick::{self, Said};
use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Files of other programs, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// How long the agent may take to say how it is.
const AGENT_TIME: Duration = Duration::from_secs(2);
/// Time between two questions to the TPM whether the key of the certificate is still there.
const KEY_LOOK: Duration = Duration::from_mins(1);
/// Seconds for which it is shown how a state on a stick ended: whoever has brought it is gone then.
const NEWS: i64 = 24 * 3600;
/// Networks and their addresses, against a machine full of them.
const MAX_NETWORKS: usize = 4;
const MAX_ADDRESSES: usize = 3;

/// Where it is found.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The updater's configuration.
    pub config: PathBuf,
    /// The agent's.
    pub agent_config: PathBuf,
    /// os-release.
    pub release: PathBuf,
    /// The firmware's variable `SecureBoot`.
    pub secure_boot: PathBuf,
    /// What became of the region's stick.
    pub stick: PathBuf,
}

/// Looks at the box's configuration, and at whether it is enrolled.
#[derive(Debug, Default)]
pub struct Looks {
    /// What was found out about the certificate that was there then, and when: its TPM is not asked at each look.
    known: Option<(Instant, Option<SystemTime>, Standing)>,
}

impl Looks {
    /// How it is now.
    pub fn look(&mut self, sources: &Sources) -> (Option<Config>, Stage) {
        if !sources.config.exists() {
            return (None, Stage::New);
        }
        let config = match Config::read(&sources.config) {
            Err(reason) => return (None, Stage::Unusable(reason)),
            Ok(config) => config,
        };
        let code = |why: String| Stage::NeedsCode { why, typed: String::new(), said: String::new() };
        let stage = match self.standing(&config) {
            Standing::Missing => code("This box has no certificate yet.".to_owned()),
            Standing::Lapsed(fault) => code(lapsed(&fault)),
            // Where its key cannot be asked for, a code would do no good.
            Standing::Holds | Standing::Unknown(_) => Stage::Enrolled,
        };
        (Some(config), stage)
    }

    fn standing(&mut self, config: &Config) -> Standing {
        let written = match &config.credentials {
            Credentials::Certificate { certificate, .. } => {
                std::fs::metadata(certificate).and_then(|it| it.modified()).ok()
            }
            Credentials::Token(_) | Credentials::Nobody => None,
        };
        match &self.known {
            Some((at, of, standing)) if *of == written && at.elapsed() < KEY_LOOK => standing.clone(),
            _ => {
                let standing = Standing::of(config);
                self.known = Some((Instant::now(), written, standing.clone()));
                standing
            }
        }
    }
}

/// In the few words that the screen has room for; the updater's own line has all of them.
fn lapsed(fault: &Fault) -> String {
    let what = match fault.code.as_ref() {
        "certificate-expired" => "The certificate of this box has ended.",
        "tpm-key-gone" => "The key of this box is not in its TPM any more.",
        _ => "The certificate of this box cannot be used.",
    };
    format!("{what} [{}]", fault.code)
}

/// All of it.
pub async fn gather(sources: &Sources, config: Option<&Config>, stage: Stage) -> Picture {
    let node = read(&sources.agent_config).and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
    let release = Release::read(&sources.release).unwrap_or_default();
    let mut picture = Picture {
        stage,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        variant: release.variant().map(|variant| variant.name),
        starts_anything: SecureBoot::read(&sources.secure_boot) == Some(SecureBoot::Off),
        networks: networks(),
        node: dicom(&node),
        agent: "not asked".to_owned(),
        channel: "not configured".to_owned(),
        update: "none".to_owned(),
        id: config.map(|config| config.id.clone()),
        fingerprint: console(&node),
        stick: stick::said(&sources.stick).map(|said| said.line),
        ..Picture::default()
    };
    picture.versions.extend(release.version().map(|version| ("system".to_owned(), version.to_owned())));
    picture.versions.push(("updater".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    if let Some(config) = config {
        ask_agent(config, &mut picture).await;
        ask_updater(sources, config, &mut picture);
    }
    picture
}

async fn ask_agent(config: &Config, picture: &mut Picture) {
    let agent = Agent::new(config.agent.socket.clone());
    match tokio::time::timeout(AGENT_TIME, agent.status()).await {
        Ok(Ok(status)) => {
            let serving = status.models.iter().filter(|model| model.standing == "active").count();
            let answers = if status.node_answers { "answers" } else { "DOES NOT ANSWER DICOM" };
            let (class, running) = (&status.engine_class, status.running);
            picture.agent = format!("{} {answers}; models: {serving} ({class}), studies: {running}", status.version);
        }
        _ => "DOES NOT ANSWER".clone_into(&mut picture.agent),
    }
}

fn ask_updater(sources: &Sources, config: &Config, picture: &mut Picture) {
    let server = config.server.host_str().unwrap_or_default();
    let status = match Status::read(config) {
        Ok(status) => status,
        Err(fault) => {
            picture.channel = fault.to_string();
            return;
        }
    };
    let local = |at: i64| {
        let time = jiff::Timestamp::from_second(at).map(|time| time.to_zoned(config.zone.clone()));
        time.map(|time| time.strftime("%F %H:%M").to_string()).unwrap_or_default()
    };
    picture.channel = match &status.now.poll {
        None => format!("{server}: not asked yet"),
        Some(poll) => {
            let time = local(poll.at);
            match &poll.trouble {
                None => format!("{server}: well at {time}"),
                Some(trouble) => format!("{server}: {trouble}"),
            }
        }
    };
    picture.rescue = status.recovery.as_ref().filter(|it| it.fault.is_some()).map(RecoveryStatus::in_words);
    picture.stick = ended_of_stick(&status, stick::said(&sources.stick)).or(picture.stick.take());
    picture.recovery = status.escrow.as_ref().map(|escrow| escrow.in_words(local));
    let state = status.state.as_deref().unwrap_or("own configuration");
    picture.update = match (&status.action, &status.now.progress) {
        (None, _) => format!("none; serves {state}"),
        (Some(action), progress) => {
            let to = action.state.as_deref().unwrap_or("no state");
            let share = match progress {
                Some(Progress { cnt, of: Some(of) }) if *of > 0 => format!(", {} %", cnt.saturating_mul(100) / of),
                _ => String::new(),
            };
            let waits = status.now.waits.as_ref().map(|fault| format!(", waits: {}", fault.reason)).unwrap_or_default();
            format!("to {to}: {}{share}{waits}", action.step)
        }
    };
}

/// How what came on a stick ended, where that is news and nothing was said of a stick since.
fn ended_of_stick(status: &Status, said: Option<Said>) -> Option<String> {
    let last = status.last.as_ref().filter(|last| last.origin == Origin::Stick)?;
    let ended = last.ended?;
    let is_news = jiff::Timestamp::now().as_second().saturating_sub(ended) < NEWS;
    (is_news && said.is_none_or(|said| said.at <= ended)).then(|| last.in_words())
}

/// Addresses by network; the loopback is none.
fn networks() -> Vec<(String, Vec<String>)> {
    let mut networks: Vec<(String, Vec<String>)> = Vec::new();
    let mut found = if_addrs::get_if_addrs().unwrap_or_default();
    found.sort_by(|a, b| (&a.name, a.ip()).cmp(&(&b.name, b.ip())));
    for interface in found.iter().filter(|interface| !interface.is_loopback() && !interface.is_link_local()) {
        let address = interface.ip().to_string();
        match networks.last_mut() {
            Some((name, addresses)) if *name == interface.name => {
                if addresses.len() < MAX_ADDRESSES {
                    addresses.push(address);
                }
            }
            _ => networks.push((interface.name.clone(), vec![address])),
        }
    }
    networks.truncate(MAX_NETWORKS);
    networks
}

/// AE title and ports, as the agent's configuration has them.
fn dicom(agent: &toml::Table) -> Option<String> {
    let node = agent.get("node")?.as_table()?;
    let title = node.get("ae_title")?.as_str()?;
    let port = |value: Option<&toml::Value>| value?.as_str()?.rsplit_once(':').map(|(_, port)| port.to_owned());
    let plain = port(node.get("listen")).map(|port| format!("port {port}"));
    let tls = port(node.get("tls").and_then(|tls| tls.get("listen"))).map(|port| format!("TLS port {port}"));
    let ports: Vec<String> = plain.into_iter().chain(tls).collect();
    Some(format!("{title}, {}", if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") }))
}

/// SHA-256 of the console's certificate.
fn console(agent: &toml::Table) -> Option<String> {
    let path = agent.get("console")?.get("tls")?.get("certificate")?.as_str()?;
    let certificate = CertificateDer::from_pem_slice(read(Path::new(path))?.as_bytes()).ok()?;
    Some(hex(digest(&SHA256, &certificate).as_ref()))
}

fn read(path: &Path) -> Option<String> {
    let is_short = std::fs::metadata(path).is_ok_and(|file| file.len() <= MAX_FILE);
    is_short.then(|| std::fs::read_to_string(path).ok()).flatten()
}
