//! Which of the channel's authorities count now: those that the region has signed (`trust/authorities.json`), and of which the key lies in
//! `ca/`. Where it has signed none, the first one.
//!
//! The oldest one issues the server's own certificate: every box knows it. The newest one issues to the boxes that know it.
use super::authority::{Authority, FIRST, folder};
use crate::limits::enrol::MAX_AUTHORITY_FILES;
use crate::repository::{Home, files, signed_authorities};
use rustls::RootCertStore;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use sund_ota::authorities::MAX_TOLD;
use sund_ota::documents;
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::MAX_STATE;
use x509_parser::prelude::X509Certificate;

/// What the region has signed as the server has last read it: a repository that cannot be read brings no authority back.
const KEPT: &str = "authorities.json";

/// Those that count, the oldest first.
pub struct Set(Vec<Arc<Authority>>);

impl Set {
    /// Those of a channel's home. The first one is made where the region has signed nothing and there is none.
    pub fn of(home: &Path) -> Result<Self, Fault> {
        let Some(signed) = signed(home)? else { return Ok(Self(vec![Arc::new(Authority::open(home)?)])) };
        let there = all(home)?;
        let listed = signed.certificates().map_err(|why| none(home, &why))?;
        let listed = listed.iter().filter_map(|it| there.iter().find(|known| known.certificate() == it)).cloned();
        let counting: Vec<Arc<Authority>> = listed.collect();
        if counting.is_empty() {
            return Err(none(home, "of none that the region has signed the key is there"));
        }
        Ok(Self(counting))
    }

    /// Those that count, the oldest first.
    pub fn all(&self) -> &[Arc<Authority>] {
        &self.0
    }

    /// By which the server is known.
    pub fn oldest(&self) -> &Arc<Authority> {
        &self.0[0]
    }

    /// Which issues from now on.
    pub fn newest(&self) -> &Arc<Authority> {
        &self.0[self.0.len() - 1]
    }

    /// The newest one that a box believes, by what it tells; the oldest, where it tells nothing.
    pub fn for_box(&self, told: &str) -> &Arc<Authority> {
        let is_known = |it: &&Arc<Authority>| told.split(',').take(MAX_TOLD).any(|digest| digest == it.digest());
        self.0.iter().rev().find(is_known).unwrap_or_else(|| self.oldest())
    }

    /// Which of them has issued a certificate that a handshake has proved.
    pub fn issuer(&self, certificate: &X509Certificate<'_>) -> Option<&Arc<Authority>> {
        self.0.iter().find(|it| it.has_issued(certificate))
    }

    /// Whether one of that name counts.
    pub fn counts(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.name() == name)
    }

    /// As TLS wants them.
    pub fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        self.0.iter().try_for_each(|it| roots.add(it.certificate().clone())).map(|()| roots)
    }

    fn is(&self, other: &Self) -> bool {
        let digests = |set: &Self| set.0.iter().map(|it| it.digest().to_owned()).collect::<Vec<_>>();
        digests(self) == digests(other)
    }
}

/// Those of a server that runs: the region may sign others meanwhile.
pub struct Authorities {
    home: PathBuf,
    current: RwLock<Arc<Set>>,
}

impl Authorities {
    /// Those of a channel's home.
    pub fn open(home: &Path) -> Result<Self, Fault> {
        Ok(Self { home: home.to_owned(), current: RwLock::new(Arc::new(Set::of(home)?)) })
    }

    /// Those that count now.
    pub fn now(&self) -> Arc<Set> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether the region has signed others; whether it has. What can't be read leaves those of before.
    pub fn look(&self) -> Result<bool, Fault> {
        let found = Set::of(&self.home)?;
        if found.is(&self.now()) {
            return Ok(false);
        }
        let names: Vec<&str> = found.all().iter().map(|it| it.name()).collect();
        tracing::info!(authorities = names.join(", "), "the region has signed other authorities of the channel");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        Ok(true)
    }
}

/// Every authority of which certificate and key lie in the home, by its name.
pub fn all(home: &Path) -> Result<Vec<Arc<Authority>>, Fault> {
    let folder = folder(home);
    let entries = fs::read_dir(&folder).map_err(|error| none(home, &error.to_string()))?;
    let key = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".key").map(str::to_owned)
    };
    let mut names: Vec<String> = entries.flatten().filter_map(key).take(MAX_AUTHORITY_FILES).collect();
    names.sort();
    names.iter().map(|name| Authority::read(home, name).map(Arc::new)).collect()
}

/// A name that no authority of the home has, or has had.
pub fn free_name(home: &Path, ever: usize) -> String {
    let is_free = |name: &String| {
        let (certificate, key) = super::authority::files(home, name);
        !certificate.exists() && !key.exists()
    };
    let mut names = (ever + 1..).map(|n| format!("{FIRST}-{n}"));
    names.find(is_free).unwrap_or_default()
}

/// Digests of those that the region has dropped, as the server has last read it.
pub fn dropped(home: &Path) -> Vec<String> {
    let kept = files::read_if_there(&folder(home).join(KEPT), MAX_STATE).ok().flatten();
    kept.and_then(|bytes| documents::Authorities::parse(&bytes).ok()).unwrap_or_default().dropped
}

/// The certificates of those that count, PEM; nothing where the home has none yet.
pub fn pem(home: &Path) -> Result<Option<String>, Fault> {
    if !folder(home).exists() {
        return Ok(None);
    }
    Set::of(home).map(|set| Some(set.all().iter().map(|it| it.pem()).collect()))
}

/// What the region has signed, and where it can't be read now, what it had signed when it was read last.
fn signed(home: &Path) -> Result<Option<documents::Authorities>, Fault> {
    let kept = folder(home).join(KEPT);
    let before = files::read_if_there(&kept, MAX_STATE)?;
    let now = match signed_authorities(&Home::served(home)) {
        Ok(now) => now,
        Err(fault) => {
            if before.is_some() {
                tracing::warn!(code = %fault.code, "whom the region has signed as the channel is not read: {fault}");
            }
            None
        }
    };
    if let Some(bytes) = now.filter(|now| before.as_ref() != Some(now)) {
        let document = documents::Authorities::parse(&bytes)?;
        fs::create_dir_all(folder(home)).map_err(|error| none(home, &error.to_string()))?;
        files::write(&kept, &bytes, 0o644)?;
        return Ok(Some(document));
    }
    before.map(|bytes| documents::Authorities::parse(&bytes)).transpose()
}

fn none(home: &Path, why: &str) -> Fault {
    let reason = format!("{}: {why}: bring ca/ back from a copy of the channel's directory.", folder(home).display());
    Fault::new("authority-unusable", Blame::Channel, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_issued_nothing_by_an_authority_that_it_does_not_know() {
        let home = tempfile::tempdir().unwrap();
        let first = Arc::new(Authority::open(home.path()).unwrap());
        let second = Arc::new(Authority::make(home.path(), &free_name(home.path(), 1)).unwrap());
        let set = Set(vec![Arc::clone(&first), Arc::clone(&second)]);
        let issues = |told: &str| set.for_box(told).name().to_owned();
        assert_eq!((issues(""), issues("00"), issues(first.digest())), ("ca".into(), "ca".into(), "ca".into()));
        assert_eq!(issues(&format!("{},{}", first.digest(), second.digest())), "ca-2");
        assert_eq!(issues(second.digest()), "ca-2");
        assert_eq!(free_name(home.path(), 1), "ca-3", "a name is used once");
    }
}
