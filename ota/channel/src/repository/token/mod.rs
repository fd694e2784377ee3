//! A key in a token (PKCS #11): it signs there and is never read. The module that speaks to the token is opened when a
//! key in it is named, and not before: nothing of it is needed to build this program or to run it with keys in files.
//!
//! Ed25519 (CKM_EDDSA) and ECDSA on P-256 (CKM_ECDSA over a digest that is made here).
mod uri;

pub use uri::{SCHEME, TokenUri};

use super::files::sha256;
use super::keys::{Signer, holds, key_of_spki};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use sund_ota::fault::{Blame, Fault};
use tough::schema::key::Key;

/// SubjectPublicKeyInfo of a P-256 key up to its uncompressed point (RFC 5480, 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A token that was opened with its PIN, and the key in it.
pub struct TokenSigner {
    session: Session,
    private: ObjectHandle,
    key: Key,
}

impl TokenSigner {
    /// Opens the token and finds the key.
    pub fn open(uri: &TokenUri) -> Result<Self, Fault> {
        let path = uri.module()?;
        let unusable = |error: Error| {
            let reason = format!("{} is no module of PKCS #11 that works here: {error}", path.display());
            Fault::new("token-module-unusable", Blame::Configuration, reason)
        };
        let module = Pkcs11::new(&path).map_err(unusable)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // It was opened before in this process, for another key in it.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unusable(error)),
        }
        let slot = slot(&module, uri)?;
        let session = module.open_ro_session(slot).map_err(refused)?;
        log_in(&session, &module, slot, uri)?;
        let private = one(&session, uri, ObjectClass::PRIVATE_KEY)?;
        let public = one(&session, uri, ObjectClass::PUBLIC_KEY)?;
        let key = public_key(&session, public)?;
        Ok(Self { session, private, key })
    }
}

impl Signer for TokenSigner {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let signature = match &self.key {
            Key::Ed25519 { .. } => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                self.session.sign(&pure, self.private, message).map_err(refused)?
            }
            _ => der(&self.session.sign(&Mechanism::Ecdsa, self.private, &sha256(message)).map_err(refused)?),
        };
        // Two halves of one label need not be halves of one key.
        if holds(&self.key, message, &signature) {
            return Ok(signature);
        }
        let reason = "the token's signature does not hold under the public key of the same name: see which keys it has";
        Err(Fault::new("token-refused", Blame::Box, reason))
    }
}

fn slot(module: &Pkcs11, uri: &TokenUri) -> Result<Slot, Fault> {
    let mut found = Vec::new();
    for slot in module.get_slots_with_initialized_token().map_err(refused)? {
        let info = module.get_token_info(slot).map_err(refused)?;
        let is_named = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        if is_named(&uri.token, info.label()) && is_named(&uri.serial, info.serial_number()) {
            found.push(slot);
        }
    }
    match found[..] {
        [slot] => Ok(slot),
        [] => Err(missing("no token of that name is there: plug it in, or name another")),
        _ => Err(missing("several tokens have that name: name the one by serial=NUMBER")),
    }
}

fn log_in(session: &Session, module: &Pkcs11, slot: Slot, uri: &TokenUri) -> Result<(), Fault> {
    let pin = uri.pin()?.map(|pin| AuthPin::new(pin.into()));
    let info = module.get_token_info(slot).map_err(refused)?;
    if pin.is_none() && info.login_required() && !info.protected_authentication_path() {
        let reason =
            "the token wants its PIN: name where it is (pin-source=file:FILE or env:NAME), or set SUND_PKCS11_PIN";
        return Err(Fault::new("token-pin-missing", Blame::Configuration, reason));
    }
    match session.login(UserType::User, pin.as_ref()) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

/// The one object that is named.
fn one(session: &Session, uri: &TokenUri, class: ObjectClass) -> Result<ObjectHandle, Fault> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.clone().map(Attribute::Id));
    match session.find_objects(&template).map_err(refused)?[..] {
        [object] => Ok(object),
        [] => Err(missing(&format!(
            "the token has no key of that name ({class}): `pkcs11-tool --list-objects` tells them"
        ))),
        _ => Err(missing("the token has several keys of that name: name one by its id as well")),
    }
}

/// The public half, from its point (PKCS #11 3.0, 2.3): an OCTET STRING around it, or the bare point with some modules.
fn public_key(session: &Session, public: ObjectHandle) -> Result<Key, Fault> {
    let unfit = || {
        let reason = "the key is neither Ed25519 nor ECDSA on P-256: make one of these in the token";
        Fault::new("key-unreadable", Blame::Configuration, reason)
    };
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(refused)?;
    let Some(Attribute::EcPoint(point)) = attributes.first() else { return Err(unfit()) };
    let bare = match point[..] {
        [0x04, length, ref inner @ ..] if inner.len() == usize::from(length) => inner,
        _ => point,
    };
    let head = match bare.len() {
        32 => super::keys::ED25519_SPKI.as_slice(),
        65 => P256_SPKI.as_slice(),
        _ => return Err(unfit()),
    };
    key_of_spki(&[head, bare].concat()).ok_or_else(unfit)
}

/// PKCS #11 gives r and s, each half; TUF wants them as a SEQUENCE of two INTEGERs (RFC 3279, 2.2.3).
fn der(halves: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
        let mut value = bytes.get(start..).unwrap_or_default().to_vec();
        // The highest bit would make it negative.
        if value.first().is_some_and(|byte| byte & 0x80 != 0) {
            value.insert(0, 0);
        }
        [&[0x02, value.len() as u8], &value[..]].concat()
    };
    let (r, s) = halves.split_at(halves.len() / 2);
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}

fn missing(why: &str) -> Fault {
    Fault::new("token-key-not-found", Blame::Configuration, why)
}

fn refused(error: Error) -> Fault {
    Fault::new("token-refused", Blame::Box, format!("the token refuses: {error}"))
}
