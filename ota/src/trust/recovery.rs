//! The recovery bundle that the region offers: what `sund-rescue` would fetch, were neither slot of this box to start. Its descriptor is no
//! target: `rescue.json` lies beside the targets, signed by the persons of the role `os` (ota/README.md, "Rescue").
use super::{Trusted, Verified, audited};
use crate::fault::{Blame, Fault};
use crate::limits::MAX_RECOVERY;
use crate::provision::envelope::{Envelope, SPKI, key_id, message};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use tough::schema::key::Key;

/// Where it lies below the base of the targets.
const PLACE: &str = "rescue/rescue.json";
/// What a signature covers besides the payload (DSSE).
const PAYLOAD_TYPE: &str = "application/vnd.sund.rescue+json";
/// The role whose persons sign it.
const ROLE: &str = "os";

/// What this box has to know of it; the bundle is the business of `sund-rescue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Recovery {
    format: u32,
    /// Counts up with each other bundle.
    pub version: u64,
    /// From then on it is taken no more.
    pub expires: Timestamp,
}

impl Trusted {
    /// The recovery bundle that is offered now, signed by enough persons; `None` where there is none.
    pub async fn recovery(&self) -> Result<Option<Verified<Recovery>>, Fault> {
        audited(PLACE, self.read_recovery().await)
    }

    async fn read_recovery(&self) -> Result<Option<Verified<Recovery>>, Fault> {
        self.check_time()?;
        let Some(bytes) = self.store.unlisted(PLACE, MAX_RECOVERY).await? else { return Ok(None) };
        let signers = match self.delegated.get(ROLE) {
            Some(Err(fault)) => return Err(fault.clone()),
            Some(Ok(os)) => os.scope.roles.iter().find(|role| role.name == ROLE).map(|role| (role, &os.scope.keys)),
            None => None,
        };
        let (role, keys) = signers.ok_or_else(|| invalid("is signed by nobody who may: no role `os` is delegated"))?;
        let envelope: Envelope =
            serde_json::from_slice(&bytes).map_err(|error| invalid(&format!("is no envelope: {error}")))?;
        let payload = STANDARD.decode(&envelope.payload).unwrap_or_default();
        let message = message(PAYLOAD_TYPE, &payload);
        let has_signed = |public: &[u8]| {
            let id = key_id(&[&SPKI[..], public].concat());
            envelope.signatures.iter().filter(|claim| claim.keyid == id).any(|claim| {
                let signature = STANDARD.decode(&claim.sig).unwrap_or_default();
                UnparsedPublicKey::new(&ED25519, public).verify(&message, &signature).is_ok()
            })
        };
        // One person has one key in the role: that was checked where it is delegated.
        let signed = role.keyids.iter().filter(|keyid| match keys.get(keyid) {
            Some(Key::Ed25519 { keyval, .. }) => has_signed(&keyval.public),
            _ => false,
        });
        let (signed, threshold) = (signed.count() as u64, role.threshold.get());
        if envelope.payload_type != PAYLOAD_TYPE || signed < threshold {
            return Err(invalid(&format!("is signed by {signed} of the {threshold} persons who must")));
        }
        let recovery: Recovery =
            serde_json::from_slice(&payload).map_err(|error| invalid(&format!("cannot be read: {error}")))?;
        if recovery.format != 1 {
            return Err(invalid(&format!("has format {}; this updater reads 1: update it first", recovery.format)));
        }
        Ok(Some(Verified(recovery)))
    }

    /// The version of the timestamp by which this repository is the newest.
    pub(crate) fn timestamp(&self) -> Option<u64> {
        let timestamp: serde_json::Value = serde_json::from_str(self.seen.timestamp.as_deref()?).ok()?;
        timestamp["signed"]["version"].as_u64()
    }
}

fn invalid(why: &str) -> Fault {
    Fault::new("recovery-invalid", Blame::Channel, format!("the region's recovery bundle ({PLACE}) {why}"))
}
