//! One data set on its way from the peer to the intake.
use super::intake::{Association, Intake, IntakeInstance};
use super::negotiate::Context;
use super::walk::{Uids, Walk};
use crate::fault::{Blame, Fault};
use crate::instance::{Arrival, Origin};
use crate::limits::association::{MAX_DATASET, MAX_FRONT};
use std::time::SystemTime;
use tokio::time::Instant;

/// What the command of a C-STORE and its presentation context say of the data set.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub context: Context,
    pub sop_class: Option<String>,
    pub sop_instance: Option<String>,
}

/// A data set that arrives. Dropped before [`Receiving::store`], it leaves nothing.
pub(super) struct Receiving<T> {
    announced: Announced,
    /// When the first byte of its command came.
    began: Instant,
    walk: Walk,
    length: u64,
    /// Its first bytes, until they name the study.
    held: Vec<u8>,
    /// Where its bytes go from then on.
    instance: Option<T>,
    /// Why the rest is read and dropped.
    refused: Option<Fault>,
}

impl<T: IntakeInstance> Receiving<T> {
    /// `refused`: a reason that stands before the first byte.
    pub(super) fn new(announced: Announced, began: Instant, refused: Option<Fault>) -> Self {
        let walk = Walk::new(&announced.context.transfer_syntax);
        Self { announced, began, walk, length: 0, held: Vec::new(), instance: None, refused }
    }

    /// Takes the next bytes. False once there are so many that the peer must be stopped.
    pub(super) fn take<I>(&mut self, bytes: &[u8], association: &Association, intake: &I) -> bool
    where
        I: Intake<Instance = T>,
    {
        self.length += bytes.len() as u64;
        if self.refused.is_none()
            && let Err(fault) = self.pass_on(bytes, association, intake)
        {
            self.refused = Some(fault);
            self.instance = None;
            self.held = Vec::new();
        }
        self.length <= MAX_DATASET
    }

    fn pass_on<I>(&mut self, bytes: &[u8], association: &Association, intake: &I) -> Result<(), Fault>
    where
        I: Intake<Instance = T>,
    {
        self.walk.push(bytes)?;
        if let Some(instance) = &mut self.instance {
            return instance.write(bytes);
        }
        let uids = self.walk.uids();
        if uids.study.is_some() {
            let study = required(uids.study.as_ref(), "Study Instance UID")?;
            // Elements come in the order of their tags: what the data set is stands before the study that it belongs to.
            // Where they do not, this is found at the end.
            matches(uids, &self.announced)?;
            let named = self.announced.sop_instance.as_deref().filter(|uid| is_uid(uid)).unwrap_or_default();
            let instance = self.instance.insert(intake.begin(association, &study, named)?);
            instance.write(&std::mem::take(&mut self.held))?;
            return instance.write(bytes);
        }
        if self.held.len() + bytes.len() > MAX_FRONT {
            let reason = format!("the first {} MiB of the data set do not name its study", MAX_FRONT >> 20);
            return Err(Fault::new("dataset-without-uid", Blame::Peer, reason));
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// The data set has ended: returns once it is on stable storage.
    pub(super) async fn store<I>(self, association: &Association, intake: &I) -> Result<(), Fault>
    where
        I: Intake<Instance = T>,
    {
        if let Some(fault) = self.refused {
            return Err(fault);
        }
        let uids = self.walk.finish()?;
        let arrival = arrival(&uids, &self.announced, association)?;
        matches(&uids, &self.announced)?;
        let instance = self.instance.ok_or_else(|| absent("Study Instance UID"))?;
        let stored = instance.commit(arrival).await?;
        intake.stored(association, &stored, self.began.elapsed());
        Ok(())
    }
}

fn arrival(uids: &Uids, announced: &Announced, association: &Association) -> Result<Arrival, Fault> {
    Ok(Arrival {
        sop_class: required(uids.sop_class.as_ref(), "SOP Class UID")?,
        sop_instance: required(uids.sop_instance.as_ref(), "SOP Instance UID")?,
        study: required(uids.study.as_ref(), "Study Instance UID")?,
        series: required(uids.series.as_ref(), "Series Instance UID")?,
        transfer_syntax: announced.context.transfer_syntax.clone(),
        at: SystemTime::now(),
        origin: Origin::Received {
            calling_ae: association.calling_ae.clone(),
            called_ae: association.called_ae.clone(),
            peer: association.peer.to_string(),
            association: association.id,
        },
    })
}

/// Command, presentation context and data set must say the same, as far as the data set has said it.
fn matches(uids: &Uids, announced: &Announced) -> Result<(), Fault> {
    let class = uids.sop_class.as_deref();
    let instance = uids.sop_instance.as_deref();
    let is_same = class.is_none_or(|class| {
        announced.sop_class.as_deref() == Some(class) && announced.context.abstract_syntax == class
    }) && instance.is_none_or(|instance| announced.sop_instance.as_deref() == Some(instance));
    if is_same {
        return Ok(());
    }
    let reason = "the SOP class or instance of the command is not that of the data set";
    Err(Fault::new("sop-mismatch", Blame::Peer, reason))
}

fn required(uid: Option<&String>, name: &str) -> Result<String, Fault> {
    uid.filter(|uid| is_uid(uid)).cloned().ok_or_else(|| absent(name))
}

fn absent(name: &str) -> Fault {
    Fault::new("dataset-without-uid", Blame::Peer, format!("{name} is absent or not a UID"))
}

/// PS3.5 9.1, but for leading zeros, which some senders have.
fn is_uid(text: &str) -> bool {
    text.len() <= 64 && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}
