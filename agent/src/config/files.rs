//! Files and directories that a configuration names.
use super::reader::Section;
use rustix::fs::Access;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest secret file.
const MAX_SECRET: u64 = 4096;

/// A directory that must exist and be writable. It is not made: a disk that is not mounted must not be taken for an empty one.
pub(super) fn directory(section: &Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    section.require::<PathBuf>(key)?;
    let path = section.path(key)?;
    match std::fs::metadata(&path) {
        Ok(metadata) if !metadata.is_dir() => section.complain(key, "is not a directory", ""),
        Ok(_) => match rustix::fs::access(&path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => return Some(path),
            Err(error) => section.complain(key, &format!("cannot be written: {error}"), "give it to the agent's user"),
        },
        Err(error) => {
            let help = format!("make it: install -d -m 0700 {}", path.display());
            section.complain(key, &format!("cannot be used: {error}"), &help);
        }
    }
    None
}

/// A file that must exist.
pub(super) fn file(section: &Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let path = section.path(key)?;
    metadata(section, key, &path).map(|_| path)
}

/// A file that must exist and that only its owner may read.
pub(super) fn private_file(section: &Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let path = section.path(key)?;
    let metadata = metadata(section, key, &path)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let message = format!("can be read by others (mode {:04o})", metadata.permissions().mode() & 0o7777);
        section.complain(key, &message, &format!("chmod 600 {}", path.display()));
        return None;
    }
    Some(path)
}

const HOW_TO_MAKE_A_KEY: &str = "make one: (umask 077; openssl rand -hex 32 > FILE), and keep a copy in a safe place";

/// A secret in a file of its own.
pub(super) fn secret(section: &Section<'_, '_>, key: &'static str) -> Option<Zeroizing<String>> {
    let path = private_file(section, key)?;
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.size() > MAX_SECRET) {
        section.complain(key, "is too long for a secret", "");
        return None;
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(Zeroizing::new(text.trim().to_owned())),
        Err(error) => {
            let help = if key.ends_with("key_file") { HOW_TO_MAKE_A_KEY } else { "" };
            let what = match error.kind() {
                ErrorKind::InvalidData => "holds bytes that are no text".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            section.complain(key, &what, help);
            None
        }
    }
}

/// A key of 256 bits in a file of its own.
pub(super) fn key_file(section: &Section<'_, '_>, key: &'static str) -> Option<Zeroizing<[u8; 32]>> {
    section.require::<PathBuf>(key)?;
    let text = secret(section, key)?;
    let bytes = from_hex(&text);
    if bytes.is_none() {
        section.complain(key, "does not hold a key of 64 hexadecimal digits", HOW_TO_MAKE_A_KEY);
    }
    bytes
}

fn metadata(section: &Section<'_, '_>, key: &'static str, path: &Path) -> Option<Metadata> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(metadata),
        Ok(_) => {
            section.complain(key, "is not a file", "");
            None
        }
        Err(error) => {
            let help = if key.ends_with("key_file") { HOW_TO_MAKE_A_KEY } else { "" };
            section.complain(key, &format!("cannot be read: {error}"), help);
            None
        }
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text.as_bytes().as_chunks::<2>();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    for (byte, pair) in bytes.iter_mut().zip(digits.0) {
        let [high, low] = pair.map(|digit| (digit as char).to_digit(16));
        *byte = (high? * 16 + low?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::from_hex;

    #[test]
    fn a_key_is_64_digits_and_nothing_else() {
        assert_eq!(from_hex(&"0aFf".repeat(16)).unwrap()[..2], [0x0a, 0xff]);
        for wrong in ["", "00", &"g0".repeat(32), &"00".repeat(33), &"æ".repeat(32)] {
            assert!(from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
