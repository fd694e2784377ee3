//! Several studies at once in one worker of a GPU: what takes the worker with it costs the study beside it nothing, and no
//! answer is another study's. No GPU is needed: between the agent and the real worker stands one who has the worker do on the
//! processor what is asked of the GPU, and who kills it.
use crate::hospital::{
    Archive, Held, Node, SUND, codes, destination, ends, frame, models, new_uid, text_detection, until,
};
use crate::recovery::{engines, package};
use dicom_dictionary_std::tags;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;
use sund_agent::fault::{Blame, Fault};
use sund_agent::infer::EngineKind;
use sund_agent::spool::ReadGrant;
use sund_agent::status::StudyStatus;
use sund_agent::worker::channel::Channel;
use sund_agent::worker::{Answer, Bounds, Company, Launcher, Said, Seat, Task, TaskError, run};

const BOUNDS: Bounds = Bounds { memory: 1 << 30, time: Duration::from_mins(1), wait: Duration::ZERO };
/// How the images of a bad study end.
const BAD: &str = "666";
const GOOD: &str = "1";

/// What becomes of tasks for the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// They are done.
    Done,
    /// While two are in flight the worker is killed, once in so many messages.
    KilledOnceIn(u64),
    /// The first two meet; then the bad one takes the worker with it, and whenever it comes again.
    BadOneDies,
    /// The same, but that it is refused as one that the GPU's memory does not hold.
    BadOneIsTooLarge,
    /// The bad one is never answered.
    BadOneHangs,
}

#[derive(Default)]
struct Seen {
    lives: usize,
    kills: usize,
    random: u64,
    /// Tasks in the order in which they came: the worker's life, whether for the GPU, whether bad, and how many there were then.
    tasks: Vec<(usize, bool, bool, usize)>,
    /// The bad one of the first life, whom to answer.
    bad: Option<(UnixStream, u64)>,
}

/// A unit's socket. Each connection is a life of the worker.
#[derive(Clone)]
struct Card {
    socket: PathBuf,
    fate: Fate,
    seen: Arc<Mutex<Seen>>,
}

struct Life {
    number: usize,
    worker: Mutex<Child>,
    in_flight: Mutex<usize>,
}

impl Life {
    fn kill(&self) {
        let mut worker = self.worker.lock().unwrap();
        // Fails only where it has ended.
        let _ = worker.kill();
        let _ = worker.wait();
    }
}

impl Card {
    fn new(folder: &Path, fate: Fate) -> Self {
        let socket = folder.join("worker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Seen { random: 0x9e37_79b9_7f4a_7c15, ..Seen::default() };
        let card = Self { socket, fate, seen: Arc::new(Mutex::new(seen)) };
        let shared = card.clone();
        std::thread::spawn(move || {
            while let Ok((agent, _)) = listener.accept() {
                let card = shared.clone();
                std::thread::spawn(move || card.live(agent));
            }
        });
        card
    }

    fn live(&self, agent: UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stdin = Stdio::from(OwnedFd::from(theirs));
        let worker = Command::new(SUND).arg("worker").stdin(stdin).stdout(Stdio::null()).spawn().unwrap();
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.lives += 1;
            seen.lives
        };
        let life = Arc::new(Life { number, worker: Mutex::new(worker), in_flight: Mutex::new(0) });
        self.converse(&agent, &ours, &life);
        life.kill();
    }

    /// Hands on what both say, until one of them is gone.
    fn converse(&self, agent: &UnixStream, worker: &UnixStream, life: &Arc<Life>) {
        let is_for_gpu = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while self.answers(worker, agent, life, &is_for_gpu).is_some() {}
                // Fails only where the agent is gone.
                let _ = agent.shutdown(Shutdown::Both);
            });
            while self.asks(agent, worker, life, &is_for_gpu).is_some() {}
            let _ = worker.shutdown(Shutdown::Both);
        });
    }

    fn asks(&self, agent: &UnixStream, worker: &UnixStream, life: &Arc<Life>, is_for_gpu: &AtomicBool) -> Option<()> {
        let (mut message, files): (Value, Vec<OwnedFd>) = channel(agent).receive().ok()?;
        if message["asked"] == "lane" {
            let (ours, theirs) = UnixStream::pair().unwrap();
            channel(worker).send(&message, &[theirs.as_fd()]).ok()?;
            let (card, life) = (self.clone(), Arc::clone(life));
            let lane = UnixStream::from(files.into_iter().next().unwrap());
            std::thread::spawn(move || card.converse(&lane, &ours, &life));
            return Some(());
        }
        let is_bad = message["asked"]["task"]["series"].to_string().contains(&format!(".1.{BAD}\""));
        is_for_gpu.store(!message["asked"]["task"]["engine"]["tensor-rt"].is_null(), Ordering::SeqCst);
        if is_for_gpu.load(Ordering::SeqCst) {
            message["asked"]["task"]["engine"] = json!("tract");
        }
        let goes_on = self.is_to_go_on(agent, message["number"].as_u64().unwrap(), life, is_for_gpu, is_bad);
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        if goes_on { channel(worker).send(&message, &files).ok() } else { Some(()) }
    }

    fn is_to_go_on(&self, agent: &UnixStream, number: u64, life: &Life, is_for_gpu: &AtomicBool, is_bad: bool) -> bool {
        let is_for_gpu = is_for_gpu.load(Ordering::SeqCst);
        let mut seen = self.seen.lock().unwrap();
        let in_flight = {
            let mut in_flight = life.in_flight.lock().unwrap();
            *in_flight += 1;
            *in_flight
        };
        seen.tasks.push((life.number, is_for_gpu, is_bad, in_flight));
        let too_large = |agent: &UnixStream, number| {
            let fault = Fault::new("gpu-memory", Blame::Box, "the network does not fit");
            channel(agent).send(&Answer { number, said: Said::Failed(fault) }, &[]).unwrap();
        };
        match self.fate {
            _ if !is_for_gpu => true,
            Fate::Done => true,
            Fate::KilledOnceIn(_) => {
                self.perhaps_kill(&mut seen, life);
                true
            }
            Fate::BadOneHangs => !is_bad,
            Fate::BadOneDies | Fate::BadOneIsTooLarge if life.number == 1 => {
                if is_bad {
                    seen.bad = Some((agent.try_clone().unwrap(), number));
                }
                match (in_flight, self.fate, seen.bad.take_if(|_| in_flight == 2)) {
                    (2, Fate::BadOneDies, _) => life.kill(),
                    (2, _, Some((bad, number))) => too_large(&bad, number),
                    _ => {}
                }
                false
            }
            Fate::BadOneDies => {
                if is_bad {
                    life.kill();
                }
                !is_bad
            }
            Fate::BadOneIsTooLarge => {
                if is_bad {
                    too_large(agent, number);
                    *life.in_flight.lock().unwrap() -= 1;
                }
                !is_bad
            }
        }
    }

    fn answers(&self, worker: &UnixStream, agent: &UnixStream, life: &Life, is_for_gpu: &AtomicBool) -> Option<()> {
        let (mut message, files): (Value, Vec<OwnedFd>) = channel(worker).receive().ok()?;
        if message["said"]["step"].is_null() {
            let mut in_flight = life.in_flight.lock().unwrap();
            *in_flight = in_flight.saturating_sub(1);
        } else {
            self.perhaps_kill(&mut self.seen.lock().unwrap(), life);
        }
        if is_for_gpu.load(Ordering::SeqCst) && !message["said"]["done"].is_null() {
            message["said"]["done"]["inference"]["engine"]["class"] = json!("tensorrt-rtx");
        }
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        channel(agent).send(&message, &files).ok()
    }

    /// While two are in flight no job dies twice: its repeat is alone.
    fn perhaps_kill(&self, seen: &mut Seen, life: &Life) {
        let Fate::KilledOnceIn(odds) = self.fate else { return };
        // xorshift64
        seen.random ^= seen.random << 13;
        seen.random ^= seen.random >> 7;
        seen.random ^= seen.random << 17;
        if *life.in_flight.lock().unwrap() == 2 && seen.random.is_multiple_of(odds) {
            seen.kills += 1;
            life.kill();
        }
    }

    fn tasks(&self) -> Vec<(usize, bool, bool, usize)> {
        self.seen.lock().unwrap().tasks.clone()
    }

    /// Waits until this number of tasks for the GPU have come.
    async fn has_had(&self, count: usize) {
        until(&format!("{count} tasks come"), || (self.tasks().len() >= count).then_some(())).await;
    }
}

fn channel(socket: &UnixStream) -> Channel {
    Channel::new(socket.try_clone().unwrap())
}

async fn node(archive: &Archive, card: &Card, processor: bool, bounds: Bounds) -> Node {
    Node::open(configured(archive, card, processor, bounds)).await
}

fn configured(
    archive: &Archive,
    card: &Card,
    processor: bool,
    bounds: Bounds,
) -> impl FnOnce(&mut sund_agent::config::Config) {
    let (address, socket) = (archive.address.clone(), card.socket.clone());
    move |config| {
        config.worker.launcher = Launcher::Unit { socket };
        config.worker.bounds = bounds;
        config.worker.engines = engines();
        config.packages = vec![package(processor)];
        config.destinations = vec![destination("archive", &address)];
    }
}

/// All studies once they have ended, the newest first.
async fn all_end(node: &Node, count: usize) -> Vec<StudyStatus> {
    let is_over = || {
        let studies = node.status().studies;
        studies.len() == count && studies.iter().all(|study| ends(study) > 0)
    };
    until("all studies end", || is_over().then_some(())).await;
    node.status().studies
}

fn report<'a>(held: &'a [Held], study: &str) -> &'a Held {
    let is_it = |held: &&Held| held.arrival.study == study && held.text(tags::MODALITY) == "SR";
    held.iter().find(is_it).expect("a report")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forty_studies_on_a_worker_that_is_killed_at_random_have_each_its_own_answer_once() {
    const STUDIES: u16 = 40;
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Fate::KilledOnceIn(5));
    let archive = Archive::open().await;
    let node = node(&archive, &card, false, BOUNDS).await;
    let mut rows = BTreeMap::new();
    for n in 0..STUDIES {
        let study = new_uid();
        // No two are of one height: a preview tells whose it is.
        node.receives(&[frame().rows(33 + n).in_study(&study, GOOD)]).await;
        rows.insert(study, 33 + n);
    }
    let studies = all_end(&node, usize::from(STUDIES)).await;
    for study in studies {
        assert_ne!(study.state, "failed", "{:?}", study.timeline);
        assert!(ends(&study) == 1 && codes(&study).is_empty(), "{:?}", study.timeline);
    }
    let held = archive.holds(2 * usize::from(STUDIES)).await;
    assert_eq!(held.len(), 2 * usize::from(STUDIES));
    let mut legends = BTreeSet::new();
    for (study, rows) in rows {
        let own: Vec<&Held> = held.iter().filter(|held| held.arrival.study == study).collect();
        assert_eq!(own.len(), 2, "a report and a preview");
        let preview = own.iter().find(|held| held.text(tags::MODALITY) != "SR").expect("a preview");
        legends.insert(preview.header().number(tags::ROWS).unwrap() as u16 - rows);
        assert!(report(&held, &study).says(&format!("{study}.1.{GOOD}")));
    }
    assert_eq!(legends.len(), 1, "each preview is as high as its image, and what stands below it: {legends:?}");
    let seen = card.seen.lock().unwrap();
    assert!(seen.kills > 0, "it was killed");
    assert!(seen.lives <= seen.kills + 1, "it is not started without need");
    // An answer that was on its way when the worker was killed needs no repeat.
    let least = usize::from(STUDIES) + 1;
    let most = usize::from(STUDIES) + 2 * seen.kills;
    assert!((least..=most).contains(&seen.tasks.len()), "{} tasks, {} kills", seen.tasks.len(), seen.kills);
    assert_eq!(seen.tasks.iter().map(|(.., in_flight)| *in_flight).max(), Some(2));
}

/// The bad study is lost twice, the good one beside it once: what runs again runs alone.
async fn costs_the_study_beside_it_nothing(fate: Fate, processor: bool) {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), fate);
    let archive = Archive::open().await;
    let node = node(&archive, &card, processor, BOUNDS).await;
    let (good, bad) = (new_uid(), new_uid());
    node.receives(&[frame().rows(64).in_study(&bad, BAD)]).await;
    node.receives(&[frame().rows(64).in_study(&good, GOOD)]).await;
    let studies = all_end(&node, 2).await;
    let [newer, older] = studies.as_slice() else { panic!("two studies") };
    assert!(newer.state != "failed" && codes(newer).is_empty(), "{fate:?} {:?}", newer.timeline);
    assert_eq!(older.state == "failed", !processor, "{fate:?} {:?}", older.timeline);
    let tasks = card.tasks();
    let on_gpu =
        |of_bad: bool| tasks.iter().filter(|(_, is_for_gpu, is_bad, _)| *is_for_gpu && *is_bad == of_bad).count();
    assert_eq!((on_gpu(true), on_gpu(false)), (2, 2), "{tasks:?}");
    assert!(tasks.iter().filter(|(life, ..)| *life > 1).all(|(.., in_flight)| *in_flight == 1), "alone: {tasks:?}");
    if fate == Fate::BadOneIsTooLarge {
        let told = || node.audited(&["job-restarted", "because of the job beside this one (gpu-memory)"]).then_some(());
        until("the audit trail says why the good one ran again", told).await;
    }
    let held = archive.holds(if processor { 4 } else { 3 }).await;
    assert!(report(&held, &good).says("tensorrt-rtx"), "it was not taken off the GPU");
    assert!(report(&held, &bad).says(if processor { "tract" } else { "AI outcome: failed" }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_that_takes_its_worker_with_it_costs_the_one_beside_it_nothing() {
    costs_the_study_beside_it_nothing(Fate::BadOneDies, true).await;
    costs_the_study_beside_it_nothing(Fate::BadOneDies, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_that_the_gpu_does_not_hold_costs_the_one_beside_it_nothing() {
    costs_the_study_beside_it_nothing(Fate::BadOneIsTooLarge, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_that_hangs_does_not_hold_up_the_one_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Fate::BadOneHangs);
    let archive = Archive::open().await;
    let bounds = Bounds { time: Duration::from_secs(20), ..BOUNDS };
    let node = node(&archive, &card, true, bounds).await;
    node.receives(&[frame().rows(64).in_study(&new_uid(), BAD)]).await;
    card.has_had(1).await;
    node.receives(&[frame().rows(64).in_study(&new_uid(), GOOD)]).await;
    until("the other one comes", || (node.status().studies.len() == 2).then_some(())).await;
    let good = node.ended(1).await;
    assert!(good.state != "failed" && codes(&good).is_empty(), "{:?}", good.timeline);
    assert_eq!(card.tasks(), [(1, true, true, 1), (1, true, false, 2)], "the bad one is still there");
    let studies = all_end(&node, 2).await;
    assert!(studies.iter().all(|study| study.state != "failed"), "{studies:?}");
    archive.holds(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_lets_both_studies_of_a_worker_come_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Fate::Done);
    let archive = Archive::open().await;
    let mut node = node(&archive, &card, true, BOUNDS).await;
    for _ in 0..2 {
        node.receives(&[frame().in_study(&new_uid(), GOOD)]).await;
    }
    card.has_had(2).await;
    node.stop().await;
    assert_eq!(card.tasks(), [(1, true, false, 1), (1, true, false, 2)]);
    node.start(configured(&archive, &card, true, BOUNDS)).await;
    for study in all_end(&node, 2).await {
        assert!(ends(&study) == 1 && codes(&study).is_empty(), "{:?}", study.timeline);
    }
    archive.holds(4).await;
    assert_eq!(card.tasks().len(), 2, "nothing ran again");
}

/// The golden case of the text model, by two conversations at once with one worker.
fn both_run(seats: &[Seat], bounds: Bounds) -> Vec<Result<String, String>> {
    let package = text_detection();
    let meet = Barrier::new(seats.len());
    let one = |job: u64, seat: &Seat| {
        let folder = File::open(models().join("text-detection")).unwrap();
        let task = Task {
            job,
            package_digest: package.digest.clone(),
            engine: EngineKind::Tract,
            golden: Some(package.manifest.golden[0].name.clone()),
            memory: bounds.memory,
            series: ReadGrant::default(),
        };
        let worker = seat.take(Company::Others).unwrap();
        meet.wait();
        let (worker, answer) = run(worker, &task, &[folder.as_fd()], bounds, &mut |_| {});
        seat.put(worker);
        answer.map(|inference| inference.package.name).map_err(|error| match error {
            TaskError::WorkerLost(fault) => fault.code.to_string(),
            TaskError::Refused(fault) => panic!("{fault:?}"),
        })
    };
    let one = &one;
    std::thread::scope(|scope| {
        let running: Vec<_> = (1..).zip(seats).map(|(job, seat)| scope.spawn(move || one(job, seat))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    })
}

#[test]
fn two_tasks_in_one_worker_share_its_memory_and_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (program, starts) = (folder.path().join("worker-program"), folder.path().join("starts"));
    fs::write(&program, format!("#!/bin/sh\necho $$ >> {}\nexec {SUND} worker\n", starts.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let starts = || fs::read_to_string(&starts).unwrap_or_default().lines().count();
    // It begins anew to see this GPU alone, before it is asked for the second conversation.
    let device = "GPU-8d2f5a1c-0000-4000-8000-000000000001".to_owned();
    let seats = Seat::several(Launcher::Child { program }, Some(device), 2);
    let lost = both_run(&seats, Bounds { memory: 1 << 20, ..BOUNDS });
    assert!(lost.iter().any(|lost| *lost == Err("worker-out-of-memory".into())), "{lost:?}");
    let losses = ["worker-out-of-memory", "worker-died"];
    let is_loss = |lost: &Result<String, String>| lost.as_ref().is_err_and(|code| losses.contains(&code.as_str()));
    assert!(lost.iter().all(is_loss), "{lost:?}");
    assert_eq!(starts(), 1);
    for _ in 0..2 {
        assert_eq!(both_run(&seats, BOUNDS), vec![Ok("text-detection".to_owned()); 2]);
        assert_eq!(starts(), 2, "one fresh worker for both");
    }
    seats[0].renew();
    assert_eq!(both_run(&seats[1..], BOUNDS), [Ok("text-detection".to_owned())]);
    assert_eq!(starts(), 3);
}
