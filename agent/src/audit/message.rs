//! Events as audit messages of PS3.15 A.5, in JSON with the element names of that schema.
use super::event::{Event, Model, Peer, Study, Undelivered};
use super::updater::{NUMBER, UpdaterEvent};
use crate::fault::Fault;
use crate::limits::audit::{MAX_DETAILS, MAX_NAME, MAX_TEXT};
use crate::outcome::Outcome;
use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// EventOutcomeIndicator (PS3.15 A.5.2): success, minor failure (the action did not happen), serious failure.
const SUCCESS: u8 = 0;
const MINOR: u8 = 4;
const SERIOUS: u8 = 8;

/// The message of `event`, without its identifiers, and the identifiers.
pub(super) fn message(event: &Event, at: SystemTime, source: &str) -> (Value, Option<Value>) {
    let says = say(event);
    let mut kinds = vec![code(says.name, "99SUND", says.name)];
    kinds.extend(says.kind.map(|(value, meaning)| code(value, "DCM", meaning)));
    let mut identification = json!({
        "EventID": code(says.id.0, "DCM", says.id.1),
        "EventTypeCode": kinds,
        "EventActionCode": says.action,
        "EventDateTime": humantime::format_rfc3339_millis(at).to_string(),
        "EventOutcomeIndicator": says.outcome,
    });
    if let (Some((fault, reason)), Some(fields)) = (says.why, identification.as_object_mut()) {
        fields.insert("EventOutcomeDescription".into(), json!({ "code": clip(fault), "text": clip(reason) }));
    }
    let mut participants = says.participants;
    participants.push(json!({
        "UserID": clip(source), "UserIsRequestor": false, "RoleIDCode": code("110150", "DCM", "Application"),
    }));
    let mut objects = says.objects;
    if says.identifiers.is_some() {
        // PS3.15 A.5.2 wants the UID here; it stands in the sealed field, so that a reader of the log learns no patient.
        objects.push(json!({
            "ParticipantObjectID": "identifiers.study", "ParticipantObjectTypeCode": 2,
            "ParticipantObjectTypeCodeRole": 3,
            "ParticipantObjectIDTypeCode": code("110180", "DCM", "Study Instance UID"),
        }));
    }
    let message = json!({
        "EventIdentification": identification,
        "ActiveParticipant": participants,
        "AuditSourceIdentification": { "AuditSourceID": clip(source), "AuditSourceTypeCode": 4 },
        "ParticipantObjectIdentification": objects,
    });
    (message, says.identifiers)
}

/// What an event says, before it is laid out.
struct Says<'a> {
    name: &'static str,
    id: (&'static str, &'static str),
    kind: Option<(&'static str, &'static str)>,
    action: &'static str,
    outcome: u8,
    /// Code and sentence of what failed.
    why: Option<(&'a str, &'a str)>,
    participants: Vec<Value>,
    objects: Vec<Value>,
    identifiers: Option<Value>,
}

impl<'a> Says<'a> {
    fn new(name: &'static str, id: (&'static str, &'static str), action: &'static str) -> Self {
        Self {
            name,
            id,
            kind: None,
            action,
            outcome: SUCCESS,
            why: None,
            participants: Vec::new(),
            objects: Vec::new(),
            identifiers: None,
        }
    }

    fn kind(mut self, value: &'static str, meaning: &'static str) -> Self {
        self.kind = Some((value, meaning));
        self
    }

    fn failed(self, outcome: u8, fault: &'a Fault) -> Self {
        self.because(outcome, &fault.code, &fault.reason)
    }

    fn because(mut self, outcome: u8, code: &'a str, reason: &'a str) -> Self {
        self.outcome = outcome;
        self.why = Some((code, reason));
        self
    }

    fn by(mut self, participant: Value) -> Self {
        self.participants.push(participant);
        self
    }

    fn of(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.objects.push(detail(name, value.into()));
        self
    }

    fn study(mut self, study: &Study) -> Self {
        self.identifiers = Some(json!({
            "study": clip(study.uid.reveal()), "patient_id": clip(study.patient_id.reveal()),
            "patient_name": clip(study.patient_name.reveal()),
        }));
        self
    }

    fn instance(mut self, uid: &str) -> Self {
        if let Some(fields) = self.identifiers.as_mut().and_then(Value::as_object_mut) {
            fields.insert("instance".into(), clip(uid).into());
        }
        self
    }

    fn model(mut self, model: &Model) -> Self {
        self.objects.push(json!({
            "ParticipantObjectID": clip(&model.digest), "ParticipantObjectName": clip(&model.name),
            "ParticipantObjectTypeCode": 2, "ParticipantObjectTypeCodeRole": 13,
            "ParticipantObjectIDTypeCode": code("model-package-digest", "99SUND", "Digest of the model package"),
        }));
        self
    }
}

// EventID codes of PS3.16 CID 400, EventTypeCode of CID 401.
const APPLICATION: (&str, &str) = ("110100", "Application Activity");
const TRANSFERS: (&str, &str) = ("110102", "Begin Transferring DICOM Instances");
const ACCESSED: (&str, &str) = ("110103", "DICOM Instances Accessed");
const TRANSFERRED: (&str, &str) = ("110104", "DICOM Instances Transferred");
const DELETED: (&str, &str) = ("110105", "DICOM Study Deleted");
const PATIENT: (&str, &str) = ("110110", "Patient Record");
const PROCEDURE: (&str, &str) = ("110111", "Procedure Record");
const ALERT: (&str, &str) = ("110113", "Security Alert");
const AUTHENTICATION: (&str, &str) = ("110114", "User Authentication");

#[expect(clippy::too_many_lines, reason = "one table: event by event, as the standard lists them")]
fn say(event: &Event) -> Says<'_> {
    match event {
        Event::AgentStarted { version } => Says::new("agent-started", APPLICATION, "E")
            .kind("110120", "Application Start")
            .of("version", clip(version)),
        Event::AgentNotStarted { fault } => {
            Says::new("agent-not-started", APPLICATION, "E").kind("110120", "Application Start").failed(SERIOUS, fault)
        }
        Event::AgentStopped { fault } => {
            let says = Says::new("agent-stopped", APPLICATION, "E").kind("110121", "Application Stop");
            match fault {
                Some(fault) => says.failed(SERIOUS, fault),
                None => says,
            }
        }
        Event::ConfigurationLoaded { digest } => Says::new("configuration-loaded", ALERT, "E")
            .kind("110131", "Software Configuration")
            .of("sha-256", clip(digest)),
        Event::PlainDicom { address, reason, approved_by, until } => Says::new("plain-dicom", ALERT, "E")
            .kind("110128", "Network Configuration")
            .of("address", clip(address))
            .of("reason", clip(reason))
            .of("approved-by", clip(approved_by))
            .of("until", clip(until)),
        Event::AssociationOpened { peer, called_ae, association, lacking } => {
            let says = Says::new("association-opened", ALERT, "E")
                .kind("110126", "Node Authentication")
                .by(node(peer, true, SOURCE))
                .of("called-ae", clip(called_ae))
                .of("association", *association);
            match lacking {
                Some(fault) => says.failed(MINOR, fault),
                None => says,
            }
        }
        Event::AssociationRefused { peer, called_ae, fault } => Says::new("association-refused", ALERT, "E")
            .kind("110126", "Node Authentication")
            .failed(MINOR, fault)
            .by(node(peer, true, SOURCE))
            .of("called-ae", clip(called_ae)),
        Event::InstancesStored { study, peer, instances } => Says::new("instances-stored", TRANSFERRED, "C")
            .by(node(peer, true, SOURCE))
            .study(study)
            .of("instances", *instances),
        Event::RequestsRefused { study, peer, requests, fault } => {
            let says = Says::new("requests-refused", TRANSFERRED, "C")
                .failed(MINOR, fault)
                .by(node(peer, true, SOURCE))
                .of("requests", *requests);
            match study {
                Some(study) => says.study(study),
                None => says,
            }
        }
        Event::StudyNotRouted { study, fault } => {
            Says::new("study-not-routed", PROCEDURE, "U").failed(MINOR, fault).study(study)
        }
        Event::StudyRefused { study, fault } => {
            Says::new("study-refused", TRANSFERRED, "C").failed(MINOR, fault).study(study)
        }
        Event::StudyPutOff { study, fault } => {
            Says::new("study-put-off", PROCEDURE, "U").failed(SERIOUS, fault).study(study)
        }
        Event::IdentityUpdated { study, version } => {
            Says::new("identity-updated", PATIENT, "U").study(study).of("identity-version", *version)
        }
        Event::JobStarted { study, job, model } => {
            Says::new("job-started", ACCESSED, "R").study(study).of("job", *job).model(model)
        }
        Event::JobRestarted { study, job, model, engine, fault } => Says::new("job-restarted", PROCEDURE, "U")
            .failed(SERIOUS, fault)
            .study(study)
            .of("job", *job)
            .model(model)
            .of("engine", clip(engine)),
        Event::JobEnded { study, job, model, outcome, fault } => {
            let says = Says::new("job-ended", PROCEDURE, "U").study(study).of("job", *job).model(model);
            let says = says.of("outcome", outcome.sentence());
            match fault {
                Some(fault) if *outcome == Outcome::Failed => says.failed(SERIOUS, fault),
                Some(fault) => says.failed(MINOR, fault),
                None => says,
            }
        }
        Event::ResultMade { study, model, kind, instance } => Says::new("result-made", ACCESSED, "C")
            .study(study)
            .instance(instance.reveal())
            .of("kind", clip(kind))
            .model(model),
        Event::Delivered { study, destination, instance } => Says::new("result-delivered", TRANSFERRED, "R")
            .by(node(destination, false, DESTINATION))
            .study(study)
            .instance(instance.reveal()),
        Event::DeliveryFailed { study, destination, instance, fault, then } => {
            let (name, outcome) = match then {
                Undelivered::Waits => ("delivery-failed", MINOR),
                Undelivered::Held => ("delivery-held", SERIOUS),
                Undelivered::GivenUp => ("delivery-given-up", SERIOUS),
            };
            Says::new(name, TRANSFERRED, "R")
                .failed(outcome, fault)
                .by(node(destination, false, DESTINATION))
                .study(study)
                .instance(instance.reveal())
        }
        Event::OperationRefused { operation, study, fault } => {
            let says = Says::new("operation-refused", ALERT, "E")
                .kind("110132", "Use of Restricted Function")
                .failed(MINOR, fault)
                .of("operation", *operation);
            match study {
                Some(study) => says.study(study),
                None => says,
            }
        }
        Event::ResultsRequeued { study, destination, results } => Says::new("results-requeued", TRANSFERS, "E")
            .by(node(destination, false, DESTINATION))
            .study(study)
            .of("results", *results),
        Event::RecallOrdered { package, reason } => Says::new("recall-ordered", ALERT, "E")
            .kind("110132", "Use of Restricted Function")
            .of("package", clip(package))
            .of("reason", clip(reason)),
        Event::ResultsRecalled { study, package, destination, cancelled, rejected, by_hand } => {
            let says = Says::new("results-recalled", PROCEDURE, "U")
                .study(study)
                .of("package", clip(package))
                .of("destination", clip(destination))
                .of("cancelled", *cancelled)
                .of("by-hand", *by_hand);
            match rejected {
                Some((results, note)) => says.instance(note.reveal()).of("rejected", *results),
                None => says,
            }
        }
        Event::LoggedIn { user, address } => {
            Says::new("logged-in", AUTHENTICATION, "E").kind("110122", "Login").by(person(user, address))
        }
        Event::LoggedOut { user, address } => {
            Says::new("logged-out", AUTHENTICATION, "E").kind("110123", "Logout").by(person(user, address))
        }
        Event::SupportBundle { user, address } => Says::new("support-bundle", ALERT, "E")
            .kind("110132", "Use of Restricted Function")
            .by(person(user.as_deref().unwrap_or("(no login)"), address)),
        Event::ConsoleOrder { user, address, operation, about } => Says::new("console-order", ALERT, "E")
            .kind("110132", "Use of Restricted Function")
            .by(person(user, address))
            .of("operation", *operation)
            .of("about", clip(about)),
        Event::LoginRefused { user, address, fault } => Says::new("login-refused", AUTHENTICATION, "E")
            .kind("110122", "Login")
            .failed(MINOR, fault)
            .by(person(user.as_deref().unwrap_or("(unknown)"), address)),
        Event::ErasureBegun { study, reason } => {
            Says::new("erasure-begun", DELETED, "D").study(study).of("reason", clip(reason))
        }
        Event::StudyErased { study, reason, instances } => {
            let says = Says::new("study-erased", DELETED, "D").study(study);
            says.of("reason", clip(reason)).of("instances", *instances)
        }
        Event::PackageLoaded { model, engine } => Says::new("package-loaded", ALERT, "E")
            .kind("110131", "Software Configuration")
            .model(model)
            .of("engine", clip(engine)),
        Event::PackageRefused { name, fault } => Says::new("package-refused", ALERT, "E")
            .kind("110131", "Software Configuration")
            .failed(MINOR, fault)
            .of("package", clip(name)),
        Event::StateTried { state, fault } => {
            let says =
                Says::new("state-tried", ALERT, "E").kind("110131", "Software Configuration").of("state", clip(state));
            match fault {
                Some(fault) => says.failed(MINOR, fault),
                None => says,
            }
        }
        Event::StateActivated { state, reverted, restarts } => {
            let name = if *reverted { "state-reverted" } else { "state-activated" };
            Says::new(name, ALERT, "E")
                .kind("110131", "Software Configuration")
                .of("state", clip(state.as_deref().unwrap_or(OWN)))
                .of("restarts", *restarts)
        }
        Event::StateLost { state, fault } => Says::new("state-lost", ALERT, "E")
            .kind("110131", "Software Configuration")
            .failed(SERIOUS, fault)
            .of("state", clip(state)),
        Event::ModelSuspended { package, reason, by } => Says::new("model-suspended", ALERT, "E")
            .kind("110131", "Software Configuration")
            .of("package", clip(package))
            .of("reason", clip(reason))
            .of("by", *by),
        Event::ModelResumed { package, by } => Says::new("model-resumed", ALERT, "E")
            .kind("110131", "Software Configuration")
            .of("package", clip(package))
            .of("by", *by),
        Event::CertificateTaken { digest, names, until } => Says::new("certificate-taken", ALERT, "E")
            .kind("110135", "Object Security Attributes Changed")
            .of("sha-256", clip(digest))
            .of("names", clip(names))
            .of("until", clip(until)),
        Event::CertificateNotRenewed { fault } => Says::new("certificate-not-renewed", ALERT, "E")
            .kind("110135", "Object Security Attributes Changed")
            .failed(MINOR, fault),
        Event::Updater(event) => of_updater(event),
        Event::SpoolDamaged { fault } => {
            Says::new("spool-damaged", ALERT, "E").kind("110130", "Hardware Configuration").failed(SERIOUS, fault)
        }
        Event::LogRepaired { bytes, digest } => Says::new("audit-log-repaired", ALERT, "E")
            .kind("110135", "Object Security Attributes Changed")
            .of("bytes-cut", *bytes)
            .of("sha-256", clip(digest)),
    }
}

/// In the updater's own words: the agent knows of each what it is, whether it went well, and of a refusal why.
fn of_updater(event: &UpdaterEvent) -> Says<'_> {
    let UpdaterEvent { by, warns, text, details, .. } = event;
    let mut says = Says::new("updater", ALERT, "E")
        .kind("110131", "Software Configuration")
        .by(json!({
            "UserID": format!("sund-updater {}", name(by)), "UserIsRequestor": true,
            "RoleIDCode": code("110150", "DCM", "Application"),
        }))
        .of(NUMBER, event.number())
        .of("updater-says", clip(text));
    if *warns {
        says.outcome = MINOR;
    }
    // Of a refusal they stand where those of the agent's own do.
    let told: &[&str] = match details.get("code") {
        Some(code) => {
            says = says.because(MINOR, code, details.get("reason").map_or("", String::as_str));
            &["code", "reason"]
        }
        None => &[],
    };
    let others = details.iter().filter(|(key, _)| !told.contains(&key.as_str())).take(MAX_DETAILS - told.len());
    others.fold(says, |says, (key, text)| says.of(&name(key), clip(text)))
}

/// A name within the limit; other characters than those of a name are left out.
fn name(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_".contains(*c);
    text.chars().filter(is_plain).take(MAX_NAME).collect()
}

/// What the box's own configuration is called where a state is named.
const OWN: &str = "(the box's own configuration)";
const SOURCE: (&str, &str) = ("110153", "Source Role ID");
const DESTINATION: (&str, &str) = ("110152", "Destination Role ID");

fn node(peer: &Peer, requestor: bool, role: (&str, &str)) -> Value {
    json!({
        "UserID": clip(&peer.ae_title), "UserIsRequestor": requestor, "RoleIDCode": code(role.0, "DCM", role.1),
        "NetworkAccessPointID": clip(&peer.address), "NetworkAccessPointTypeCode": 2,
    })
}

fn person(user: &str, address: &str) -> Value {
    json!({
        "UserID": clip(user), "UserIsRequestor": true,
        "NetworkAccessPointID": clip(address), "NetworkAccessPointTypeCode": 2,
    })
}

fn detail(name: &str, value: Value) -> Value {
    let mut object = Map::new();
    object.insert("ParticipantObjectID".into(), name.into());
    object.insert("ParticipantObjectDetail".into(), value);
    Value::Object(object)
}

fn code(value: &str, scheme: &str, meaning: &str) -> Value {
    json!({ "csd-code": value, "codeSystemName": scheme, "displayName": meaning })
}

/// Cut at the limit; a peer's text is neither trusted nor unbounded.
fn clip(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
