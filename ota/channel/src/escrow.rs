//! Recovery keys of the boxes' disks, sealed by each box to the region's own key. The channel keeps them and can open none.
//!
//! Nothing replaces what is kept: whoever has stolen a box's certificate adds to it, and takes nothing away.
use crate::database::{failed, record};
use crate::limits::escrow::{MAX_PER_DEVICE, MAX_SEALED};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;

/// A sealed key, as a box sends it.
pub struct Sealed {
    recipient: String,
    bytes: Vec<u8>,
}

/// A sealed key that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// SHA-256 of the sealed bytes.
    pub sha256: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that it is sealed to.
    pub recipient: String,
    /// Since when, in milliseconds since 1970.
    pub kept_at: i64,
}

impl Sealed {
    /// Checks what came: it is short, and says whom it is for. That it holds what it should, only the region's private key can tell.
    pub fn check(format: u32, recipient: &str, sealed: &str) -> Result<Self, Fault> {
        let invalid =
            |why: &str| Fault::new("escrow-invalid", Blame::Box, format!("The sealed key is refused: {why}."));
        if format != 1 {
            return Err(invalid("this server reads format 1"));
        }
        let is_digest = recipient.len() == 64 && recipient.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            return Err(invalid("`recipient` is no SHA-256"));
        }
        let bytes = STANDARD.decode(sealed).map_err(|_| invalid("`sealed` is no base64"))?;
        if bytes.is_empty() || bytes.len() > MAX_SEALED {
            return Err(invalid("it has no bytes, or too many"));
        }
        Ok(Self { recipient: recipient.to_owned(), bytes })
    }

    fn sha256(&self) -> Vec<u8> {
        digest(&SHA256, &self.bytes).as_ref().to_vec()
    }
}

/// Keeps a sealed key of a box. The same bytes are kept once, since an acknowledgment can be lost on its way.
pub fn keep(c: &Connection, device: i64, name: &str, sealed: &Sealed, at: i64) -> Result<Kept, Fault> {
    let digest = sealed.sha256();
    let row = "SELECT recipient, at FROM escrow WHERE device = ?1 AND sha256 = ?2";
    let known = c.prepare_cached(row).and_then(|mut row| row.query_row(params![device, digest], kept).optional());
    if let Some((recipient, kept_at)) = known.map_err(failed)? {
        return Ok(Kept { sha256: hex(&digest), recipient, kept_at });
    }
    let count = "SELECT count(*) FROM escrow WHERE device = ?1";
    let count: u32 = c.query_row(count, [device], |r| r.get(0)).map_err(failed)?;
    if count >= MAX_PER_DEVICE {
        let reason = format!(
            "{MAX_PER_DEVICE} sealed keys of this box are kept, and none of them goes by itself: the channel's operator drops what is of a \
             disk that is gone (`sund-channel escrow drop`)."
        );
        return Err(Fault::new("escrow-full", Blame::Region, reason));
    }
    let put = "INSERT INTO escrow (device, sha256, recipient, sealed, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    c.execute(put, params![device, digest, sealed.recipient, sealed.bytes, at]).map_err(failed)?;
    record(c, name, "escrow keep", name)?;
    Ok(Kept { sha256: hex(&digest), recipient: sealed.recipient.clone(), kept_at: at })
}

fn kept(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// What is kept of a box, the newest first.
pub fn list(c: &Connection, name: &str) -> Result<Vec<Kept>, Fault> {
    let device = device(c, name)?;
    let rows = "SELECT sha256, recipient, at FROM escrow WHERE device = ?1 ORDER BY at DESC, sha256";
    let read = || {
        c.prepare(rows)?
            .query_map([device], |r| {
                Ok(Kept { sha256: hex(&r.get::<_, Vec<u8>>(0)?), recipient: r.get(1)?, kept_at: r.get(2)? })
            })?
            .collect::<Result<_, _>>()
    };
    read().map_err(failed)
}

/// Hands out a sealed key of a box, the newest or the one of a digest, and writes down to whom.
pub fn take(c: &Connection, name: &str, sha256: Option<&str>, who: &str) -> Result<(Kept, Vec<u8>), Fault> {
    let found = one(list(c, name)?, name, sha256)?;
    let sealed = "SELECT e.sealed FROM escrow e JOIN device d ON d.id = e.device WHERE d.name = ?1 AND hex(e.sha256) = upper(?2)";
    let sealed = c.query_row(sealed, [name, &found.sha256], |r| r.get(0)).map_err(failed)?;
    record(c, who, "escrow write", name)?;
    Ok((found, sealed))
}

/// Drops the sealed key of a disk that is gone.
pub fn remove(c: &Connection, name: &str, sha256: &str, who: &str) -> Result<Kept, Fault> {
    let found = one(list(c, name)?, name, Some(sha256))?;
    let gone = "DELETE FROM escrow WHERE device = (SELECT id FROM device WHERE name = ?1) AND hex(sha256) = upper(?2)";
    c.execute(gone, [name, &found.sha256]).map_err(failed)?;
    record(c, who, "escrow drop", name)?;
    Ok(found)
}

fn one(kept: Vec<Kept>, name: &str, sha256: Option<&str>) -> Result<Kept, Fault> {
    let mut named = kept.into_iter().filter(|kept| sha256.is_none_or(|sha256| kept.sha256 == sha256));
    named.next().ok_or_else(|| {
        let reason = format!(
            "No such sealed key of `{name}` is kept: `sund-channel escrow list --name {name}` tells which are."
        );
        Fault::new("escrow-unknown", Blame::Configuration, reason)
    })
}

fn device(c: &Connection, name: &str) -> Result<i64, Fault> {
    let found = c.query_row("SELECT id FROM device WHERE name = ?1", [name], |r| r.get(0)).optional();
    found
        .map_err(failed)?
        .ok_or_else(|| Fault::new("device-unknown", Blame::Configuration, format!("There is no box `{name}`.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::in_memory;

    fn sealed(n: u8) -> Sealed {
        Sealed::check(1, &"a".repeat(64), &STANDARD.encode([n; 384])).unwrap()
    }

    #[test]
    fn whoever_sends_many_keys_drives_none_out() {
        let c = in_memory();
        c.execute("INSERT INTO device (id, name, enrolled_at) VALUES (1, 'a', 1)", []).unwrap();
        for n in 0..MAX_PER_DEVICE as u8 {
            keep(&c, 1, "a", &sealed(n), i64::from(n)).unwrap();
        }
        assert_eq!(keep(&c, 1, "a", &sealed(255), 99).unwrap_err().code, "escrow-full");
        // What is known is acknowledged also then, with the time at which it came.
        assert_eq!(keep(&c, 1, "a", &sealed(0), 99).unwrap().kept_at, 0);
        let all = list(&c, "a").unwrap();
        assert_eq!(all.len(), MAX_PER_DEVICE as usize);
        let oldest = all.last().unwrap();
        assert_eq!(take(&c, "a", Some(&oldest.sha256), "anna").unwrap().1, [0; 384]);
        remove(&c, "a", &oldest.sha256, "anna").unwrap();
        keep(&c, 1, "a", &sealed(255), 99).unwrap();
        assert_eq!(take(&c, "a", None, "anna").unwrap().1, [255; 384]);
        let acts: String =
            c.query_row("SELECT group_concat(who || ' ' || what, ', ') FROM act", [], |r| r.get(0)).unwrap();
        assert!(acts.contains("a escrow keep") && acts.contains("anna escrow write, anna escrow drop"), "{acts}");
    }

    #[test]
    fn what_is_no_sealed_key_is_refused() {
        let good = (1, "a".repeat(64), STANDARD.encode([1; 384]));
        assert!(Sealed::check(good.0, &good.1, &good.2).is_ok());
        for (format, recipient, bytes) in [
            (2, good.1.clone(), good.2.clone()),
            (1, "A".repeat(64), good.2.clone()),
            (1, String::new(), good.2.clone()),
            (1, good.1.clone(), String::new()),
            (1, good.1.clone(), "no base64".to_owned()),
            (1, good.1, STANDARD.encode([1; MAX_SEALED + 1])),
        ] {
            assert_eq!(Sealed::check(format, &recipient, &bytes).err().unwrap().code, "escrow-invalid");
        }
    }
}
