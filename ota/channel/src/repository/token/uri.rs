//! Which key of which token: a URI of PKCS #11 (RFC 7512), as far as a person who signs needs it.
//!
//! `pkcs11:token=Dora;object=sund?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/user/1000/pin`
use crate::repository::files;
use crate::repository::limits::MAX_KEY;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use sund_ota::fault::{Blame, Fault};

/// How such a URI begins.
pub const SCHEME: &str = "pkcs11:";
/// The module, where the URI names none.
const MODULE: &str = "SUND_PKCS11_MODULE";
/// The PIN, where the URI names no source of it.
const PIN: &str = "SUND_PKCS11_PIN";

/// A key in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    /// Label of the token.
    pub token: Option<String>,
    /// Serial number of the token.
    pub serial: Option<String>,
    /// Label of the key.
    pub object: Option<String>,
    /// Identifier of the key.
    pub id: Option<Vec<u8>>,
    module: Option<PathBuf>,
    pin_source: Option<String>,
}

impl TokenUri {
    /// The library that speaks to the token.
    pub fn module(&self) -> Result<PathBuf, Fault> {
        let named = self.module.clone().or_else(|| std::env::var_os(MODULE).map(PathBuf::from));
        named.ok_or_else(|| refused(&format!("it names no module: add ?module-path=FILE, or set {MODULE}")))
    }

    /// The PIN; nothing where nobody gave one, for a token with a keypad of its own.
    pub fn pin(&self) -> Result<Option<String>, Fault> {
        let Some(source) = &self.pin_source else {
            return Ok(std::env::var(PIN).ok());
        };
        if let Some(name) = source.strip_prefix("env:") {
            let missing = |_| Fault::new("token-pin-missing", Blame::Configuration, format!("{name} is not set"));
            return std::env::var(name).map(Some).map_err(missing);
        }
        let path = source.strip_prefix("file:").unwrap_or(source);
        let bytes = files::read(Path::new(path), MAX_KEY)?;
        let text = String::from_utf8(bytes).map_err(|_| refused("its PIN is no text"))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl FromStr for TokenUri {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| refused("it does not begin with pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self { token: None, serial: None, object: None, id: None, module: None, pin_source: None };
        let parts = path.split(';').map(|part| (part, true)).chain(query.split('&').map(|part| (part, false)));
        for (part, is_path) in parts.filter(|(part, _)| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| refused(&format!("`{part}` says nothing")))?;
            let value = decoded(value)?;
            let words = || String::from_utf8(value.clone()).map_err(|_| refused(&format!("{key} is no text")));
            match (key, is_path) {
                ("token", true) => uri.token = Some(words()?),
                ("serial", true) => uri.serial = Some(words()?),
                ("object", true) => uri.object = Some(words()?),
                ("id", true) => uri.id = Some(value),
                // RFC 7512, 2.3: what kind of object it is. Both halves of a key are looked for here.
                ("type", true) if value == b"private" => {}
                ("module-path", false) => uri.module = Some(PathBuf::from(words()?)),
                ("pin-source", false) => uri.pin_source = Some(words()?),
                ("pin-value", false) => {
                    return Err(refused(
                        "a PIN on the command line is seen by everybody on this machine: use pin-source",
                    ));
                }
                // What is not understood could tell another key apart (RFC 7512, 2.4).
                _ => return Err(refused(&format!("`{key}` is not understood there"))),
            }
        }
        if uri.token.is_none() && uri.serial.is_none() {
            return Err(refused("it names no token: token=LABEL or serial=NUMBER"));
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(refused("it names no key: object=LABEL or id=%01%02"));
        }
        Ok(uri)
    }
}

/// RFC 3986, 2.1.
fn decoded(text: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.split_at_checked(2).and_then(|(digits, more)| {
            rest = more;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        });
        bytes.push(digits.ok_or_else(|| refused("a % is followed by two hexadecimal digits"))?);
    }
    Ok(bytes)
}

fn refused(why: &str) -> Fault {
    let reason =
        format!("this is no key in a token: {why} (RFC 7512: pkcs11:token=LABEL;object=LABEL?module-path=FILE)");
    Fault::new("token-uri-invalid", Blame::Configuration, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_module_and_where_the_pin_is() {
        let text =
            "pkcs11:token=The%20Region;object=dora;id=%01%aB;type=private?module-path=/m.so&pin-source=file:/pin";
        let uri: TokenUri = text.parse().unwrap();
        assert_eq!((uri.token.as_deref(), uri.object.as_deref()), (Some("The Region"), Some("dora")));
        assert_eq!((uri.id.as_deref(), uri.module().unwrap()), (Some(&[1, 0xab][..]), PathBuf::from("/m.so")));
        assert_eq!(uri.pin_source.as_deref(), Some("file:/pin"));
    }

    #[test]
    fn a_uri_that_says_more_or_less_than_is_understood_is_refused() {
        for wrong in [
            "dora.key",
            "pkcs11:",
            "pkcs11:token=a",
            "pkcs11:object=b",
            "pkcs11:token=a;object=b;slot-id=3",
            "pkcs11:token=a;object=b;type=cert",
            "pkcs11:token=a;object=b?pin-value=1234",
            "pkcs11:token=a;object=%0",
            "pkcs11:token=a;object=%ff",
            "pkcs11:token=a;object",
        ] {
            assert_eq!(TokenUri::from_str(wrong).unwrap_err().code, "token-uri-invalid", "{wrong}");
        }
    }

    #[test]
    fn a_pin_comes_from_a_file_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12 34\n").unwrap();
        let uri: TokenUri = format!("pkcs11:token=a;object=b?pin-source={}", file.path().display()).parse().unwrap();
        assert_eq!(uri.pin().unwrap().as_deref(), Some("12 34"));
        let missing: TokenUri = "pkcs11:token=a;object=b?pin-source=env:SUND_NO_SUCH_PIN".parse().unwrap();
        assert_eq!(missing.pin().unwrap_err().code, "token-pin-missing");
    }
}
