//! The key for which a code was sent and no answer came. The channel may have given its certificate to that key and to no other, so
//! the same code is sent with the same key again, also after a power cut.
use super::failed;
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::KeyPair;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Codes that were sent, and not answered, of which the key is kept.
const MAX_PENDING: usize = 8;
/// So many digits of a code's digest stand in the name of its key's file.
const DIGITS: usize = 32;

/// A code without what people leave out or mistake when they type it: dashes, spaces, small letters, O for 0.
pub fn plain(code: &str) -> String {
    let letters =
        code.chars().filter(|c| !c.is_whitespace() && *c != '-').take(64).map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        });
    letters.collect()
}

/// The key to send a code with: the one that it was sent with before, or a new one, which is on the disk by then.
pub(super) fn key_for(key: &Path, code: &str) -> Result<KeyPair, Fault> {
    let place = place(key, code);
    match std::fs::read_to_string(&place) {
        Ok(pem) => {
            if let Ok(pair) = KeyPair::from_pem(&pem) {
                return Ok(pair);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make_room(key)?,
        // Another key would be refused, where this one may have its certificate.
        Err(error) => {
            return Err(Fault::new("disk-failed", Blame::Box, format!("{}: {error}", place.display())));
        }
    }
    let pair = KeyPair::generate().map_err(|error| failed(&error.to_string()))?;
    // Before the request: a code is not used up for a key that the disk does not take.
    durable::replace(&place, pair.serialize_pem().as_bytes(), 0o600)?;
    Ok(pair)
}

/// The channel gives nothing for this code and this key.
pub(super) fn give_up(key: &Path, code: &str) -> Result<(), Fault> {
    durable::remove(&place(key, code))
}

/// All keys that wait for an answer.
pub(super) fn all(key: &Path) -> Vec<PathBuf> {
    let begin = format!("{}.", key.file_name().unwrap_or_default().to_string_lossy());
    let files = std::fs::read_dir(key.parent().unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let waits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(".next")).is_some_and(|code| code.len() == DIGITS)
    };
    files.map(|file| file.path()).filter(waits).collect()
}

/// A key that is a file, where it is one.
pub(super) fn read(key: &Path) -> Option<KeyPair> {
    std::fs::read_to_string(key).ok().and_then(|pem| KeyPair::from_pem(&pem).ok())
}

/// Where the key for a code waits.
pub(super) fn place(key: &Path, code: &str) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.next", &hex(digest(&SHA256, plain(code).as_bytes()).as_ref())[..DIGITS]));
    key.with_file_name(name)
}

/// There while the key in the TPM may have a certificate of which the answer was lost.
pub(super) fn asked(certificate: &Path) -> PathBuf {
    certificate.with_extension("asked")
}

/// The oldest goes, where there are too many.
fn make_room(key: &Path) -> Result<(), Fault> {
    let mut waiting = all(key);
    waiting.sort_by_key(|path| path.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH));
    let surplus = (waiting.len() + 1).saturating_sub(MAX_PENDING);
    waiting[..surplus].iter().try_for_each(|path| durable::remove(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_key_however_it_is_typed_and_another_code_another_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = directory.path().join("box.key");
        let public = |code: &str| key_for(&key, code).expect("a key").public_key_raw().to_vec();
        let first = public("AB1CD-20F3G");
        assert_eq!(public("ablcd 2of3g"), first);
        assert_ne!(public("AB1CD-20F3H"), first);
        give_up(&key, "AB1CD-20F3H").expect("it goes");
        assert_eq!(public("AB1CD-20F3G"), first, "another code that was refused takes nothing away");
        for n in 0..3 * MAX_PENDING {
            public(&format!("CODE-{n}"));
        }
        assert_eq!(all(&key).len(), MAX_PENDING);
    }
}
