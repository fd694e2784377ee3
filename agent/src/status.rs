//! What `sund status --json`, the console and the tests see of a running agent. Frozen: a change is a new version.
use crate::outcome::Outcome;
use crate::pipeline::Holder;
use crate::privacy::Private;
use crate::release::Variant;
use crate::spool::Lack;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// The whole state, at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this format: 1.
    pub format: u32,
    /// `sund` version.
    pub version: String,
    /// Which variant the system is; absent on the one for patients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// When the agent started.
    #[serde(with = "utc")]
    pub started: SystemTime,
    /// True while the agent drains.
    pub draining: bool,
    /// Name of the state that serves, as the channel brought it; absent where it is the box's own configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// DICOM node.
    pub node: Node,
    /// Spool figures.
    pub spool: SpoolStatus,
    /// The clinical certificate; absent where the configuration has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// The collection of the audit log; absent where nobody collects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardStatus>,
    /// Loaded models.
    pub models: Vec<ModelStatus>,
    /// Workers: one for each GPU that is named, else one.
    pub workers: Vec<WorkerStatus>,
    /// No job begins before then, because the updater is about to restart the machine; absent where they begin.
    #[serde(default, with = "utc_or_none", skip_serializing_if = "Option::is_none")]
    pub held_until: Option<SystemTime>,
    /// GPUs that were lost again and again and are left alone for a while; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus_left: Vec<GpuLeft>,
    /// Destinations and their queues.
    pub destinations: Vec<DestinationStatus>,
    /// Jobs that wait or run, in order.
    pub queue: Vec<JobStatus>,
    /// Studies, newest first, at most `limits::console::MAX_STUDIES_SHOWN`.
    pub studies: Vec<StudyStatus>,
}

impl Status {
    /// The same without what identifies patients: for terminals, logs and tickets.
    #[must_use]
    pub fn without_patients(mut self) -> Self {
        for study in &mut self.studies {
            for text in [&mut study.patient, &mut study.patient_id, &mut study.accession, &mut study.description] {
                *text = Private::default();
            }
        }
        self
    }
}

/// The DICOM node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// AE title.
    pub ae_title: String,
    /// `host:port`.
    pub address: String,
    /// Open associations.
    pub associations: u32,
    /// Instances received since the start.
    pub received: u64,
}

/// The spool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that may be used.
    pub quota: u64,
    /// Stored instances.
    pub instances: u64,
    /// Received instances that wait for their study to be complete: it is in no list, and no job is about them yet.
    #[serde(default)]
    pub unconsidered: u64,
    /// False while C-STORE is answered A700.
    pub accepting: bool,
    /// Why it is so: `quota`, `disk`, or `stopped` after a write has failed.
    pub lack: Option<Lack>,
    /// Places that did not read back when the agent started: what lay there is lost.
    pub damaged: u64,
}

/// The clinical certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// DNS names and addresses that it carries.
    pub names: Vec<String>,
    /// Its end; absent while there is none.
    #[serde(default, with = "utc_or_none", skip_serializing_if = "Option::is_none")]
    pub not_after: Option<SystemTime>,
    /// True where it is renewed by itself.
    pub renews: bool,
    /// True where its end is near, or there is none: a person has to see to it.
    pub alarm: bool,
    /// Why it cannot be read or renewed, while that lasts.
    pub trouble: Option<String>,
}

/// The collection of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// `host:port`.
    pub collector: String,
    /// Events that it has.
    pub collected: u64,
    /// Events that it does not have yet.
    pub waiting: u64,
    /// Why it does not get them, while that lasts.
    pub trouble: Option<String>,
}

/// A loaded model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Manifest name.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Version.
    pub version: String,
    /// Manufacturer.
    pub vendor: String,
    /// Package digest.
    pub digest: String,
    /// `shadow`, `research`, `clinical`.
    pub mode: String,
    /// Engine class and precision that serves, e.g. `tract fp32`; `None` while it is off.
    pub engine: Option<String>,
    /// Why this engine, or why none.
    pub explanation: String,
    /// Every engine that might serve, the preferred one first.
    pub engines: Vec<EngineStatus>,
    /// `active`, `checking`, `off`, `suspended`.
    pub state: String,
    /// By whose word it is suspended: `region`, `updater` (no state that is approved holds it), `person`; absent where it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Holder>,
    /// Intended use, from the manifest.
    pub intended_use: String,
    /// Jobs that ended, by outcome.
    pub outcomes: Vec<(Outcome, u64)>,
}

/// A place at a worker: it has one for each study that it may have at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its GPU, or part of one, as `nvidia-smi -L` names it; `None` where none is named.
    pub device: Option<String>,
    /// The job that it runs.
    pub job: Option<u64>,
}

/// A GPU that is left alone: engines of the processor serve in its place, where models are validated for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuLeft {
    /// As in `WorkerStatus::device`.
    pub device: Option<String>,
    /// `gpu-left`.
    pub code: String,
    /// What it was lost with at last.
    pub reason: String,
    /// Since when.
    #[serde(with = "utc")]
    pub since: SystemTime,
    /// When it is tried again, at the earliest.
    #[serde(with = "utc")]
    pub until: SystemTime,
}

/// An engine that might serve a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Class and precision, and where a compiled one comes from: `tensorrt-rtx fp16, packaged`.
    pub name: String,
    /// True for the one that serves.
    pub serves: bool,
    /// Why, or why not.
    pub reason: String,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestinationStatus {
    /// Name in the configuration.
    pub name: String,
    /// AE title.
    pub ae_title: String,
    /// `host:port`.
    pub address: String,
    /// Results that wait.
    pub waiting: u64,
    /// Results sent and confirmed.
    pub delivered: u64,
    /// Results given up.
    pub dead: u64,
    /// Results that are held, because their study is another patient's there.
    pub held: u64,
    /// Last failure, for people, while it lasts.
    pub trouble: Option<String>,
}

/// A job that waits or runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Job number.
    pub id: u64,
    /// Study, as in `StudyStatus::id`.
    pub study: String,
    /// Model name.
    pub model: String,
    /// `waiting` or `running`.
    pub state: String,
    /// Since when.
    #[serde(with = "utc")]
    pub since: SystemTime,
}

/// A study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyStatus {
    /// Opaque identifier for URLs (not the Study Instance UID).
    pub id: String,
    /// Patient's name, for the console of an authorised person.
    pub patient: Private<String>,
    /// Patient ID.
    pub patient_id: Private<String>,
    /// Accession Number.
    pub accession: Private<String>,
    /// Modalities, e.g. `MR`.
    pub modalities: Vec<String>,
    /// Study Description.
    pub description: Private<String>,
    /// Instances received.
    pub instances: u64,
    /// Where it stands: `receiving`, `complete`, `routed`, `running`, `done`, `delivered`, `refused`, `failed`.
    pub state: String,
    /// The timeline, oldest first.
    pub timeline: Vec<Moment>,
    /// Results, one entry for each that was made.
    pub results: Vec<ResultStatus>,
}

/// One step on a study's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// `received`, `complete`, `identity`, `routed`, `running`, `done`, `delivered`, `refused`, `failed`, `waiting`.
    pub step: String,
    /// When, UTC.
    #[serde(with = "utc")]
    pub at: SystemTime,
    /// One line for people, without patient data.
    pub text: String,
    /// Stable code, where it is a refusal or a failure.
    pub code: Option<String>,
}

/// A result of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultStatus {
    /// Model name and version.
    pub model: String,
    /// `SEG`, `SR`, `SC`.
    pub kind: String,
    /// Outcome.
    pub outcome: Outcome,
    /// One line, e.g. `Brain 1292 ml`.
    pub summary: String,
    /// Path of the preview picture (PNG) on the console, where there is one.
    pub preview: Option<String>,
    /// `waiting`, `delivered`, `superseded`, `kept` (a shadow run), `held`, `dead`, by destination.
    pub delivery: Vec<(String, String)>,
}

/// The same, where there is one.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) mod utc_or_none {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::SystemTime;

    pub fn serialize<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::utc::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        #[derive(Deserialize)]
        struct At(#[serde(with = "super::utc")] SystemTime);
        Option::<At>::deserialize(deserializer).map(|at| at.map(|at| at.0))
    }
}

/// Instants as RFC 3339 in UTC with milliseconds: `2026-11-23T13:05:57.120Z`.
pub(crate) mod utc {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::SystemTime;

    pub fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}
