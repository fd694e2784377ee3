//! Enrolment: a one-time code makes a box known and gives it a client certificate; the certificate renews itself.
pub mod authorities;
pub mod authority;
pub mod dropping;
mod lock;
pub mod mirror;
pub mod standing;

pub use lock::Lock;
pub(crate) use lock::network;

use crate::database::{failed, record};
use crate::limits::device::{MAX_ATTRIBUTES, MAX_DEVICES, MAX_KEY, MAX_NAME, MAX_VALUE};
use crate::limits::enrol::MAX_CODE_HOURS;
use crate::rollout::filter::Attributes;
use authority::{Authority, Issued, Request};
use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, params};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::identity::plain;

/// Letters and digits that nobody mistakes for one another on a printed sheet (Crockford's base 32).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A code for a box: 100 random bits, to be read out or typed once.
pub fn new_code() -> Result<String, Fault> {
    let symbols = random::<20>()?.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let groups: Vec<String> = symbols.chunks(5).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

/// A target token: 256 random bits.
pub fn new_token() -> Result<String, Fault> {
    Ok(hex(&random::<32>()?))
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Fault::new("no-randomness", Blame::Channel, "The system gives no randomness."))?;
    Ok(bytes)
}

/// What is kept of a code or a token: whoever reads the database has neither.
pub fn hash(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// Checks the name of a box: it is its `controllerId`, and stands in URLs.
pub fn check_name(name: &str) -> Result<(), Fault> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_plain) && !name.starts_with('.') {
        return Ok(());
    }
    let reason = format!(
        "A box's name has 1 to {MAX_NAME} letters, digits, dots, dashes and underscores, and begins with no dot."
    );
    Err(Fault::new("device-name", Blame::Configuration, reason))
}

/// Checks attributes.
pub fn check_attributes(attributes: &Attributes) -> Result<(), Fault> {
    let fits = |(key, value): (&String, &String)| !key.is_empty() && key.len() <= MAX_KEY && value.len() <= MAX_VALUE;
    if attributes.len() <= MAX_ATTRIBUTES && attributes.iter().all(fits) {
        return Ok(());
    }
    let reason = format!("At most {MAX_ATTRIBUTES} attributes, names of {MAX_KEY} bytes and values of {MAX_VALUE}.");
    Err(Fault::new("device-attributes", Blame::Box, reason))
}

/// Attributes as the database keeps them.
pub(crate) fn attributes(text: &str) -> Attributes {
    serde_json::from_str(text).unwrap_or_default()
}

/// Makes a box known (or takes a new code for a known one) and keeps the code's hash.
pub fn expect(
    c: &Connection,
    name: &str,
    given: &Attributes,
    code: &str,
    hours: u32,
    who: &str,
    at: i64,
) -> Result<(), Fault> {
    if !(1..=MAX_CODE_HOURS).contains(&hours) {
        let reason = format!("A code lives 1 to {MAX_CODE_HOURS} hours.");
        return Err(Fault::new("enrol-hours", Blame::Configuration, reason));
    }
    let device = make_known(c, name, given, at)?;
    let until = at + i64::from(hours) * 60 * 60 * 1000;
    let write = || {
        // A newer code for the same box makes the older one void.
        c.execute("DELETE FROM code WHERE device = ?1 OR expires_at < ?2", params![device, at])?;
        c.execute(
            "INSERT INTO code (hash, device, expires_at) VALUES (?1, ?2, ?3)",
            params![hash(&plain(code)), device, until],
        )
    };
    write().map_err(failed)?;
    record(c, who, "enrol new", name)
}

/// Makes a box known and keeps the hash of its target token.
pub fn give_token(
    c: &Connection,
    name: &str,
    given: &Attributes,
    token: &str,
    who: &str,
    at: i64,
) -> Result<(), Fault> {
    let device = make_known(c, name, given, at)?;
    c.execute("UPDATE device SET token = ?2 WHERE id = ?1", params![device, hash(token)]).map_err(failed)?;
    record(c, who, "enrol token", name)
}

/// Shuts a box out, or lets it in again.
pub fn block(c: &Connection, name: &str, is_blocked: bool, who: &str) -> Result<(), Fault> {
    let rows =
        c.execute("UPDATE device SET blocked = ?2 WHERE name = ?1", params![name, is_blocked]).map_err(failed)?;
    if rows == 0 {
        return Err(Fault::new("device-unknown", Blame::Configuration, format!("There is no box `{name}`.")));
    }
    record(c, who, if is_blocked { "enrol block" } else { "enrol unblock" }, name)
}

/// Says what a box is, where it is not said yet or is another thing now; all that is said of it then. An empty value takes one back.
pub fn set(c: &Connection, name: &str, given: &Attributes, who: &str) -> Result<Attributes, Fault> {
    let row = "SELECT attributes FROM device WHERE name = ?1 AND NOT mirror";
    let known = c.query_row(row, [name], |r| r.get::<_, String>(0)).optional().map_err(failed)?;
    let known = known
        .ok_or_else(|| Fault::new("device-unknown", Blame::Configuration, format!("There is no box `{name}`.")))?;
    let all = merged(&known, given)?;
    let text = serde_json::to_string(&all).map_err(failed)?;
    c.execute("UPDATE device SET attributes = ?2 WHERE name = ?1", params![name, text]).map_err(failed)?;
    record(c, who, "enrol set", name)?;
    Ok(all)
}

fn make_known(c: &Connection, name: &str, given: &Attributes, at: i64) -> Result<i64, Fault> {
    check_name(name)?;
    let row = "SELECT attributes FROM device WHERE name = ?1";
    let known = c.query_row(row, [name], |r| r.get::<_, String>(0)).optional().map_err(failed)?;
    if known.is_none() {
        let all: i64 = c.query_row("SELECT count(*) FROM device", [], |r| r.get(0)).map_err(failed)?;
        if all as u64 >= MAX_DEVICES {
            let reason = format!("There are {MAX_DEVICES} boxes already.");
            return Err(Fault::new("too-many-devices", Blame::Configuration, reason));
        }
    }
    let text = serde_json::to_string(&merged(&known.unwrap_or_default(), given)?).map_err(failed)?;
    c.query_row(
        "INSERT INTO device (name, attributes, enrolled_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET attributes = ?2 RETURNING id",
        params![name, text, at],
        |r| r.get(0),
    )
    .map_err(failed)
}

/// What was said of a box and what is said now: one that is not named stays, an empty value takes one back.
fn merged(known: &str, given: &Attributes) -> Result<Attributes, Fault> {
    let mut all = attributes(known);
    all.extend(given.clone());
    all.retain(|_, value| !value.is_empty());
    check_attributes(&all)?;
    Ok(all)
}

/// What is kept of a box's public key.
pub(crate) fn key_hash(public: &[u8]) -> Vec<u8> {
    digest(&SHA256, public).as_ref().to_vec()
}

/// Trades a code for a certificate. A code works once: for one key. The same key may ask again while the code lives, since an
/// answer can be lost on its way.
pub fn enrol(
    c: &Connection,
    authority: &Authority,
    code: &str,
    request: &Request,
    at: i64,
) -> Result<(String, Issued), Fault> {
    let row = "SELECT c.device, d.name, c.key FROM code c JOIN device d ON d.id = c.device
               WHERE c.hash = ?1 AND c.expires_at >= ?2 AND d.blocked = 0";
    let found = c
        .query_row(row, params![hash(&plain(code)), at], |r| {
            Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, Option<Vec<u8>>>(2)?))
        })
        .optional()
        .map_err(failed)?;
    let wrong = || {
        Fault::new(
            "enrol-code",
            Blame::Box,
            "The code is unknown, used or expired: ask the channel's operator for a new one.",
        )
    };
    let (device, name, used) = found.ok_or_else(wrong)?;
    if used.is_some_and(|key| key != request.key()) {
        return Err(wrong());
    }
    c.execute("UPDATE code SET key = ?2 WHERE device = ?1", params![device, request.key()]).map_err(failed)?;
    // Certificates of another key are worth nothing from now on: a stolen one ends with the next code.
    let issued = authority.issue(request, &name, at)?;
    let kept = "UPDATE device SET certificate_until = ?2, key = ?3 WHERE id = ?1";
    c.execute(kept, params![device, issued.until, request.key()]).map_err(failed)?;
    record(c, &name, "enrolled", &name)?;
    Ok((name, issued))
}

/// The successor of a certificate. A renewal never changes the key: it is held to the one that the box has at this moment, since the
/// box may have enrolled another one, or been shut out, while this waited for its turn.
pub fn renew(c: &Connection, authority: &Authority, name: &str, request: &Request, at: i64) -> Result<Issued, Fault> {
    let issued = authority.issue(request, name, at)?;
    let kept = "UPDATE device SET certificate_until = ?3 WHERE name = ?1 AND key = ?2 AND blocked = 0";
    if c.execute(kept, params![name, request.key(), issued.until]).map_err(failed)? == 1 {
        return Ok(issued);
    }
    let reason =
        "A certificate is renewed for the key that it has; another key needs a code of the channel's operator.";
    Err(Fault::new("enrol-key", Blame::Box, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;
    use rcgen::{CertificateParams, KeyPair};
    use std::sync::Arc;

    #[test]
    fn a_code_may_be_typed_as_people_type() {
        let code = new_code().unwrap();
        assert_eq!((code.len(), plain(&code).len()), (23, 20));
        assert_eq!(plain("o1L-abc de"), "011ABCDE");
    }

    #[tokio::test]
    async fn a_renewal_that_waits_behind_a_new_enrolment_or_a_block_gives_a_stolen_key_nothing_back() {
        let home = tempfile::tempdir().unwrap();
        let (database, authority) = (Database::open(home.path()).unwrap(), Authority::open(home.path()).unwrap());
        let authority = Arc::new(authority);
        let request = || {
            let (key, params) = (KeyPair::generate().unwrap(), CertificateParams::default());
            Arc::new(Authority::request(&params.serialize_request(&key).unwrap().pem().unwrap()).unwrap())
        };
        let code = || async {
            let code = new_code().unwrap();
            let given = code.clone();
            let expected = move |c: &Connection| expect(c, "odense-1", &Attributes::default(), &given, 1, "a test", 1);
            database.write(expected).await.unwrap();
            code
        };
        let enrolment = |code: String, request: Arc<Request>| {
            let authority = Arc::clone(&authority);
            database.write(move |c| enrol(c, &authority, &code, &request, 2).map(|_| ()))
        };
        let renewal = |request: Arc<Request>| {
            let authority = Arc::clone(&authority);
            database.write(move |c| renew(c, &authority, "odense-1", &request, 3).map(|_| ()))
        };
        let (stolen, fresh) = (request(), request());
        enrolment(code().await, stolen.clone()).await.unwrap();
        renewal(stolen.clone()).await.unwrap();
        let second = code().await;
        // The writer is held until all three wait: they share one commit, in this order.
        let (go, held) = std::sync::mpsc::channel();
        let hold = database.write(move |_| held.recv().map_err(failed));
        let (enrolled, late) = (enrolment(second, fresh.clone()), renewal(stolen));
        let shut_out = database.write(|c| block(c, "odense-1", true, "a test"));
        let after = renewal(fresh.clone());
        let (_, enrolled, late, _, after, _) =
            tokio::join!(biased; hold, enrolled, late, shut_out, after, async { go.send(()) });
        enrolled.unwrap();
        assert_eq!(late.unwrap_err().code, "enrol-key");
        assert_eq!(after.unwrap_err().code, "enrol-key");
        let key: Vec<u8> = database.read(|c| c.query_row("SELECT key FROM device", [], |r| r.get(0))).unwrap();
        assert_eq!(key, fresh.key());
    }

    #[test]
    fn a_name_that_would_mean_something_in_a_url_is_refused() {
        for name in ["", ".", "..", "a/b", "a b", "a%2f", "å", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("odense-01.sund").is_ok());
    }
}
