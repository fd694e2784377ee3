//! The configuration in the initramfs, checked as a whole before anything is asked.
use crate::fault::{Blame, Fault};
use crate::identity::Authorities;
use crate::limits::{MAX_AUTHORITIES, MAX_CONFIG, MAX_ROUNDS, MAX_SOURCES, Patience};
use crate::minimum::{Minimum, NvIndex};
use crate::moment::Moment;
use crate::role::{Person, Role};
use crate::site::{Network, Site};
use crate::source::{Source, is_plain_path};
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The configuration that the program uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who is asked, in this order.
    pub sources: Vec<Source>,
    /// Where the descriptor lies below each source.
    pub descriptor: String,
    /// Who vouches for the sources' certificates.
    pub authorities: Authorities,
    /// When this initramfs was made: it is later than that.
    pub built: Moment,
    /// Who signs descriptors.
    pub role: Role,
    /// The lowest version.
    pub minimum: Minimum,
    /// The TPM that is told that a rescue begins: from then on it opens no data partition before the next start.
    pub closes: Option<PathBuf>,
    /// The addresses of the site's network; absent: DHCP.
    pub network: Option<Network>,
    /// A file or a block device that the bundle is written to.
    pub destination: PathBuf,
    /// How long sources are borne with.
    pub patience: Patience,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default = "default_descriptor")]
    descriptor: String,
    authorities: Option<PathBuf>,
    site: Option<PathBuf>,
    closes: Option<PathBuf>,
    built: String,
    destination: PathBuf,
    minimum: RawMinimum,
    rounds: Option<u32>,
    #[serde(default = "default_threshold")]
    threshold: usize,
    person: Vec<RawPerson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMinimum {
    file: Option<PathBuf>,
    tpm: Option<RawNvIndex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNvIndex {
    device: PathBuf,
    index: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    name: String,
    key: String,
}

fn default_descriptor() -> String {
    "rescue/rescue.json".to_owned()
}

const fn default_threshold() -> usize {
    2
}

impl Config {
    /// Reads a configuration and what it names.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let refused = |reason: String| {
            let reason = format!("{}: {reason}", path.display());
            Fault::new("config-invalid", Blame::Configuration, reason)
        };
        let text = String::from_utf8(read_bounded(path, MAX_CONFIG)?).map_err(|_| refused("it is not UTF-8".into()))?;
        let raw: RawConfig = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
        let site = match (raw.site, raw.authorities) {
            (Some(variable), None) if raw.sources.is_empty() => Site::read(&variable)?,
            (None, Some(authorities)) => {
                Site { sources: raw.sources, authorities: read_bounded(&authorities, MAX_AUTHORITIES)?, network: None }
            }
            _ => return Err(refused("it names either a site, or sources and authorities".into())),
        };
        if site.sources.is_empty() || site.sources.len() > MAX_SOURCES {
            return Err(refused(format!("it names no source, or more than {MAX_SOURCES}")));
        }
        if !is_plain_path(&raw.descriptor) {
            return Err(refused("descriptor is no plain relative path".into()));
        }
        let RawMinimum { file, tpm } = raw.minimum;
        if file.is_none() && tpm.is_none() {
            return Err(refused("minimum names neither a file nor a tpm: any old bundle would be taken".into()));
        }
        // TPM 2.0 Library, Part 2, 7.2: the first byte of a handle of an NV index is 0x01.
        if tpm.as_ref().is_some_and(|tpm| tpm.index >> 24 != 1) {
            return Err(refused("minimum.tpm.index is not within 0x01000000 and 0x01ffffff".into()));
        }
        let patience = Patience::default();
        let rounds = raw.rounds.unwrap_or(patience.rounds);
        if !(1..=MAX_ROUNDS).contains(&rounds) {
            return Err(refused(format!("rounds is not within 1 and {MAX_ROUNDS}")));
        }
        let persons = raw.person.iter().map(|person| Person::new(&person.name, &person.key));
        Ok(Self {
            sources: site.sources.iter().map(|address| Source::parse(address)).collect::<Result<_, _>>()?,
            descriptor: raw.descriptor,
            authorities: Authorities::from_pem(&site.authorities)?,
            built: Moment::try_from(raw.built).map_err(|error| refused(format!("built: {error}")))?,
            role: Role::new(persons.collect::<Result<_, _>>()?, raw.threshold)?,
            minimum: Minimum { file, tpm: tpm.map(|RawNvIndex { device, index }| NvIndex { device, index }) },
            closes: raw.closes,
            network: site.network,
            destination: raw.destination,
            patience: Patience { rounds, ..patience },
        })
    }
}

/// Reads a file of the initramfs that has at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let refused =
        |reason: String| Fault::new("config-unreadable", Blame::Configuration, format!("{}: {reason}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| refused(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(refused(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}
