//! The agent is killed again and again under load: nothing that was acknowledged is lost, everything resumes, and what comes
//! twice to the archive is the same, byte for byte.
//!
//! Among the kills are those between the archive's answer and our record of it: once with the answer lost, once with the
//! answer on its way. Continuous integration makes a dozen, of each kind at least one; `SUND_KILLS=1000 cargo test --release -- crash --nocapture`
//! makes as many as it is told, and tests/data/crash/kills.log is such a run.
use crate::hospital::{Archive, Image, Signed, frame, new_uid, signed};
use crate::serve::Site;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use sund_agent::association::{ObjectToSend, Peer, Sent, send};
use sund_agent::audit;
use sund_agent::spool::{Spool, SpoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const DEFAULT_KILLS: u32 = 12;
/// Studies that are on their way at once: the load, and what a kill can catch.
const UNDER_WAY: usize = 4;
/// A node that has not ended what it began by then has lost it.
const PATIENCE: Duration = Duration::from_mins(2);

/// When to kill.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// So long after the agent said that it serves.
    After(Duration),
    /// So long after a sender has begun an instance.
    Storing(Duration),
    /// The archive has stored and answered; the agent never hears it.
    AnswerLost,
    /// The archive's answer has been handed to the agent's socket.
    AnswerGiven,
}

/// The line to the archive, on which the answers are watched.
#[derive(Clone, Default)]
struct Line {
    armed: Arc<Mutex<Option<Moment>>>,
    killed: Arc<Notify>,
    daemon: Arc<Mutex<Option<rustix::process::Pid>>>,
}

impl Line {
    async fn open(archive: String) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let line = Self::default();
        let accepting = line.clone();
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().pass(agent, archive.clone()));
            }
        });
        (line, address)
    }

    async fn pass(self, agent: TcpStream, archive: String) {
        let Ok(archive) = TcpStream::connect(archive).await else { return };
        let ((mut from_agent, mut to_agent), (mut from_archive, mut to_archive)) =
            (agent.into_split(), archive.into_split());
        let there = tokio::spawn(async move { tokio::io::copy(&mut from_agent, &mut to_archive).await });
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_archive.read(&mut buffer).await {
            // P-DATA-TF: a response (PS3.8 9.3.5).
            let moment = if buffer[0] == 4 { self.armed.lock().unwrap().take() } else { None };
            if moment == Some(Moment::AnswerLost) {
                self.kill();
                break;
            }
            if to_agent.write_all(&buffer[..length]).await.is_err() {
                break;
            }
            if moment.is_some() {
                self.kill();
                break;
            }
        }
        there.abort();
    }

    fn kill(&self) {
        if let Some(pid) = self.daemon.lock().unwrap().take() {
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
        }
        self.killed.notify_one();
    }
}

/// A sender that goes on whatever happens, and remembers what was acknowledged.
struct Sender {
    node: Arc<Mutex<Option<String>>>,
    acknowledged: Arc<Mutex<BTreeMap<String, ObjectToSend>>>,
    offered: Arc<Mutex<u64>>,
    begins: Arc<Notify>,
    enough: Arc<AtomicBool>,
}

impl Sender {
    async fn run(self, archive: Archive) {
        let image = small();
        while !self.enough.load(Ordering::Relaxed) {
            let Some(address) = self.node.lock().unwrap().clone() else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            if self.acknowledged.lock().unwrap().len() >= answered(&archive).len() + UNDER_WAY {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            let study = new_uid();
            let object = image.clone().in_study(&study, "1").object();
            *self.offered.lock().unwrap() += 1;
            self.begins.notify_waiters();
            let peer = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
            let acknowledged = Arc::clone(&self.acknowledged);
            let objects = [object];
            // A connection that breaks off is what is expected here.
            let _ = send(&peer, &objects, |_, sent| {
                assert_eq!(sent, Sent::Stored { status: 0 });
                acknowledged.lock().unwrap().insert(study.clone(), objects[0].clone());
            })
            .await;
        }
    }
}

/// A strip of the frame with the made-up name: it is soon answered.
fn small() -> Image {
    frame().rows(64)
}

/// Results by study: SOP Instance UIDs.
fn answered(archive: &Archive) -> BTreeMap<String, Vec<String>> {
    let mut studies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    archive.each(|held| {
        let results = studies.entry(held.arrival.study.clone()).or_default();
        if !results.contains(&held.arrival.sop_instance) {
            results.push(held.arrival.sop_instance.clone());
        }
    });
    studies.retain(|_, results| results.len() == 2);
    studies
}

/// A node with the text model, a route in clinical use, and an archive.
pub fn configuration(line: &str) -> String {
    configuration_to(
        &["archive"],
        &format!("[[destinations]]\nname = \"archive\"\nae_title = \"PACS\"\naddress = \"{line}\"\n"),
    )
}

/// The same with these destinations, by their names and by their sections.
pub fn configuration_to(names: &[&str], sections: &str) -> String {
    // It outlives whom it is for: they start again and again.
    static MODEL: LazyLock<(tempfile::TempDir, Signed)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let model = signed("text-detection", folder.path());
        (folder, model)
    });
    format!(
        "[study]\nquiet = \"1s\"\ncomplete_on_association_end = true\n[worker]\nlauncher = \"child\"\n\
         {}{sections}\
         [[routes]]\nname = \"everything\"\nmodels = [\"text-detection\"]\nmode = \"clinical\"\n\
         destinations = {names:?}\n",
        MODEL.1.configured()
    )
}

/// The next number of a generator that a seed repeats (Numerical Recipes' LCG).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// When the `n`-th kill is: each moment comes, however few they are.
fn moment(n: u32, seed: &mut u64) -> Moment {
    let which = if n <= 4 { u64::from(n) } else { next(seed) };
    match which % 4 {
        0 => Moment::AnswerLost,
        1 => Moment::AnswerGiven,
        2 => Moment::Storing(Duration::from_micros(next(seed) % 12_000)),
        _ => Moment::After(Duration::from_millis(next(seed) % 1500)),
    }
}

#[expect(clippy::print_stdout, reason = "the log of a long run")]
fn tell(begun: Instant, text: &str) {
    println!("{:8.2} s  {text}", begun.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kills_under_load_lose_nothing_and_repeats_are_identical() {
    let kills = std::env::var("SUND_KILLS").map_or(DEFAULT_KILLS, |text| text.parse().expect("a number"));
    let mut seed = std::env::var("SUND_KILLS_SEED").map_or(u64::from(std::process::id()), |text| text.parse().unwrap());
    let begun = Instant::now();
    tell(begun, &format!("{kills} kills, SUND_KILLS_SEED={seed}"));
    let archive = Archive::open().await;
    let (line, address) = Line::open(archive.address.clone()).await;
    let site = Site::new(&configuration(&address));
    let (node, acknowledged) = (Arc::new(Mutex::new(None)), Arc::default());
    let enough = Arc::new(AtomicBool::new(false));
    let (offered, begins) = (Arc::default(), Arc::new(Notify::new()));
    let sender = Sender {
        node: Arc::clone(&node),
        acknowledged: Arc::clone(&acknowledged),
        offered: Arc::clone(&offered),
        begins: Arc::clone(&begins),
        enough: Arc::clone(&enough),
    };
    let sending = tokio::spawn(sender.run(archive.clone()));

    let mut lost = 0;
    for n in 1..=kills {
        let daemon = tokio::task::block_in_place(|| site.serve());
        *line.daemon.lock().unwrap() = Some(daemon.pid());
        *node.lock().unwrap() = Some(tokio::task::block_in_place(|| address_of(&site)));
        let moment = moment(n, &mut seed);
        match moment {
            Moment::After(wait) => {
                tokio::time::sleep(wait).await;
                line.kill();
            }
            Moment::Storing(wait) => {
                let begun = tokio::time::timeout(PATIENCE, begins.notified()).await;
                begun.unwrap_or_else(|_| panic!("nothing could be sent after kill {}", n - 1));
                tokio::time::sleep(wait).await;
                line.kill();
            }
            Moment::AnswerLost | Moment::AnswerGiven => {
                lost += usize::from(moment == Moment::AnswerLost);
                *line.armed.lock().unwrap() = Some(moment);
            }
        }
        let killed = tokio::time::timeout(PATIENCE, line.killed.notified()).await;
        killed.unwrap_or_else(|_| panic!("no result came after kill {}", n - 1));
        *node.lock().unwrap() = None;
        tokio::task::block_in_place(|| daemon.exit_code());
        let stored = acknowledged.lock().unwrap().len();
        let arrived = archive.count();
        tell(begun, &format!("kill {n}: {moment:?}; {stored} studies acknowledged, {arrived} results arrived"));
    }

    enough.store(true, Ordering::Relaxed);
    sending.await.unwrap();
    let daemon = tokio::task::block_in_place(|| site.serve());
    let acknowledged: BTreeMap<String, ObjectToSend> = acknowledged.lock().unwrap().clone();
    let resumed = Instant::now();
    loop {
        let answered = answered(&archive);
        if acknowledged.keys().all(|study| answered.contains_key(study)) {
            break;
        }
        let missing = acknowledged.keys().find(|study| !answered.contains_key(*study));
        assert!(resumed.elapsed() < PATIENCE, "a study that was acknowledged has no results: {missing:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.signal(Signal::TERM);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));

    let mut repeats = 0;
    let mut first: BTreeMap<String, bytes::Bytes> = BTreeMap::new();
    archive.each(|held| match first.get(&held.arrival.sop_instance) {
        None => drop(first.insert(held.arrival.sop_instance.clone(), held.dataset.clone())),
        Some(bytes) => {
            repeats += 1;
            assert!(*bytes == held.dataset, "a repeat differs: {}", held.arrival.sop_instance);
        }
    });
    let spool =
        Spool::open(SpoolOptions { segment_bytes: 1 << 20, ..SpoolOptions::in_directory(site.folder("spool")) });
    let spool = spool.unwrap();
    for (study, object) in &acknowledged {
        let held = spool.instances_of(study);
        let instance = held.iter().find(|held| held.arrival.sop_instance == object.sop_instance);
        let instance = instance.expect("an instance that was acknowledged is there");
        assert!(spool.read(instance).unwrap() == object.dataset, "its bytes are those that were sent");
    }
    assert!(repeats >= lost, "{lost} answers were lost on their way, and {repeats} results came again");
    let chain = audit::verify(&site.folder("audit"), &audit::Anchors::default()).unwrap();
    let offered: u64 = *offered.lock().unwrap();
    tell(
        begun,
        &format!(
            "{kills} kills: {offered} studies offered, {} acknowledged, all there and answered; {} results, {repeats} \
             came twice, all identical; the audit chain of {} lines holds",
            acknowledged.len(),
            first.len(),
            chain.lines
        ),
    );
}

fn address_of(site: &Site) -> String {
    site.status()["node"]["address"].as_str().unwrap().to_owned()
}
