//! A hospital in miniature: senders, this node with its own worker processes, and archives that can be away, slow to take,
//! or unwilling.
use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sund_agent::agent::Agent;
use sund_agent::association::{
    Association, Intake, IntakeInstance, Listener, ObjectToSend, Peer, Policy, SendError, Sent, send, serve,
};
use sund_agent::audit;
use sund_agent::config::Config;
use sund_agent::dataset::scan::scan;
use sund_agent::dataset::{Header, part10};
use sund_agent::deliver::Destination;
use sund_agent::fault::Fault;
use sund_agent::instance::{Arrival, StoredInstance};
use sund_agent::model::Package;
use sund_agent::outcome::Outcome;
use sund_agent::route::{Mode, Route, Selection};
use sund_agent::status::{Status, StudyStatus};
use sund_agent::worker::Launcher;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What does not happen within this time does not happen.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// The `sund` binary, which workers are.
pub const SUND: &str = env!("CARGO_BIN_EXE_sund");
const NODE: &str = "SUND";

pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models")
}

/// A copy of a packaged model, to be changed.
pub fn copy_of(model: &str, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").arg(models().join(model)).arg(to).status().unwrap();
    assert!(copied.success());
}

/// A packaged model as its vendor would hand it over: packed, and signed.
pub struct Signed {
    pub package: PathBuf,
    pub vendor: String,
    pub public_key: PathBuf,
}

impl Signed {
    /// The sections of a configuration that name it and whose it is.
    pub fn configured(&self) -> String {
        format!(
            "[[vendors]]\nname = \"{}\"\nkey = \"{}\"\n[[models]]\npackage = \"{}\"\n",
            self.vendor,
            self.public_key.display(),
            self.package.display()
        )
    }
}

/// Packs and signs a packaged model, into a folder that is there.
pub fn signed(model: &str, folder: &Path) -> Signed {
    let sund = |arguments: &[&str]| {
        let done = std::process::Command::new(SUND).args(["model"]).args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let at = |name: String| folder.join(name);
    let (package, private_key) = (at(format!("{model}.sund")), at(format!("{model}.key")));
    let public_key = at(format!("{model}.pub"));
    std::fs::write(&private_key, key.serialize_pem()).unwrap();
    std::fs::write(&public_key, key.public_key_pem()).unwrap();
    let (from, to) = (models().join(model), package.to_str().unwrap());
    sund(&["pack", from.to_str().unwrap(), "--to", to]);
    sund(&["sign", to, "--key", private_key.to_str().unwrap()]);
    Signed { vendor: Package::open(&from).unwrap().manifest.vendor, package, public_key }
}

/// The packaged text-detection model.
pub fn text_detection() -> Package {
    Package::open(&models().join("text-detection")).unwrap()
}

/// The image that its golden case is about.
pub fn frame() -> Image {
    Image::read(&models().join("text-detection/golden/ultrasound/frame.dcm"))
}

/// Until `done` gives a value; fails with `what` after the time in which it should.
pub async fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "this did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An image to send, whose header can be changed. Explicit VR little endian.
#[derive(Clone)]
pub struct Image {
    syntax: String,
    dataset: Vec<u8>,
}

impl Image {
    pub fn read(path: &Path) -> Self {
        let file = part10::read_file(path).unwrap();
        Self { syntax: file.header.transfer_syntax, dataset: file.dataset.to_vec() }
    }

    pub fn header(&self) -> Header {
        scan(&self.dataset, &self.syntax).unwrap()
    }

    /// The image with another value, in the bytes that are given.
    pub fn with(mut self, tag: Tag, vr: VR, value: &[u8]) -> Self {
        let mut element = encoded(tag, vr, value);
        let (at, length) = self.place(tag);
        let rest = self.dataset.split_off(at);
        self.dataset.append(&mut element);
        self.dataset.extend_from_slice(&rest[length..]);
        self
    }

    pub fn without(mut self, tag: Tag) -> Self {
        let (at, length) = self.place(tag);
        self.dataset.drain(at..at + length);
        self
    }

    /// A copy under other UIDs: another instance of another study.
    pub fn in_study(self, study: &str, instance: &str) -> Self {
        let uid = |text: &str| text.as_bytes().to_vec();
        self.with(tags::STUDY_INSTANCE_UID, VR::UI, &uid(study))
            .with(tags::SERIES_INSTANCE_UID, VR::UI, &uid(&format!("{study}.1")))
            .with(tags::SOP_INSTANCE_UID, VR::UI, &uid(&format!("{study}.1.{instance}")))
    }

    /// The first rows of the image: 8 bits, colour by pixel.
    pub fn rows(self, rows: u16) -> Self {
        let header = self.header();
        let columns = header.number(tags::COLUMNS).unwrap() as usize;
        let start = header.pixel_data.unwrap().offset as usize;
        let pixels = self.dataset[start..start + 3 * columns * usize::from(rows)].to_vec();
        self.with(tags::ROWS, VR::US, &rows.to_le_bytes()).with(tags::PIXEL_DATA, VR::OB, &pixels)
    }

    /// Where the element lies, or belongs: offset and length. Walks the top level, whose values have defined lengths here.
    fn place(&self, tag: Tag) -> (usize, usize) {
        let bytes = &self.dataset;
        let mut at = 0;
        while at < bytes.len() {
            let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let found = Tag(word(at), word(at + 2));
            let is_long = matches!(&bytes[at + 4..at + 6], b"OB" | b"OW" | b"SQ" | b"UN" | b"UT");
            let length = if is_long {
                12 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize
            } else {
                8 + usize::from(word(at + 6))
            };
            if found >= tag {
                return (at, if found == tag { length } else { 0 });
            }
            at += length;
        }
        (at, 0)
    }

    pub fn object(&self) -> ObjectToSend {
        let header = self.header();
        ObjectToSend {
            sop_class: header.text(tags::SOP_CLASS_UID).unwrap(),
            sop_instance: header.text(tags::SOP_INSTANCE_UID).unwrap(),
            transfer_syntax: self.syntax.clone(),
            dataset: Bytes::from(self.dataset.clone()),
        }
    }
}

fn encoded(tag: Tag, vr: VR, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == VR::UI { 0 } else { b' ' });
    }
    let mut element = Vec::new();
    element.extend_from_slice(&tag.group().to_le_bytes());
    element.extend_from_slice(&tag.element().to_le_bytes());
    element.extend_from_slice(vr.to_string().as_bytes());
    if matches!(vr, VR::OB | VR::OW | VR::UN | VR::UT) {
        element.extend_from_slice(&[0, 0]);
        element.extend_from_slice(&(value.len() as u32).to_le_bytes());
    } else {
        element.extend_from_slice(&(value.len() as u16).to_le_bytes());
    }
    element.extend_from_slice(&value);
    element
}

/// What an archive holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub arrival: Arrival,
    pub dataset: Bytes,
}

impl Held {
    pub fn header(&self) -> Header {
        scan(&self.dataset, &self.arrival.transfer_syntax).unwrap()
    }

    pub fn text(&self, tag: Tag) -> String {
        self.header().text(tag).unwrap_or_default()
    }

    /// The text of the element somewhere in the data set, sequences included: what a search by eye would find.
    pub fn says(&self, text: &str) -> bool {
        self.dataset.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// An archive: keeps what comes, or refuses it.
#[derive(Clone)]
pub struct Archive {
    pub address: String,
    held: Arc<Mutex<Vec<Held>>>,
    refusal: Arc<Mutex<Option<Fault>>>,
    /// Objects that have begun to come.
    begun: Arc<AtomicU64>,
    /// Objects that it takes in all; those beyond wait for their answer.
    room: Arc<watch::Sender<usize>>,
    /// Never told to stop: it ends with the test.
    _stop: Arc<watch::Sender<bool>>,
}

pub struct Arriving {
    archive: Archive,
    bytes: Vec<u8>,
}

impl Archive {
    /// An archive on a free port.
    pub async fn open() -> Self {
        Self::open_at("127.0.0.1:0", usize::MAX).await
    }

    async fn open_at(address: &str, room: usize) -> Self {
        let socket = TcpListener::bind(address).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let archive = Self {
            address: socket.local_addr().unwrap().to_string(),
            held: Arc::default(),
            refusal: Arc::default(),
            begun: Arc::default(),
            room: Arc::new(watch::channel(room).0),
            _stop: Arc::new(stop),
        };
        tokio::spawn(serve(Listener { socket, tls: None }, policy("PACS"), Arc::new(archive.clone()), stopped));
        archive
    }

    /// An address at which nothing listens now, and an archive will later.
    pub async fn nowhere() -> String {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
    }

    /// The archive comes up at an address.
    pub async fn arrive_at(address: &str) -> Self {
        Self::open_at(address, usize::MAX).await
    }

    /// The archive comes up at an address, and takes so many objects; it answers the next one when it is told to go on.
    pub async fn arrive_slow(address: &str, room: usize) -> Self {
        Self::open_at(address, room).await
    }

    /// Takes all that comes.
    pub fn go_on(&self) {
        self.room.send_replace(usize::MAX);
    }

    /// Waits until so many objects have begun to come.
    pub async fn begins(&self, count: u64) {
        until(&format!("{count} objects on their way"), || (self.begun.load(Ordering::SeqCst) >= count).then_some(()))
            .await;
    }

    /// Refuses everything from now on; takes it again with `None`.
    pub fn refuse(&self, fault: Option<Fault>) {
        *self.refusal.lock().unwrap() = fault;
    }

    pub fn held(&self) -> Vec<Held> {
        self.held.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// Looks at everything, in the order in which it came.
    pub fn each(&self, look: impl FnMut(&Held)) {
        self.held.lock().unwrap().iter().for_each(look);
    }

    /// Reports (SR) alone.
    pub fn reports(&self) -> Vec<Held> {
        self.held().into_iter().filter(|held| held.text(tags::MODALITY) == "SR").collect()
    }

    pub async fn holds(&self, count: usize) -> Vec<Held> {
        until(&format!("{count} results in the archive"), || (self.held().len() >= count).then_some(())).await;
        self.held()
    }
}

impl Intake for Archive {
    type Instance = Arriving;

    fn begin(&self, _: &Association, _: &str, _: &str) -> Result<Arriving, Fault> {
        match self.refusal.lock().unwrap().clone() {
            Some(fault) => Err(fault),
            None => {
                self.begun.fetch_add(1, Ordering::SeqCst);
                Ok(Arriving { archive: self.clone(), bytes: Vec::new() })
            }
        }
    }
}

impl IntakeInstance for Arriving {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    async fn commit(self, arrival: Arrival) -> Result<StoredInstance, Fault> {
        let mut room = self.archive.room.subscribe();
        room.wait_for(|room| self.archive.count() < *room).await.unwrap();
        let mut held = self.archive.held.lock().unwrap();
        let stored =
            StoredInstance { id: held.len() as u64, length: self.bytes.len() as u64, arrival: arrival.clone() };
        held.push(Held { arrival, dataset: self.bytes.into() });
        Ok(stored)
    }
}

pub fn policy(ae_title: &str) -> Policy {
    Policy {
        ae_title: ae_title.to_owned(),
        require_called_ae: true,
        also_called: Vec::new(),
        callers: Vec::new(),
        max_associations: 32,
    }
}

pub fn destination(name: &str, address: &str) -> Destination {
    let peer = Peer { calling_ae: NODE.into(), called_ae: "PACS".into(), address: address.into(), tls: None };
    Destination::new(name.to_owned(), peer)
}

/// A route for all that comes, to all destinations of the node.
pub fn route(model: &Package, mode: Mode) -> Route {
    Route {
        name: "everything".to_owned(),
        called_ae: Vec::new(),
        callers: Vec::new(),
        selection: Selection::default(),
        models: vec![model.manifest.name.clone()],
        mode,
        destinations: Vec::new(),
        outcome_reports: Outcome::ALL
            .into_iter()
            .filter(|o| *o != Outcome::Finding && *o != Outcome::NoFinding)
            .collect(),
        deadline: None,
    }
}

/// The node, in a folder of its own.
pub struct Node {
    pub folder: tempfile::TempDir,
    agent: Option<Agent>,
}

/// The folder's configuration: the text model, a route in clinical use, no destination; segments of 1 MiB.
pub fn config(folder: &Path) -> Config {
    let mut config = Config::embedded(folder).unwrap();
    config.console = None;
    config.spool.segment_bytes = 1 << 20;
    config.assembly.quiet = Duration::from_millis(300);
    config.worker.launcher = Launcher::Child { program: SUND.into() };
    // Tests count workers: those that do jobs.
    config.worker.watches_gpus = false;
    // The same over a restart, as keys in files are.
    config.uid_key = sund_agent::results::UidKey::new(&[7; 32]);
    config.audit.key = audit_key();
    let model = text_detection();
    config.routes = vec![route(&model, Mode::Clinical)];
    config.packages = vec![model];
    config
}

fn audit_key() -> audit::Key {
    audit::Key::new([9; 32])
}

impl Node {
    /// A node whose configuration `change` has made its own.
    pub async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Self { folder, agent: None };
        node.start(change).await;
        node
    }

    /// Starts it again in the same folder.
    pub async fn start(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = config(self.folder.path());
        change(&mut config);
        let names: Vec<String> = config.destinations.iter().map(|destination| destination.name.clone()).collect();
        for route in &mut config.routes {
            route.destinations.clone_from(&names);
        }
        self.agent = Some(Agent::start(config).await.unwrap());
    }

    /// Drains it.
    pub async fn stop(&mut self) {
        self.agent.take().unwrap().stop().await.unwrap();
    }

    pub fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    /// Why it ends by itself.
    pub async fn broken(&mut self) -> Fault {
        tokio::time::timeout(PATIENCE, self.agent.as_mut().unwrap().broken()).await.expect("it ends")
    }

    pub fn status(&self) -> Status {
        self.agent().status()
    }

    /// The state of a destination.
    pub fn destination(&self, name: &str) -> sund_agent::status::DestinationStatus {
        self.status().destinations.into_iter().find(|d| d.name == name).unwrap()
    }

    /// How the node is called.
    pub fn peer(&self) -> Peer {
        let address = self.agent().node().to_string();
        Peer { calling_ae: "MODALITY".into(), called_ae: NODE.into(), address, tls: None }
    }

    /// Sends images on one association; how each was taken.
    pub async fn offer(&self, images: &[Image]) -> Result<Vec<Sent>, SendError> {
        let objects: Vec<ObjectToSend> = images.iter().map(Image::object).collect();
        let mut answers = Vec::new();
        send(&self.peer(), &objects, |_, sent| answers.push(sent)).await?;
        Ok(answers)
    }

    /// The same, all of them stored.
    pub async fn receives(&self, images: &[Image]) {
        let answers = self.offer(images).await.unwrap();
        assert!(answers.iter().all(|sent| *sent == Sent::Stored { status: 0 }), "{answers:?}");
    }

    /// Waits until the newest study is as told.
    pub async fn study(&self, what: &str, is_so: impl Fn(&StudyStatus) -> bool) -> StudyStatus {
        until(what, || self.status().studies.into_iter().next().filter(&is_so)).await
    }

    /// Waits until the newest study has come to the end of its `jobs`-th job.
    pub async fn ended(&self, jobs: usize) -> StudyStatus {
        self.study("the jobs end", |study| {
            ends(study) >= jobs && !matches!(study.state.as_str(), "running" | "receiving")
        })
        .await
    }

    /// The audit trail's lines, which are checked as a chain.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let folder = self.folder.path().join("audit");
        let mut lines = Vec::new();
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "jsonl")) {
            let bytes = std::fs::read(file).unwrap();
            // A line that is being written is none yet.
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let written = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.extend(written.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()));
        }
        lines
    }

    /// Whom the audit line of an event names, of the last one of its kind.
    pub fn audited_patient(&self, event: &str) -> Option<(String, String)> {
        let event = format!("\"{event}\"");
        let line = self.audit().iter().map(ToString::to_string).rfind(|line| line.contains(&event))?;
        let whose = audit::identifiers(&line, &audit_key()).unwrap()?;
        let text = |key: &str| whose[key].as_str().unwrap_or_default().to_owned();
        Some((text("patient_id"), text("patient_name")))
    }

    /// True where an audit line holds all of these texts.
    pub fn audited(&self, texts: &[&str]) -> bool {
        self.audit().iter().any(|line| {
            let line = line.to_string();
            texts.iter().all(|text| line.contains(text))
        })
    }
}

/// Ends of jobs on the timeline.
pub fn ends(study: &StudyStatus) -> usize {
    study.timeline.iter().filter(|moment| moment.step == "done" || moment.step == "failed").count()
}

/// Codes on a study's timeline.
pub fn codes(study: &StudyStatus) -> Vec<String> {
    study.timeline.iter().filter_map(|moment| moment.code.clone()).collect()
}

/// A new Study Instance UID.
pub fn new_uid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("2.25.{}{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
