//! Recovery bundles among the proposals: shown, signed, approved and thrown away by the same commands.
use super::Answer;
use super::proposals::{Sign, ask, check_fingerprint};
use crate::repository::Home;
use crate::repository::files;
use crate::repository::keys::KeyPlace;
use crate::repository::rescue::{Offer, rescue_key_id};
use serde_json::{Value, json};
use std::path::Path;
use sund_ota::fault::{Blame, Fault};

/// A recovery bundle by its name in the channel's home, or a directory that was copied to this machine; nothing where
/// that is no such proposal.
pub(super) fn find(home: &Path, named: &str) -> Result<Option<Offer>, Fault> {
    let copied = Path::new(named);
    if Offer::is_at(copied) {
        return Offer::read(copied).map(Some);
    }
    match Home::open(home) {
        Ok(home) if Offer::is_at(&home.proposals().join(named)) => Offer::open(&home, named).map(Some),
        _ => Ok(None),
    }
}

/// What is said of a new one.
pub(super) fn proposed(offer: &Offer) -> Answer {
    let id = offer.id();
    let mut lines = told(offer);
    lines.push(format!(
        "next: enough persons of `os` sign it (`sund-channel sign {id} --key FILE`), then `sund-channel approve {id}`"
    ));
    Answer::new(lines, json_of(offer))
}

pub(super) fn shown(offer: &Offer) -> Answer {
    Answer::new(told(offer), json_of(offer))
}

pub(super) fn sign(offer: &Offer, it: &Sign) -> Result<Answer, Fault> {
    let Some(key) = &it.key else {
        let reason = "a recovery bundle is signed by a key in a file or in a token: --key";
        return Err(Fault::new("usage", Blame::Configuration, reason));
    };
    check_fingerprint(it, &offer.fingerprint())?;
    let signer = KeyPlace::open(key)?;
    if !it.yes {
        let keyid = rescue_key_id(&signer.key()).unwrap_or_default();
        ask(&told(offer), "a person who is not named", &keyid)?;
    }
    let signature = offer.sign(signer.as_ref())?;
    let path = it.out.clone().unwrap_or_else(|| offer.place(&signature));
    files::write(&path, &serde_json::to_vec_pretty(&signature).unwrap_or_default(), 0o644)?;
    let id = offer.id();
    let lines = vec![
        format!("signed {id}: {}", path.display()),
        format!("next: `sund-channel approve {id} {}` at the channel's home", path.display()),
    ];
    Ok(Answer::new(lines, json!({ "proposal": id, "roles": ["rescue"], "file": path })))
}

fn told(offer: &Offer) -> Vec<String> {
    let mut lines = vec![format!("proposal {}", offer.id())];
    lines.extend(offer.words());
    lines.push(format!("fingerprint: {}", offer.fingerprint()));
    lines
}

fn json_of(offer: &Offer) -> Value {
    json!({
        "proposal": offer.id(),
        "directory": offer.directory,
        "fingerprint": offer.fingerprint(),
        "words": offer.words(),
        "rescue": offer.payload,
    })
}
