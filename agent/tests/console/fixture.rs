//! A made-up node with made-up people, whose state the tests change.
use bytes::Bytes;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, SystemTime};
use sund_agent::console::{Done, Operator, Order, Readiness, StatusSource, preview_path};
use sund_agent::fault::Fault;
use sund_agent::outcome::Outcome;
use sund_agent::privacy::Private;
use sund_agent::status::{
    DestinationStatus, EngineStatus, JobStatus, ModelStatus, Moment, Node, ResultStatus, SpoolStatus, Status,
    StudyStatus, WorkerStatus,
};
use tokio::sync::watch;

/// A source whose state is set by hand.
pub struct Fixture {
    status: Mutex<Status>,
    revision: watch::Sender<u64>,
    picture: Bytes,
}

impl Fixture {
    pub fn new(status: Status) -> Self {
        Self { status: Mutex::new(status), revision: watch::channel(0).0, picture: phantom() }
    }

    pub fn change(&self, edit: impl FnOnce(&mut Status)) {
        edit(&mut self.status.lock().unwrap());
        self.revision.send_modify(|revision| *revision += 1);
    }
}

impl StatusSource for Fixture {
    fn snapshot(&self) -> Status {
        self.status.lock().unwrap().clone()
    }

    fn readiness(&self) -> Readiness {
        let status = self.status.lock().unwrap();
        match (status.draining, status.spool.accepting) {
            (true, _) => Readiness::Draining,
            (false, false) => Readiness::Full,
            (false, true) => Readiness::Accepting,
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn preview(&self, study_id: &str, result_index: usize) -> Option<Bytes> {
        let status = self.status.lock().unwrap();
        let study = status.studies.iter().find(|study| study.id == study_id)?;
        study.results.get(result_index)?.preview.as_ref().map(|_| self.picture.clone())
    }
}

/// Carries orders out when it is let, but for a suspension, which looks through no spool.
#[derive(Default)]
pub struct Slow {
    state: Mutex<(bool, u32)>,
    changed: Condvar,
}

impl Slow {
    pub fn hold(&self) {
        self.state.lock().unwrap().0 = true;
    }

    pub fn go_on(&self) {
        self.state.lock().unwrap().0 = false;
        self.changed.notify_all();
    }

    pub fn carried_out(&self) -> u32 {
        self.state.lock().unwrap().1
    }
}

impl Operator for Slow {
    fn carry_out(&self, order: Order) -> Result<Done, Fault> {
        let waits = !matches!(order, Order::Suspend { .. });
        let mut state = self.changed.wait_while(self.state.lock().unwrap(), |(held, _)| waits && *held).unwrap();
        state.1 += 1;
        Ok(Done::Requeued { results: 0 })
    }
}

/// 2026-11-23 08:00:00 UTC and so many milliseconds.
fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(498_728) + Duration::from_millis(ms)
}

/// A node that has not seen a study yet.
pub fn empty() -> Status {
    Status {
        format: 1,
        version: "0.1.0".into(),
        variant: None,
        started: at(0),
        draining: false,
        state: None,
        node: Node { ae_title: "SUND".into(), address: "127.0.0.1:11112".into(), associations: 0, received: 0 },
        spool: SpoolStatus {
            bytes: 67_108_864,
            quota: 21_474_836_480,
            instances: 0,
            unconsidered: 0,
            accepting: true,
            lack: None,
            damaged: 0,
        },
        models: models(),
        workers: vec![WorkerStatus { device: None, job: None }],
        certificate: None,
        forward: None,
        held_until: None,
        gpus_left: Vec::new(),
        destinations: vec![destination("PACS", None)],
        queue: Vec::new(),
        studies: Vec::new(),
    }
}

/// A node with one study that stands at `state`.
pub fn first_study(state: &str) -> Status {
    let mut status = empty();
    status.node.associations = u32::from(state == "receiving");
    status.node.received = 20;
    status.studies = vec![brain(state)];
    if state == "running" {
        let since = at(8_200);
        status.queue =
            vec![JobStatus { id: 1, study: "s1".into(), model: "brain".into(), state: "running".into(), since }];
    }
    status
}

/// A node in the middle of a working day.
pub fn full() -> Status {
    let mut status = empty();
    status.node.associations = 2;
    status.node.received = 18_240;
    status.spool = SpoolStatus {
        bytes: 9_800_000_000,
        quota: 21_474_836_480,
        instances: 18_240,
        unconsidered: 0,
        accepting: true,
        lack: None,
        damaged: 0,
    };
    status.models[0].outcomes = vec![(Outcome::Finding, 31), (Outcome::NotApplicable, 12), (Outcome::Failed, 1)];
    status.models[1].outcomes = vec![(Outcome::Finding, 3), (Outcome::NoFinding, 208)];
    let trouble = "Connection refused; next try in 40 s.";
    status.destinations = vec![destination("PACS", None), destination("Research archive", Some(trouble))];
    status.destinations[0].delivered = 734;
    status.destinations[1].waiting = 3;
    status.destinations[1].delivered = 96;
    status.workers[0].job = Some(71);
    status.queue = vec![
        JobStatus { id: 71, study: "s2".into(), model: "brain".into(), state: "running".into(), since: at(302_000) },
        JobStatus {
            id: 72,
            study: "s7".into(),
            model: "burned-in-text".into(),
            state: "waiting".into(),
            since: at(304_000),
        },
    ];
    status.studies = vec![
        study(
            "s7",
            "Bjørnsen^Pål",
            "Ultralyd abdomen",
            &["US"],
            4,
            "routed",
            &[("received", 303_000), ("complete", 303_900), ("routed", 304_000)],
        ),
        running(),
        brain("delivered"),
        refused(),
        hostile(),
        not_applicable(),
        failed(),
    ];
    status
}

fn models() -> Vec<ModelStatus> {
    let model =
        |name: &str, title: &str, mode: &str, engine: Option<&str>, explanation: &str, state: &str, used: &str| {
            ModelStatus {
                name: name.into(),
                title: title.into(),
                version: "1.0.0".into(),
                vendor: "Demonstration".into(),
                digest: format!("sha256:{}", "5f3a09c1".repeat(8)),
                mode: mode.into(),
                engine: engine.map(Into::into),
                explanation: explanation.into(),
                engines: vec![EngineStatus {
                    name: engine.unwrap_or("tensorrt fp16, packaged").into(),
                    serves: engine.is_some(),
                    reason: explanation.into(),
                }],
                state: state.into(),
                by: Vec::new(),
                intended_use: used.into(),
                outcomes: Vec::new(),
            }
        };
    vec![
        model(
            "brain",
            "Brain extraction on MR",
            "research",
            Some("tract fp32"),
            "No GPU in this box; tract is the fastest engine that the package is validated for.",
            "active",
            "Outlines the brain on T1-weighted MR of adults and measures its volume. For demonstration; not for diagnosis.",
        ),
        model(
            "burned-in-text",
            "Text burned into pixels",
            "shadow",
            Some("onnxruntime fp32"),
            "ONNX Runtime 1.32 is installed, and the package is validated for it.",
            "active",
            "Finds text in ultrasound images, so that names in pixels are seen before images leave the hospital.",
        ),
        model(
            "vessel",
            "Retinal vessels",
            "shadow",
            None,
            "The package is validated for TensorRT fp16 alone, and this box has no GPU.",
            "off",
            "Segments retinal vessels on fundus photographs.",
        ),
    ]
}

fn destination(name: &str, trouble: Option<&str>) -> DestinationStatus {
    DestinationStatus {
        name: name.into(),
        ae_title: name.split(' ').next().unwrap_or_default().to_uppercase(),
        address: "10.20.0.14:104".into(),
        waiting: 0,
        delivered: 0,
        dead: 0,
        held: 0,
        trouble: trouble.map(Into::into),
    }
}

fn text(step: &str) -> &'static str {
    match step {
        "received" => "First image from MR1 (association 12).",
        "complete" => "20 images; quiet for 5 s and the association has ended.",
        "routed" => "Rule mr-brain: model brain.",
        "running" => "brain 1.0.0 on tract fp32.",
        "done" => "Finding: decode 0.1 s, preprocess 0.2 s, infer 11.4 s, postprocess 0.3 s.",
        "delivered" => "PACS confirmed SEG, SR and SC.",
        _ => "",
    }
}

fn moment(step: &str, ms: u64) -> Moment {
    Moment { step: step.into(), at: at(ms), text: text(step).into(), code: None }
}

fn study(
    id: &str,
    name: &str,
    what: &str,
    modalities: &[&str],
    images: u64,
    state: &str,
    steps: &[(&str, u64)],
) -> StudyStatus {
    StudyStatus {
        id: id.into(),
        patient: Private::new(name.into()),
        patient_id: Private::new(format!("TEST-{:04}", 1000 + images * 7)),
        accession: Private::new(format!("A26{:05}", 40_000 + images)),
        modalities: modalities.iter().map(|&m| m.into()).collect(),
        description: Private::new(what.into()),
        instances: images,
        state: state.into(),
        timeline: steps.iter().map(|(step, ms)| moment(step, *ms)).collect(),
        results: Vec::new(),
    }
}

const BRAIN: [(&str, u64); 6] = [
    ("received", 1_000),
    ("complete", 8_000),
    ("routed", 8_040),
    ("running", 8_200),
    ("done", 20_300),
    ("delivered", 20_900),
];

fn brain(state: &str) -> StudyStatus {
    let reached = match state {
        "receiving" => 1,
        "running" => 4,
        _ => 6,
    };
    let mut brain = study("s1", "Sørensen^Åse Ægidia", "MR cerebrum", &["MR"], 20, state, &BRAIN[..reached]);
    if state == "delivered" {
        let result = |kind: &str, summary: &str, index: usize, picture: bool| ResultStatus {
            model: "brain 1.0.0".into(),
            kind: kind.into(),
            outcome: Outcome::Finding,
            summary: summary.into(),
            preview: picture.then(|| preview_path("s1", index)),
            delivery: vec![("PACS".into(), "delivered".into()), ("Research archive".into(), "waiting".into())],
        };
        brain.results = vec![
            result("SC", "Brain 1292 ml, outline on 20 slices", 0, true),
            result("SEG", "Brain, 20 slices", 1, false),
            result("SR", "Brain volume 1292 ml", 2, false),
        ];
    }
    brain
}

fn running() -> StudyStatus {
    let steps = [("received", 290_000), ("complete", 301_000), ("routed", 301_100), ("running", 302_000)];
    study("s2", "Øster^Jørgen", "MR cerebrum med kontrast", &["MR"], 192, "running", &steps)
}

fn refused() -> StudyStatus {
    let mut study = study("s4", "Kjær^Bodil", "CT thorax", &["CT"], 312, "refused", &[("received", 120_000)]);
    study.timeline.push(Moment {
        step: "refused".into(),
        at: at(121_500),
        text: "Two patients in one Study Instance UID. Nothing was analysed; correct the identity at the sender and send again.".into(),
        code: Some("two-patients-in-one-study".into()),
    });
    study
}

/// A sender that tries to run a script in the page.
fn hostile() -> StudyStatus {
    let name = "<script>alert(1)</script>^<b onclick>";
    study(
        "s5",
        name,
        "\"><img src=x onerror=\"document.title='hit'\"><svg onload=alert(1)>",
        &["CR"],
        1,
        "receiving",
        &[("received", 300_000)],
    )
}

fn not_applicable() -> StudyStatus {
    let mut study = study(
        "s6",
        "Ågård^Niels",
        "RG håndled",
        &["CR"],
        2,
        "done",
        &[("received", 60_000), ("complete", 66_000), ("routed", 66_010)],
    );
    study.timeline.push(Moment {
        step: "done".into(),
        at: at(66_020),
        text: "No model wants this study: none is for CR.".into(),
        code: None,
    });
    study
}

fn failed() -> StudyStatus {
    let steps = [("received", 30_000), ("complete", 39_000), ("routed", 39_100), ("running", 39_400)];
    let mut study = study("s8", "Müller-Æbelø^Søren", "MR cerebrum", &["MR"], 24, "failed", &steps);
    study.timeline.push(Moment {
        step: "failed".into(),
        at: at(41_000),
        text: "Slices are spaced 5.0 and 7.0 mm apart: this is not one volume. The radiologist reads without AI."
            .into(),
        code: Some("volume-mixed-spacing".into()),
    });
    study
}

/// A drawn head with an overlay, 256 by 256, RGB.
fn phantom() -> Bytes {
    const SIZE: u32 = 256;
    let mut rgb = Vec::with_capacity((SIZE * SIZE * 3) as usize);
    for y in 0..SIZE {
        for x in 0..SIZE {
            let (dx, dy) = ((f64::from(x) - 128.0) / 88.0, (f64::from(y) - 128.0) / 108.0);
            let r = (dx * dx + dy * dy).sqrt();
            let folds = (14.0 * dy.atan2(dx) + 22.0 * r).sin() * 20.0 * r;
            let grey = match r {
                r if r > 1.0 => 4.0,
                r if r > 0.93 => 190.0,
                r if r > 0.86 => 40.0,
                _ => 108.0 + folds - 60.0 * f64::from(u8::from(dx.abs() < 0.02)),
            };
            let brain = r < 0.84;
            let edge = brain && r > 0.815;
            let mix = if edge { 1.0 } else { f64::from(u8::from(brain)) * 0.22 };
            for over in [40.0, 205.0, 215.0] {
                rgb.push((grey * (1.0 - mix) + over * mix) as u8);
            }
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIZE, SIZE);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&rgb).unwrap();
    writer.finish().unwrap();
    file.into()
}
