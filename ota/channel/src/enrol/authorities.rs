//! Which of the channel's authorities count now: those that the region has signed (`trust/authorities.json`), whatever lies in `ca/`. Where it
//! has signed none, the first one.
//!
//! Of those whose key lies in `ca/`, the oldest one issues the server's own certificate: every box knows it. The newest one issues to the boxes
//! that know it.
use super::authority::{Authority, FIRST, folder};
use crate::limits::enrol::MAX_AUTHORITY_FILES;
use crate::repository::{self, Home, Proposal, ROOT, TARGETS, files, proposed_authorities, signed_authorities};
use rustls::RootCertStore;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;
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
        match signed(home)? {
            Some(signed) => Self::listed(home, &signed),
            None => Ok(Self(vec![Arc::new(Authority::open(home)?)])),
        }
    }

    /// Those that a document of the region lists, as they would count in a channel's home.
    pub fn listed(home: &Path, signed: &documents::Authorities) -> Result<Self, Fault> {
        let there: Vec<Arc<Authority>> = all(home).into_iter().flatten().collect();
        let counting = |pem: &String| {
            let listed = Authority::of(home, pem, None).map(Arc::new)?;
            Ok(there.iter().find(|known| known.digest() == listed.digest()).cloned().unwrap_or(listed))
        };
        let counting: Result<Vec<_>, String> = signed.authorities.iter().map(counting).collect();
        match counting {
            Ok(counting) if !counting.is_empty() => Ok(Self(counting)),
            Ok(_) => Err(none(home, "the region has signed no authority")),
            Err(why) => Err(none(home, &why)),
        }
    }

    /// Those that count, the oldest first.
    pub fn all(&self) -> &[Arc<Authority>] {
        &self.0
    }

    /// By which the server is known: the oldest one that can issue.
    pub fn oldest(&self) -> &Arc<Authority> {
        self.issuing().next().unwrap_or(&self.0[0])
    }

    /// Which issues from now on: the newest one that can.
    pub fn newest(&self) -> &Arc<Authority> {
        self.issuing().next_back().unwrap_or(&self.0[0])
    }

    /// Those of which the key is there.
    pub fn issuing(&self) -> impl DoubleEndedIterator<Item = &Arc<Authority>> {
        self.0.iter().filter(|it| it.issues().is_ok())
    }

    /// The newest one that a box believes, by what it tells; the oldest, where it tells nothing.
    pub fn for_box(&self, told: &str) -> &Arc<Authority> {
        let is_known = |it: &&Arc<Authority>| told.split(',').take(MAX_TOLD).any(|digest| digest == it.digest());
        self.issuing().rev().find(is_known).unwrap_or_else(|| self.oldest())
    }

    /// Which of them has issued a certificate that a handshake has proved.
    pub fn issuer(&self, certificate: &X509Certificate<'_>) -> Option<&Arc<Authority>> {
        self.0.iter().find(|it| it.has_issued(certificate))
    }

    /// Whether one of that name counts.
    pub fn counts(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.name() == name)
    }

    /// Whether the one of that certificate counts.
    pub fn has(&self, digest: &str) -> bool {
        self.0.iter().any(|it| it.digest() == digest)
    }

    /// As TLS wants them.
    pub fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        self.0.iter().try_for_each(|it| roots.add(it.certificate().clone())).map(|()| roots)
    }

    fn is(&self, other: &Self) -> bool {
        let known = |set: &Self| -> Vec<(String, bool)> {
            set.0.iter().map(|it| (it.digest().to_owned(), it.issues().is_ok())).collect()
        };
        known(self) == known(other)
    }
}

/// Those of a server that runs: the region may sign others meanwhile.
pub struct Authorities {
    home: PathBuf,
    current: RwLock<Arc<Set>>,
    /// The timestamp at the last look. Whoever holds it looks.
    looked: Mutex<Option<Stamp>>,
}

/// When a file was written, and its length.
type Stamp = (SystemTime, u64);

impl Authorities {
    /// Those of a channel's home.
    pub fn open(home: &Path) -> Result<Self, Fault> {
        let looked = Mutex::new(published(home));
        Ok(Self { home: home.to_owned(), current: RwLock::new(Arc::new(Set::of(home)?)), looked })
    }

    /// Those that count now.
    pub fn now(&self) -> Arc<Set> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether the region has signed others, or a key came or went; whether it is so. What can't be read leaves those of before.
    pub fn look(&self) -> Result<bool, Fault> {
        self.look_at(published(&self.home), self.turn())
    }

    /// The same, where something was published since the last look: ten thousand boxes may ask within one poll.
    pub fn look_if_published(&self) -> Result<bool, Fault> {
        let (turn, now) = (self.turn(), published(&self.home));
        if now.is_some() && *turn == now { Ok(false) } else { self.look_at(now, turn) }
    }

    fn turn(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_at(&self, published: Option<Stamp>, mut looked: MutexGuard<'_, Option<Stamp>>) -> Result<bool, Fault> {
        let found = Set::of(&self.home)?;
        *looked = published;
        if found.is(&self.now()) {
            return Ok(false);
        }
        let names: Vec<&str> = found.all().iter().map(|it| it.name()).collect();
        tracing::info!(authorities = names.join(", "), "the channel's authorities, or their keys, are other ones");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        Ok(true)
    }
}

/// Every authority of which the certificate lies in the home, by its name; what can't be read holds up none of the others.
pub fn all(home: &Path) -> Vec<Result<Arc<Authority>, Fault>> {
    let entries = match fs::read_dir(folder(home)) {
        Ok(entries) => entries,
        Err(error) => return vec![Err(none(home, &error.to_string()))],
    };
    let certificate = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".pem").map(str::to_owned)
    };
    let mut names: Vec<String> = entries.flatten().filter_map(certificate).take(MAX_AUTHORITY_FILES).collect();
    names.sort();
    names.iter().map(|name| Authority::without_key(home, name).map(Arc::new)).collect()
}

/// What can't be read of the authorities: keys of those that count or wait for the region, and certificates in the home.
pub fn unusable(home: &Path, set: &Set) -> Vec<Fault> {
    let (there, dropped) = (all(home), dropped(home));
    let waits = |it: &&Arc<Authority>| !set.has(it.digest()) && !dropped.iter().any(|digest| digest == it.digest());
    let of_use = set.all().iter().chain(there.iter().flatten().filter(waits));
    let keys = of_use.filter_map(|it| it.issues().err());
    keys.chain(there.iter().filter_map(|it| it.as_ref().err())).cloned().collect()
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

/// Those that would count by each proposal that waits and says so, by its name. One that can't be read is told where proposals are.
pub fn waiting(home: &Path) -> Vec<(String, Set)> {
    let drafted = |id: String| {
        let proposal = Proposal::open(&Home::served(home), &id).ok()?;
        let listed = proposed_authorities(&proposal).ok()??;
        Some((id, Set::listed(home, &listed).ok()?))
    };
    // What says nothing of `targets` has another name, and need not be read.
    let is_of_account = |id: &String| [ROOT, TARGETS].iter().any(|role| id.starts_with(role));
    repository::waiting(&Home::served(home))
        .unwrap_or_default()
        .into_iter()
        .filter(is_of_account)
        .filter_map(drafted)
        .collect()
}

/// The certificates of those that count, PEM; nothing where the home has none yet.
pub fn pem(home: &Path) -> Result<Option<String>, Fault> {
    if !folder(home).exists() {
        return Ok(None);
    }
    Set::of(home).map(|set| Some(set.all().iter().map(|it| it.pem()).collect()))
}

/// The timestamp, which every publication changes.
fn published(home: &Path) -> Option<Stamp> {
    let about = fs::metadata(Home::served(home).metadata().join("timestamp.json")).ok()?;
    Some((about.modified().ok()?, about.len()))
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

    #[test]
    fn an_authority_whose_key_is_gone_is_believed_and_another_one_issues() {
        let home = tempfile::tempdir().unwrap();
        let pems =
            [Authority::open(home.path()), Authority::make(home.path(), "ca-2")].map(|it| it.unwrap().pem().to_owned());
        keep(home.path(), &pems);
        let (certificate, key) = crate::enrol::authority::files(home.path(), "ca-2");
        // Another one's key makes no certificate that anybody would take.
        fs::copy(home.path().join("ca/ca.key"), &key).unwrap();
        for _ in 0..2 {
            let set = Set::of(home.path()).unwrap();
            assert_eq!(set.all().iter().map(|it| it.name()).collect::<Vec<_>>(), ["ca", "ca-2"]);
            assert_eq!((set.roots().unwrap().len(), set.oldest().name(), set.newest().name()), (2, "ca", "ca"));
            assert_eq!(set.for_box(set.all()[1].digest()).name(), "ca");
            let [told] = &unusable(home.path(), &set)[..] else { panic!("one is named") };
            assert!(told.reason.contains("ca-2.key"), "{told}");
            fs::remove_file(&key).unwrap_or_default();
            fs::remove_file(&certificate).unwrap_or_default();
        }
    }

    #[test]
    fn a_renewal_looks_where_something_was_published_since_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let timestamp = Home::served(home.path()).metadata().join("timestamp.json");
        fs::create_dir_all(timestamp.parent().unwrap()).unwrap();
        fs::write(&timestamp, "1").unwrap();
        let authorities = Authorities::open(home.path()).unwrap();
        let first = authorities.now().oldest().pem().to_owned();
        keep(home.path(), &[first, Authority::make(home.path(), "ca-2").unwrap().pem().to_owned()]);
        assert!(!authorities.look_if_published().unwrap(), "nothing was published");
        fs::write(&timestamp, "10").unwrap();
        assert!(authorities.look_if_published().unwrap());
        assert_eq!(authorities.now().newest().name(), "ca-2");
        fs::remove_file(home.path().join("ca/ca-2.key")).unwrap();
        assert!(
            !authorities.look_if_published().unwrap() && authorities.look().unwrap(),
            "keys are looked at each minute"
        );
        assert_eq!(authorities.now().newest().name(), "ca");
    }

    /// What the region has signed, as a server that cannot read its repository has kept it.
    fn keep(home: &Path, authorities: &[String]) {
        let signed = documents::Authorities { format: 1, authorities: authorities.to_vec(), dropped: Vec::new() };
        fs::write(folder(home).join(KEPT), serde_json::to_vec(&signed).unwrap()).unwrap();
    }
}
