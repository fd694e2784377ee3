//! The payloads on this box: `store/<sha256>` with an ending that says what it is. A file is believed after it was hashed in this very
//! process, never because it lies there.
use super::Halt;
use super::record::Record;
use crate::fault::{Blame, Fault};
use crate::state::{DesiredState, Pin};
use crate::trust::{Trusted, Verified};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes that stay free beside the payloads: the spool of the agent and the journal live there too.
const MARGIN: u64 = 64 * 1024 * 1024;
/// Bytes hashed at once.
const CHUNK: usize = 1024 * 1024;

/// A payload that is here, with the hash that the region signed.
#[derive(Clone, Debug)]
pub struct Held {
    pin: Pin,
    path: PathBuf,
}

impl Held {
    /// What it is.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Payloads of a state that lie in the store. The operating system is none of them: RAUC streams it.
pub fn payloads(state: &DesiredState) -> impl Iterator<Item = (&Pin, &'static str)> {
    let configuration = state.configuration.iter().map(|pin| (pin, "toml"));
    configuration.chain(state.models.iter().map(|model| (&model.package, "sund")))
}

/// Where a payload lies.
pub fn place(store: &Path, pin: &Pin, ending: &str) -> PathBuf {
    store.join(format!("{}.{ending}", pin.sha256))
}

/// The payload where it is here and whole; one that is here and is something else is removed.
pub async fn held(store: &Path, pin: &Pin, ending: &str) -> Option<Held> {
    let path = place(store, pin, ending);
    let (hashed, length) = (path.clone(), pin.length);
    let digest = tokio::task::spawn_blocking(move || digest(&hashed, length)).await.ok()?;
    match digest {
        Ok(digest) if digest == pin.sha256 => Some(Held { pin: pin.clone(), path }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        _ => {
            tracing::warn!(target: "audit", path = %path.display(), "a payload in the store is not what it was: it is fetched again");
            let _ = std::fs::remove_file(&path);
            None
        }
    }
}

/// Fetches a payload that the region lists.
pub async fn fetch(trusted: &Trusted, store: &Path, pin: &Pin, ending: &str) -> Result<Held, Fault> {
    let path = place(store, pin, ending);
    keep_what_came(&path.with_extension("part"), &path.with_extension("kept"));
    let fetched: Verified<PathBuf> = trusted.fetch(pin, &path).await.inspect_err(|_| {
        // Whatever was kept did not help; it may be the reason.
        let _ = std::fs::remove_file(path.with_extension("kept"));
    })?;
    let _ = std::fs::remove_file(path.with_extension("kept"));
    // The agent reads it by its group.
    let readable = std::fs::set_permissions(fetched.get(), std::fs::Permissions::from_mode(0o640));
    readable.map_err(|error| Fault::new("disk-failed", Blame::Box, format!("{}: {error}", path.display())))?;
    Ok(Held { pin: pin.clone(), path })
}

/// Whether what is missing fits beside what is there.
pub fn check_space(store: &Path, missing: u64) -> Result<(), Halt> {
    let stat = rustix::fs::statvfs(store).map_err(|error| {
        Halt::Refused(Fault::new("disk-failed", Blame::Box, format!("{}: {error}", store.display())))
    })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if missing.saturating_add(MARGIN) <= free {
        return Ok(());
    }
    let reason = format!(
        "{missing} bytes are to be fetched and {free} are free in {}, of which {MARGIN} stay free: make room, or send less",
        store.display()
    );
    Err(Halt::Refused(Fault::new("disk-full", Blame::Box, reason)))
}

/// Removes what no state that held and no state in hand needs.
pub fn clean(store: &Path, record: &Record, in_hand: &DesiredState) {
    let mut needed: BTreeSet<&str> = payloads(in_hand).map(|(pin, _)| pin.sha256.as_str()).collect();
    needed.extend(record.unproven.iter().map(String::as_str));
    needed.extend(record.good.iter().flat_map(|good| good.files.iter().map(String::as_str)));
    for entry in std::fs::read_dir(store).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
        if !needed.contains(digest) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A process that was killed has left `.part`, and had begun with `.kept`: the longer of the two goes on.
fn keep_what_came(part: &Path, kept: &Path) {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length(part) > length(kept) {
        let _ = std::fs::rename(part, kept);
    }
}

fn digest(path: &Path, length: u64) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    if file.metadata()?.len() != length {
        return Err(std::io::Error::other("another length"));
    }
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(context.finish().as_ref())),
            n => context.update(&chunk[..n]),
        }
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
