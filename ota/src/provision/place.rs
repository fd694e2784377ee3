//! Writes what a document says, all at once: it is gathered aside, becomes valid by one name, and is then moved to its places. What an
//! earlier document said and this one does not goes first. A power cut before that name leaves the box as it was; after it, the next start
//! goes on.
use super::{Provision, files};
use crate::config::Config;
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Gathered, and not valid.
const GATHERED: &str = "provision.next";
/// Valid, and to be moved.
const VALID: &str = "provision.valid";
/// Says what the box was provisioned with. It is moved last.
const RECORD: &str = "provisioned.json";
/// Among what is valid: names of what goes. It is never moved.
const STALE: &str = "stale.json";
/// What a document may say or leave out, and what it was called once. The vendors' keys are the rest of that.
const OPTIONAL: [&str; 4] = ["escrow.pem", "updater/code", "recovery.pem", "enrol.env"];
/// The directory of the vendors' keys. Nothing but provisioning puts anything there.
const VENDORS: &str = "vendors";
/// Directories that others own, on a box; elsewhere they are made.
const DIRECTORIES: [&str; 5] = ["keys", "tls", "updater", "chrony", VENDORS];
/// The certificate of the console, in days: the browser of whoever looks is told its fingerprint at the screen.
const CONSOLE_DAYS: i64 = 3650;
/// The record, in bytes.
const MAX_RECORD: u64 = 16 * 1024;

/// What a box was provisioned with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioned {
    /// 1.
    pub format: u32,
    /// Whose box it is.
    pub region: String,
    /// Its name at the channel.
    #[serde(rename = "box")]
    pub name: String,
    /// When the document was made.
    pub created: Timestamp,
    /// SHA-256 of the document.
    pub sha256: String,
    /// Which of the region's keys had signed it.
    pub key: String,
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The box is what it says.
    Now,
    /// It was that before.
    Already,
}

impl Provisioned {
    /// The record of a box; none where it is nobody's yet.
    pub fn read(site: &Path) -> Result<Option<Self>, Fault> {
        let path = site.join(RECORD);
        let damaged = |reason: String| {
            let reason =
                format!("{}: {reason}: reset the box to its factory state and provision it again", path.display());
            Fault::new("provision-record-damaged", Blame::Box, reason)
        };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
            Ok(file) if file.len() > MAX_RECORD => return Err(damaged("it is too long".to_owned())),
            Ok(_) => {}
        }
        let bytes = std::fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Since when the box is what the record says, by its own clock.
    pub fn since(site: &Path) -> Option<Timestamp> {
        let written = std::fs::metadata(site.join(RECORD)).and_then(|record| record.modified()).ok()?;
        Timestamp::try_from(written).ok()
    }

    /// Whether the box, as it is, becomes what a document says.
    fn takes(&self, provision: &Provision) -> Result<Applied, Fault> {
        let document = provision.document();
        if self.region != document.region {
            let reason = format!(
                "this box is {}'s, and the file is {}'s: reset the box to its factory state first",
                self.region, document.region
            );
            return Err(Fault::new("provision-other-region", Blame::Region, reason));
        }
        if self.name != document.name {
            let reason = format!("this box is {}, and the file is for {}: take its own file", self.name, document.name);
            return Err(Fault::new("provision-other-box", Blame::Region, reason));
        }
        if self.sha256 == provision.sha256 {
            return Ok(Applied::Already);
        }
        if document.created <= self.created {
            let reason = format!(
                "this box was provisioned with a file of {}, and this one is of {}: an older one is not taken",
                self.created, document.created
            );
            return Err(Fault::new("provision-older", Blame::Region, reason));
        }
        Ok(Applied::Now)
    }
}

impl Provision {
    /// Makes the box what the document says.
    pub fn apply(&self, site: &Path) -> Result<Applied, Fault> {
        finish(site)?;
        if let Some(before) = Provisioned::read(site)?
            && before.takes(self)? == Applied::Already
        {
            return Ok(Applied::Already);
        }
        let gathered = site.join(GATHERED);
        clear(&gathered)?;
        self.gather(site, &gathered)?;
        durable::put(&gathered, &site.join(VALID))?;
        finish(site)?;
        tracing::info!(target: "audit", region = self.document.region, name = self.document.name, sha256 = self.sha256, key = self.key, "the box was provisioned");
        Ok(Applied::Now)
    }

    fn gather(&self, site: &Path, gathered: &Path) -> Result<(), Fault> {
        let document = &self.document;
        let impossible = |reason: String| Fault::new("provision-invalid", Blame::Region, format!("the file: {reason}"));
        durable::directory(gathered, 0o700)?;
        let write = |name: &str, mode: u32, bytes: &[u8]| {
            let path = gathered.join(name);
            path.parent().map_or(Ok(()), |directory| durable::directory(directory, 0o755))?;
            durable::replace(&path, bytes, mode)
        };
        let said = files::of(document).map_err(impossible)?;
        for (name, mode, bytes) in &said {
            write(name, *mode, bytes)?;
        }
        Config::read(&gathered.join("updater.toml")).map_err(impossible)?;
        let mut stale = said_once(site).map_err(|error| failed(site, &error))?;
        stale.retain(|name| said.iter().all(|(said, ..)| Path::new(said) != name));
        write(STALE, 0o600, &serde_json::to_vec(&stale).unwrap_or_default())?;
        // Secrets of the box alone are made by it, once.
        for name in ["keys/uid.key", "keys/audit.key"] {
            if !site.join(name).exists() {
                write(name, 0o600, secret()?.as_bytes())?;
            }
        }
        if !site.join("tls/console.pem").exists() {
            let (key, certificate) = self.console().map_err(|error| impossible(error.to_string()))?;
            write("tls/console.key", 0o600, key.as_bytes())?;
            write("tls/console.pem", 0o644, certificate.as_bytes())?;
        }
        let record = Provisioned {
            format: 1,
            region: document.region.clone(),
            name: document.name.clone(),
            created: document.created,
            sha256: self.sha256.clone(),
            key: self.key.clone(),
        };
        write(RECORD, 0o644, &serde_json::to_vec_pretty(&record).unwrap_or_default())
    }

    /// A key and a certificate for the console, by nobody but the box.
    fn console(&self) -> Result<(String, String), rcgen::Error> {
        let document = &self.document;
        let mut params = rcgen::CertificateParams::new(vec![document.name.clone(), "localhost".to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, document.name.as_str());
        for addresses in [&document.network.management, &document.network.clinical].into_iter().flatten() {
            let address = addresses.address.split('/').next().and_then(|address| address.parse::<IpAddr>().ok());
            params.subject_alt_names.extend(address.map(rcgen::SanType::IpAddress));
        }
        let at =
            |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.max(0) as u64);
        let made = document.created.as_second();
        (params.not_before, params.not_after) = (at(made), at(made + CONSOLE_DAYS * 86_400));
        let key = rcgen::KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok((key.serialize_pem(), certificate.pem()))
    }
}

/// Goes on where a power cut ended it: what is valid is moved to its places.
pub fn finish(site: &Path) -> Result<bool, Fault> {
    let valid = site.join(VALID);
    if !valid.exists() {
        return Ok(false);
    }
    for name in DIRECTORIES {
        let directory = site.join(name);
        if !directory.exists() {
            durable::directory(&directory, if name == "updater" { 0o700 } else { 0o755 })?;
        }
    }
    for name in stale(&valid)? {
        durable::remove(&site.join(name))?;
    }
    let mut names = Vec::new();
    walk(&valid, Path::new(""), &mut names).map_err(|error| failed(&valid, &error))?;
    names.retain(|name| name.as_os_str() != STALE);
    // The record last: the box is provisioned when all of it is in place.
    names.sort_by_key(|name| (name.as_os_str() == RECORD, name.clone()));
    for name in names {
        let (from, to) = (valid.join(&name), site.join(&name));
        if let Some(directory) = to.parent().filter(|directory| !directory.exists()) {
            durable::directory(directory, 0o755)?;
        }
        own(&from, &to)?;
        durable::put(&from, &to)?;
    }
    clear(&valid)?;
    Ok(true)
}

/// What an earlier document has left here, of what a later one may leave out.
fn said_once(site: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut names: Vec<PathBuf> = OPTIONAL.iter().map(PathBuf::from).filter(|name| site.join(name).exists()).collect();
    if site.join(VENDORS).exists() {
        walk(site, Path::new(VENDORS), &mut names)?;
    }
    names.sort();
    Ok(names)
}

/// What goes, by the list beside what is valid. An updater of before has made none.
fn stale(valid: &Path) -> Result<Vec<PathBuf>, Fault> {
    let path = valid.join(STALE);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(&path, &error.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(&path, &error)),
    }
}

/// A file belongs to whom its directory belongs: the agent's keys are the agent's.
fn own(file: &Path, place: &Path) -> Result<(), Fault> {
    let owner = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid()));
    let directory = place.parent().unwrap_or(Path::new("/"));
    let changed = owner(directory).and_then(|(user, group)| {
        if owner(file)?.0 == user { Ok(()) } else { std::os::unix::fs::chown(file, Some(user), Some(group)) }
    });
    changed.map_err(|error| failed(file, &error))
}

fn walk(top: &Path, below: &Path, names: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(top.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() { walk(top, &name, names)? } else { names.push(name) }
    }
    Ok(())
}

fn clear(directory: &Path) -> Result<(), Fault> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(directory, &error)),
        _ => Ok(()),
    }
}

fn secret() -> Result<String, Fault> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Fault::new("disk-failed", Blame::Box, "the system gives no random numbers: try again"))?;
    Ok(hex(&bytes))
}

fn failed(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new("disk-failed", Blame::Box, format!("{} cannot be written: {error}", path.display()))
}
