//! A box goes back to how it left the factory, by an order on a stick that its region has signed: nobody can log in who could do it, and
//! nobody else may.
//!
//! What the order does is asked of the next boot by a variable of the firmware: the system erases its data before anything of it is used.
//! What would be lost by that is told first, and lost only where the order says so.
mod unsent;
mod variable;

pub use unsent::Unsent;

use crate::config::Config;
use crate::fault::{Blame, Fault};
use crate::provision::document::is_name;
use crate::provision::envelope::{self, Keys};
use crate::provision::{Provisioned, invalid, read};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The order's name on a stick.
pub const FILE: &str = "sund-reset.json";
/// What its signature covers besides the payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.sund.reset+json";
/// Where the firmware keeps the request, which systemd-repart takes away (systemd 257, FactoryReset=); the image's own unit looks for it.
pub const VARIABLE: &str = "/sys/firmware/efi/efivars/FactoryReset-8cf2644b-4b0b-428f-9387-6d876050dc67";
/// Where the agent tells how it stands, beside its spool.
pub const AGENT: &str = "/var/lib/sund/spool/control.sock";

/// The order, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// 1.
    pub format: u32,
    /// Whose box it is.
    pub region: String,
    /// Its name.
    #[serde(rename = "box")]
    pub name: String,
    /// When the order was made: it undoes a provisioning of before and no later one.
    pub created: Timestamp,
    /// From then on it counts no more.
    pub expires: Timestamp,
    /// Whether what was not sent and not forwarded is given up.
    #[serde(default)]
    pub discard: bool,
}

/// An order that the region has signed, good now.
#[derive(Debug)]
pub struct Signed {
    order: Order,
    /// Whose signature it was: SHA-256 of the key's SubjectPublicKeyInfo.
    key: String,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The next boot erases the box's data; this is lost by it.
    Out(Vec<String>),
    /// The box is nobody's: there is nothing to reset.
    Nobodys,
}

/// The places on the box that an order is about.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    /// What it was provisioned with.
    pub site: &'a Path,
    /// The updater's directory.
    pub updater: &'a Path,
    /// The agent's own socket.
    pub agent: &'a Path,
    /// The variable of the firmware.
    pub variable: &'a Path,
}

impl Order {
    /// Whether a box can be told that.
    pub fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("format {}; this version reads 1", self.format));
        }
        if !is_name(&self.region) || !is_name(&self.name) {
            return Err("`region` and `box` are names".to_owned());
        }
        Ok(())
    }
}

impl Signed {
    /// Reads an order from a file or a stick, and believes nothing of it before its signature holds.
    pub fn read(path: &Path, keys: &Keys, now: Timestamp) -> Result<Self, Fault> {
        Self::open(&read(path, FILE)?, keys, now)
    }

    /// The same of bytes.
    pub fn open(bytes: &[u8], keys: &Keys, now: Timestamp) -> Result<Self, Fault> {
        let (payload, key) = envelope::open(bytes, PAYLOAD_TYPE, keys)?;
        let order: Order = serde_json::from_slice(&payload).map_err(|error| invalid(format!("the order: {error}")))?;
        order.check().map_err(|reason| invalid(format!("the order: {reason}: make it anew (`sund-channel reset`)")))?;
        if order.expires < now {
            let reason = format!(
                "the order was good until {}, and it is {now:.0}: make a new one (`sund-channel reset`), or set the clock in the firmware's \
                 setup",
                order.expires
            );
            return Err(Fault::new("reset-expired", Blame::Region, reason));
        }
        Ok(Self { order, key })
    }

    /// Has the next boot erase the box's data, where the order is for this box as it is. `config` is the updater's, where it can be read.
    pub async fn carry_out(&self, config: Option<&Config>, places: &Places<'_>) -> Result<Carried, Fault> {
        let order = &self.order;
        match Provisioned::read(places.site) {
            Ok(None) => return Ok(Carried::Nobodys),
            Ok(Some(record)) => self.is_for(&record, Provisioned::since(places.site))?,
            // Whose the box is nobody can tell: that is what a reset mends, and what it costs nobody can tell either.
            Err(_) if order.discard => {}
            Err(fault) => return Err(fault),
        }
        variable::is_free(places.variable)?;
        // Right before it is asked for: what is acknowledged from here on is lost unsaid.
        let lost = match Unsent::ask(config, places).await {
            Ok(unsent) => unsent.in_words(),
            Err(fault) if order.discard => vec![format!("what the agent has not sent, which is not known: {fault}")],
            Err(fault) => return Err(fault),
        };
        if !lost.is_empty() && !order.discard {
            let reason = format!(
                "this would be lost: {}. Let it be sent first, or have the region sign an order that gives it up (`sund-channel reset \
                 --discard`)",
                lost.join("; ")
            );
            return Err(Fault::new("reset-unsent", Blame::Region, reason));
        }
        variable::request(places.variable)?;
        tracing::warn!(target: "audit", region = order.region, name = order.name, key = self.key, lost = lost.join("; "), "the next start erases this box's data");
        Ok(Carried::Out(lost))
    }

    /// Whether it is for the box of a record, in this life of it: a stick that stays in the box after its reset resets nothing more.
    fn is_for(&self, record: &Provisioned, since: Option<Timestamp>) -> Result<(), Fault> {
        let order = &self.order;
        if (&order.region, &order.name) != (&record.region, &record.name) {
            let reason = format!(
                "this box is {} of {}, and the order is for {} of {}: take its own",
                record.name, record.region, order.name, order.region
            );
            return Err(Fault::new("reset-other-box", Blame::Region, reason));
        }
        // A box that was provisioned while its clock was ahead does not know since when.
        let since = since.filter(|since| *since <= Timestamp::now()).unwrap_or(record.created).max(record.created);
        if order.created <= since {
            let reason = format!(
                "this box was provisioned at {since:.0}, and the order is of {:.0}: it was for what was there before. Make a new one \
                 (`sund-channel reset`)",
                order.created
            );
            return Err(Fault::new("reset-older", Blame::Region, reason));
        }
        Ok(())
    }
}
