//! What can happen that is worth a line, as the stages say it.
use super::updater::UpdaterEvent;
use crate::fault::Fault;
use crate::outcome::Outcome;
use crate::privacy::Private;

/// Another DICOM node.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its AE title.
    pub ae_title: String,
    /// Its address, with or without a port.
    pub address: String,
}

/// The study that an event is about; all of it is encrypted in the log.
#[derive(Clone, Debug, Default)]
pub struct Study {
    /// Study Instance UID.
    pub uid: Private<String>,
    /// Patient ID.
    pub patient_id: Private<String>,
    /// Patient's Name.
    pub patient_name: Private<String>,
}

/// A model package.
#[derive(Clone, Debug)]
pub struct Model {
    /// Manifest name and version, `brain 1.2.0`.
    pub name: String,
    /// Package digest.
    pub digest: String,
}

/// What becomes of a result that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// It is tried again.
    Waits,
    /// It is kept until a person decides.
    Held,
    /// It is not tried again.
    GivenUp,
}

/// One event. Texts are cut at `limits::audit::MAX_TEXT`.
#[derive(Clone, Debug)]
pub enum Event {
    /// The agent began to serve.
    AgentStarted {
        /// Version of `sund`.
        version: String,
    },
    /// The agent could not begin to serve.
    AgentNotStarted {
        /// Why.
        fault: Fault,
    },
    /// The agent drained and stopped.
    AgentStopped {
        /// Why, where nobody asked for it, or what had not ended by then.
        fault: Option<Fault>,
    },
    /// A configuration was read and taken.
    ConfigurationLoaded {
        /// SHA-256 of the file, in hex.
        digest: String,
    },
    /// A DICOM port without TLS is open by the configuration's named exception.
    PlainDicom {
        /// `host:port`.
        address: String,
        /// Why it is needed.
        reason: String,
        /// The person who answers for it.
        approved_by: String,
        /// Its last day.
        until: String,
    },
    /// An association was accepted.
    AssociationOpened {
        /// The caller.
        peer: Peer,
        /// Called AE title.
        called_ae: String,
        /// Number of the association since the start.
        association: u64,
        /// Which of the presentation contexts that it asked for were not accepted.
        lacking: Option<Fault>,
    },
    /// An association was refused.
    AssociationRefused {
        /// The caller.
        peer: Peer,
        /// Called AE title.
        called_ae: String,
        /// Why.
        fault: Fault,
    },
    /// Instances of a study arrived and are on stable storage.
    InstancesStored {
        /// The study.
        study: Study,
        /// Who sent them.
        peer: Peer,
        /// How many.
        instances: u64,
    },
    /// Requests of an association were refused: instances that were not kept, or operations that are not known.
    RequestsRefused {
        /// The study of the instance, where that is known.
        study: Option<Study>,
        /// The caller.
        peer: Peer,
        /// How many.
        requests: u64,
        /// Why.
        fault: Fault,
    },
    /// No model runs on a study: no route listens to its sender, or there is no image in it.
    StudyNotRouted {
        /// The study.
        study: Study,
        /// Why.
        fault: Fault,
    },
    /// A study was refused.
    StudyRefused {
        /// The study.
        study: Study,
        /// Why.
        fault: Fault,
    },
    /// A study could not be completed, and is tried again.
    StudyPutOff {
        /// The study.
        study: Study,
        /// Why.
        fault: Fault,
    },
    /// The same pixels came with a new header: the identity was updated without inference.
    IdentityUpdated {
        /// The study, as it is known now.
        study: Study,
        /// Version of the identity record.
        version: u64,
    },
    /// A model began to work on a study.
    JobStarted {
        /// The study.
        study: Study,
        /// Job number.
        job: u64,
        /// The model.
        model: Model,
    },
    /// A worker was lost on a job, which is run again.
    JobRestarted {
        /// The study.
        study: Study,
        /// Job number.
        job: u64,
        /// The model.
        model: Model,
        /// Class and precision of the engine that it runs on next, `tract fp32`.
        engine: String,
        /// How the worker was lost.
        fault: Fault,
    },
    /// A routed job ended.
    JobEnded {
        /// The study.
        study: Study,
        /// Job number.
        job: u64,
        /// The model.
        model: Model,
        /// How.
        outcome: Outcome,
        /// Why, where it could not run or does not apply.
        fault: Option<Fault>,
    },
    /// A result was made and is on stable storage.
    ResultMade {
        /// The study.
        study: Study,
        /// The model.
        model: Model,
        /// `SEG`, `SR`, `SC`.
        kind: String,
        /// SOP Instance UID of the result.
        instance: Private<String>,
    },
    /// A destination confirmed a result.
    Delivered {
        /// The study.
        study: Study,
        /// The destination.
        destination: Peer,
        /// SOP Instance UID of the result.
        instance: Private<String>,
    },
    /// A result could not be delivered.
    DeliveryFailed {
        /// The study.
        study: Study,
        /// The destination.
        destination: Peer,
        /// SOP Instance UID of the result.
        instance: Private<String>,
        /// Why.
        fault: Fault,
        /// What becomes of it.
        then: Undelivered,
    },
    /// What a person asked for by the control socket, or the updater by the channel's, was not done.
    OperationRefused {
        /// `erase`, `requeue`, `recall`, `suspend`, `resume`, `try`, `activate`, `revert`, `hold`, `audit` or `connect`.
        operation: &'static str,
        /// The study, as it was asked for.
        study: Option<Study>,
        /// Why.
        fault: Fault,
    },
    /// A person had results queued again that were given up or held.
    ResultsRequeued {
        /// The study.
        study: Study,
        /// The destination.
        destination: Peer,
        /// How many.
        results: u64,
    },
    /// A person ordered the recall of what a package has made.
    RecallOrdered {
        /// `NAME`, `NAME@VERSION` or `sha256:DIGEST`.
        package: String,
        /// Why.
        reason: String,
    },
    /// Results of a study were recalled from a destination.
    ResultsRecalled {
        /// The study.
        study: Study,
        /// The package, as it was named in the order.
        package: String,
        /// Name of the destination.
        destination: String,
        /// Results that will not go there.
        cancelled: u64,
        /// Results that a note rejects there, and its SOP Instance UID.
        rejected: Option<(u64, Private<String>)>,
        /// Results there that a person has to withdraw.
        by_hand: u64,
    },
    /// A person began a session on the console.
    LoggedIn {
        /// User name.
        user: String,
        /// Where from.
        address: String,
    },
    /// A person ended a session.
    LoggedOut {
        /// User name.
        user: String,
        /// Where from.
        address: String,
    },
    /// A person takes a support bundle from the console.
    SupportBundle {
        /// User name; `None` where nobody logs in.
        user: Option<String>,
        /// Where to.
        address: String,
    },
    /// A person orders something at the console; what comes of it is told after this.
    ConsoleOrder {
        /// User name.
        user: String,
        /// Where from.
        address: String,
        /// `suspend`, `resume`, `recall` or `requeue`.
        operation: &'static str,
        /// The package or the destination.
        about: String,
    },
    /// A login was refused.
    LoginRefused {
        /// The name that was given, where it is that of a user: a mistyped one may be a password.
        user: Option<String>,
        /// Where from.
        address: String,
        /// Why.
        fault: Fault,
    },
    /// A study is about to be erased.
    ErasureBegun {
        /// The study.
        study: Study,
        /// On demand or by retention, and whose.
        reason: String,
    },
    /// A study was erased.
    StudyErased {
        /// The study.
        study: Study,
        /// On demand or by retention, and whose.
        reason: String,
        /// Instances that went, results among them.
        instances: u64,
    },
    /// The golden cases of a model package hold, and it serves.
    PackageLoaded {
        /// The model.
        model: Model,
        /// Class, precision and version of the engine that they hold on.
        engine: String,
    },
    /// A model package was refused.
    PackageRefused {
        /// What it calls itself, or its folder.
        name: String,
        /// Why.
        fault: Fault,
    },
    /// A state was tried beside the one that serves.
    StateTried {
        /// Its name.
        state: String,
        /// Why it did not hold.
        fault: Option<Fault>,
    },
    /// A state serves from now on, or from the restart on that follows.
    StateActivated {
        /// Its name; `None` for the box's own configuration.
        state: Option<String>,
        /// True where it is one that served before, or the box's own.
        reverted: bool,
        /// True where the agent is started again for it.
        restarts: bool,
    },
    /// The state that was activated cannot serve any more: the box's own configuration does.
    StateLost {
        /// Its name.
        state: String,
        /// Why.
        fault: Fault,
    },
    /// A model was switched off, whatever the configuration says.
    ModelSuspended {
        /// Name of its package.
        package: String,
        /// Why.
        reason: String,
        /// Who asked.
        by: &'static str,
    },
    /// A suspension was taken back.
    ModelResumed {
        /// Name of the package.
        package: String,
        /// Who asked.
        by: &'static str,
    },
    /// Another clinical certificate serves from now on, whoever has put it there.
    CertificateTaken {
        /// SHA-256 of it, hex.
        digest: String,
        /// Its names.
        names: String,
        /// Its end.
        until: String,
    },
    /// The clinical certificate could not be read or renewed.
    CertificateNotRenewed {
        /// Why.
        fault: Fault,
    },
    /// What the updater of this box did, or refused.
    Updater(UpdaterEvent),
    /// Places in the spool do not read back: what lay there is lost.
    SpoolDamaged {
        /// How much.
        fault: Fault,
    },
    /// The last write before a crash was incomplete; what was cut off is kept beside the log.
    LogRepaired {
        /// Bytes cut off.
        bytes: u64,
        /// SHA-256 of them, in hex.
        digest: String,
    },
}

impl Event {
    /// What `sund_refusals_total` counts of it. Requests are counted as they come: their event stands for several.
    pub fn refusal(&self) -> Option<&Fault> {
        match self {
            Self::AssociationOpened { lacking: fault, .. }
            | Self::JobEnded { fault, .. }
            | Self::StateTried { fault, .. }
            | Self::AgentStopped { fault } => fault.as_ref(),
            Self::AgentNotStarted { fault }
            | Self::OperationRefused { fault, .. }
            | Self::AssociationRefused { fault, .. }
            | Self::StudyNotRouted { fault, .. }
            | Self::StudyRefused { fault, .. }
            | Self::StudyPutOff { fault, .. }
            | Self::DeliveryFailed { fault, .. }
            | Self::LoginRefused { fault, .. }
            | Self::PackageRefused { fault, .. }
            | Self::StateLost { fault, .. }
            | Self::CertificateNotRenewed { fault }
            | Self::SpoolDamaged { fault } => Some(fault),
            _ => None,
        }
    }
}
