//! Whether this box could be rescued, were neither of its slots to start. `sund-rescue` takes what the region has released and what is not
//! below the counter in the TPM; on the day on which it would take nothing, nobody can ask the box any more. So it is told before.
//!
//! A start that was good knows the counter, and the updater what is offered: each leaves its file in the updater's directory.
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::tpm::counter;
use crate::trust::{Recovery, Trusted};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// What the last good start found of the counter.
const COUNTER: &str = "recovery-counter.json";
/// What the region offered when it was asked last.
const OFFER: &str = "recovery-offer.json";
/// Each of them, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// What a good start found of the counter, or why it found none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Counted {
    Least(u64),
    Fault(Fault),
}

/// What the region offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Offer {
    /// Under which timestamp it was asked: with the next one it is asked again. Absent: with the next poll.
    timestamp: Option<u64>,
    recovery: Option<(u64, Timestamp)>,
    fault: Option<Fault>,
    /// The highest version that was ever offered: nothing below it is taken any more.
    released: u64,
}

/// How it stands with a rescue of this box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryStatus {
    /// The least version of a recovery bundle that is taken.
    pub least: Option<u64>,
    /// The version that the region offers, as far as it was asked.
    pub offered: Option<u64>,
    /// Why nothing would be taken, where that is known.
    pub fault: Option<Fault>,
}

/// After a good start: has the counter in the TPM made and counted up to what the region has released, and writes down how it stands.
pub fn keep_counter(device: &Path, index: u32, directory: &Path) -> Result<(), Fault> {
    let released = read::<Offer>(directory, OFFER).map_or(0, |offer| offer.released);
    let counted = counter::keep(device, index, released, counter::MAX_COUNTING);
    match &counted {
        Ok(counter) if counter.was_made => {
            let version = counter.least;
            tracing::warn!(target: "audit", version, "the TPM had no counter for a rescue: it was made");
        }
        Ok(_) => {}
        Err(fault) => {
            tracing::warn!(target: "audit", code = %fault.code, blame = ?fault.blame, reason = fault.reason, "the TPM has no counter for a rescue");
        }
    }
    durable::directory(directory, 0o750)?;
    let (found, end) = match counted {
        Ok(counter) => (Counted::Least(counter.least), Ok(())),
        Err(fault) => (Counted::Fault(fault.clone()), Err(fault)),
    };
    write(directory, COUNTER, &found).and(end)
}

/// Asks the region with each new timestamp what it offers. A box whose starts know of no counter has no rescue.
pub(crate) async fn ask(trusted: &Trusted, directory: &Path) {
    let timestamp = trusted.timestamp();
    let before = read::<Offer>(directory, OFFER);
    let is_known = before.as_ref().is_some_and(|offer| offer.timestamp.is_some() && offer.timestamp == timestamp);
    if is_known || !directory.join(COUNTER).exists() {
        return;
    }
    let (timestamp, recovery, fault) = match trusted.recovery().await {
        Ok(recovery) => (timestamp, recovery.map(|verified| *verified.get()), None),
        // The line broke: the next poll asks again.
        Err(fault) if fault.blame == Blame::Box => return,
        Err(fault) if fault.code == "recovery-invalid" => (timestamp, None, Some(fault)),
        // A store that fails says nothing of what the region offers: what it was stays, and the next poll asks again.
        Err(fault) => {
            let offer = before.unwrap_or_default();
            return keep(directory, &Offer { timestamp: None, fault: Some(fault), ..offer });
        }
    };
    let recovery = recovery.map(|Recovery { version, expires, .. }| (version, expires));
    let offered = recovery.map_or(0, |(version, _)| version);
    let released = before.map_or(0, |offer| offer.released).max(offered);
    keep(directory, &Offer { timestamp, recovery, fault, released });
}

fn keep(directory: &Path, offer: &Offer) {
    // What can't be written down is asked for again.
    if let Err(fault) = write(directory, OFFER, offer) {
        tracing::warn!(%fault, "what the region offers for a rescue is not kept");
    }
}

impl RecoveryStatus {
    /// What is known; nothing of a box whose starts know of no counter.
    pub fn read(directory: &Path) -> Option<Self> {
        let counted = read(directory, COUNTER)?;
        Some(Self::of(counted, read(directory, OFFER), Timestamp::now()))
    }

    fn of(counted: Counted, offer: Option<Offer>, now: Timestamp) -> Self {
        let offered = offer.as_ref().and_then(|offer| offer.recovery);
        let version = offered.map(|(version, _)| version);
        let least = match counted {
            Counted::Fault(fault) => return Self { least: None, offered: version, fault: Some(fault) },
            Counted::Least(least) => least,
        };
        let region = |code, reason: String| Some(Fault::new(code, Blame::Region, reason));
        let fault = match (offered, offer) {
            (Some((version, _)), _) if version < least => region(
                "recovery-too-old",
                format!(
                    "the region offers version {version}, and this box takes {least} and later: `sund-channel publish rescue OS --version \
                     {least}`"
                ),
            ),
            (Some((version, expires)), _) if expires <= now => {
                region("recovery-expired", format!("version {version} was good until {expires}: sign it anew"))
            }
            (Some(_), _) | (None, None) => None,
            (None, Some(Offer { fault: Some(fault), .. })) => Some(fault),
            (None, Some(_)) => region(
                "recovery-none",
                "the region offers no recovery bundle: `sund-channel publish rescue`".to_owned(),
            ),
        };
        Self { least: Some(least), offered: version, fault }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        match (&self.fault, self.least, self.offered) {
            (Some(fault), ..) => format!("NOTHING WOULD BE TAKEN: {fault}"),
            (None, Some(least), Some(offered)) => {
                format!("version {offered} is offered, not below the counter ({least})")
            }
            (None, least, _) => {
                format!("version {} and later; what the region offers is not known yet", least.unwrap_or(0))
            }
        }
    }
}

fn read<T: DeserializeOwned>(directory: &Path, name: &str) -> Option<T> {
    let mut bytes = Vec::new();
    File::open(directory.join(name)).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn write(directory: &Path, name: &str, value: &impl Serialize) -> Result<(), Fault> {
    durable::replace(&directory.join(name), &serde_json::to_vec(value).unwrap_or_default(), 0o640)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_to_be_taken_that_the_rescue_would_refuse() {
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().expect("a time");
        let later: Timestamp = "2027-12-01T00:00:00Z".parse().expect("a time");
        let offers = |recovery, fault| Some(Offer { timestamp: Some(1), recovery, fault, released: 0 });
        let gone = Fault::new("tpm-away", Blame::Box, "it is off");
        let cases = [
            (Counted::Least(5), offers(Some((5, later)), None), ""),
            (Counted::Least(5), None, ""),
            (Counted::Least(6), offers(Some((5, later)), None), "recovery-too-old"),
            (Counted::Least(5), offers(Some((5, now)), None), "recovery-expired"),
            (Counted::Least(5), offers(None, None), "recovery-none"),
            (Counted::Least(5), offers(None, Some(Fault::new("x", Blame::Channel, "y"))), "x"),
            (Counted::Least(5), offers(Some((5, later)), Some(Fault::new("x", Blame::Channel, "y"))), ""),
            (Counted::Fault(gone), offers(Some((5, later)), None), "tpm-away"),
        ];
        for (counted, offer, code) in cases {
            let status = RecoveryStatus::of(counted.clone(), offer, now);
            let found = status.fault.as_ref().map_or("", |fault| fault.code.as_ref());
            assert_eq!(found, code, "{counted:?}");
            assert_eq!(status.in_words().starts_with("NOTHING WOULD BE TAKEN"), !code.is_empty());
        }
    }
}
