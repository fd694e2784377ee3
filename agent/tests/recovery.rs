//! A GPU that is lost to a job costs no answer: once more on a fresh worker, then on the processor, where the package is
//! validated for that. No GPU is needed: what stands for one is a worker that is lost on each task for a GPU, and is the
//! real one for every other task.
use crate::hospital::{Archive, Node, SUND, codes, destination, ends, frame, new_uid, text_detection, until};
use dicom_dictionary_std::tags;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};
use sund_agent::fault::{Blame, Fault};
use sund_agent::infer::{Engines, Gpu, TensorRtLibrary};
use sund_agent::model::Package;
use sund_agent::model::compiled::Compiled;
use sund_agent::model::manifest::ValidatedEngine;
use sund_agent::worker::channel::Channel;
use sund_agent::worker::{Answer, Bounds, Launcher, Said};

pub const BOUNDS: Bounds = Bounds { memory: 1 << 30, time: Duration::from_secs(30), wait: Duration::ZERO };

/// How the stand-in is lost on a task for a GPU.
#[derive(Clone, Copy)]
pub enum Loss {
    /// The driver takes the process with it.
    Dies,
    /// It never answers, as after an Xid.
    Hangs,
    /// The engine has no more memory there, and says so.
    IsFull,
}

/// A worker for each connection, as systemd starts them. Behind it is a real one, which gets what is not for the GPU.
pub struct Card {
    pub socket: PathBuf,
    /// What each task was for: `gpu`, `processor`.
    tasks: Arc<Mutex<Vec<&'static str>>>,
    /// True while the GPU is well: the real worker does its tasks on tract, in its name.
    pub is_well: Arc<AtomicBool>,
    /// What comes of an order to compile; it waits while there is nothing.
    compiles: Arc<(Mutex<Option<Made>>, Condvar)>,
}

/// What comes of an order to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A plan for each network.
    Plans,
    /// The library does not know how.
    Nothing,
    /// The library takes the process with it.
    Death,
    /// Plans are claimed, and none was written.
    Claims,
}

impl Card {
    pub fn new(folder: &Path, loss: Loss) -> Self {
        let socket = folder.join("worker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let card = Self { socket, tasks: Arc::default(), is_well: Arc::default(), compiles: Arc::default() };
        let state = (Arc::clone(&card.tasks), Arc::clone(&card.is_well), Arc::clone(&card.compiles));
        std::thread::spawn(move || {
            while let Ok((agent, _)) = listener.accept() {
                let (tasks, is_well, compiles) = state.clone();
                std::thread::spawn(move || stand_in(&agent, loss, &tasks, &is_well, &compiles));
            }
        });
        card
    }

    /// Has orders to compile come to this.
    pub fn makes(&self, made: Made) {
        *self.compiles.0.lock().unwrap() = Some(made);
        self.compiles.1.notify_all();
    }

    pub fn tasks(&self) -> Vec<&'static str> {
        self.tasks.lock().unwrap().clone()
    }
}

/// Hands on what comes, until a task for the GPU does, or the agent goes away.
fn stand_in(
    agent: &UnixStream,
    loss: Loss,
    tasks: &Mutex<Vec<&'static str>>,
    is_well: &AtomicBool,
    (made, is_known): &(Mutex<Option<Made>>, Condvar),
) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stdin = Stdio::from(OwnedFd::from(theirs));
    let mut worker = Command::new(SUND).arg("worker").stdin(stdin).stdout(Stdio::null()).spawn().unwrap();
    let channel = |socket: &UnixStream| Channel::new(socket.try_clone().unwrap());
    let (mut from_worker, mut to_agent) = (channel(&ours), channel(agent));
    let in_its_name = Arc::new(AtomicBool::new(false));
    let is_in_its_name = Arc::clone(&in_its_name);
    let mut for_agent = move |message: &mut Value, _: &[OwnedFd]| {
        let engine = message.pointer_mut("/said/done/inference/engine");
        if let Some(engine) = engine.filter(|_| is_in_its_name.load(Ordering::Relaxed)) {
            *engine = json!({ "class": "tensorrt-rtx", "precision": "fp32", "version": "1.3.0" });
        }
        true
    };
    let answers = std::thread::spawn(move || while hand_on(&mut from_worker, &mut to_agent, &mut for_agent) {});
    let (mut from_agent, mut to_worker, mut says) = (channel(agent), channel(&ours), channel(agent));
    let mut is_for_worker = |message: &mut Value, files: &[OwnedFd]| {
        let number = message["number"].as_u64().unwrap();
        if !message["asked"]["compile"].is_null() {
            tasks.lock().unwrap().push("compile");
            let made = is_known.wait_while(made.lock().unwrap(), |made| made.is_none()).unwrap().unwrap();
            let said = match made {
                Made::Death => {
                    agent.shutdown(Shutdown::Both).unwrap();
                    return false;
                }
                Made::Nothing => {
                    Said::Failed(Fault::new("network-not-compiled", Blame::Package, "no kernel does this"))
                }
                Made::Claims => Said::Compiled(vec![7; 2]),
                Made::Plans => {
                    for place in &files[1..] {
                        File::from(place.try_clone().unwrap()).write_all(b"a plan").unwrap();
                    }
                    Said::Compiled(vec![6; files.len() - 1])
                }
            };
            says.send(&Answer { number, said }, &[]).unwrap();
            return false;
        }
        let is_for_gpu = !message["asked"]["task"]["engine"]["tensor-rt"].is_null();
        if !message["asked"]["task"]["engine"]["tensor-rt"]["plans"]["kept"].is_null() {
            // What was compiled on the box comes with the task.
            let mut plan = [0; 6];
            File::from(files.last().unwrap().try_clone().unwrap()).read_exact_at(&mut plan, 0).unwrap();
            assert_eq!(&plan, b"a plan");
        }
        tasks.lock().unwrap().push(if is_for_gpu { "gpu" } else { "processor" });
        in_its_name.store(is_for_gpu, Ordering::Relaxed);
        match loss {
            _ if !is_for_gpu => return true,
            _ if is_well.load(Ordering::Relaxed) => {
                message["asked"]["task"]["engine"] = "tract".into();
                return true;
            }
            Loss::Dies => agent.shutdown(Shutdown::Both).unwrap(),
            Loss::Hangs => {}
            Loss::IsFull => {
                let fault = Fault::new("gpu-memory", Blame::Box, "the network does not fit");
                says.send(&Answer { number, said: Said::Failed(fault) }, &[]).unwrap();
            }
        }
        false
    };
    while hand_on(&mut from_agent, &mut to_worker, &mut is_for_worker) {}
    worker.kill().unwrap();
    worker.wait().unwrap();
    answers.join().unwrap();
}

/// One message with its files, where it is meant to go on; false once one of the two sides is gone.
fn hand_on(from: &mut Channel, to: &mut Channel, goes_on: impl FnOnce(&mut Value, &[OwnedFd]) -> bool) -> bool {
    let Ok((mut message, files)) = from.receive::<Value>() else { return false };
    let goes_on = goes_on(&mut message, &files);
    let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    !goes_on || to.send(&message, &files).is_ok()
}

/// The text model with an engine for the GPU in it; validated for the GPU, and for the processor if `processor`.
pub fn package(processor: bool) -> Package {
    let mut package = text_detection();
    let gpu = ValidatedEngine { class: "tensorrt-rtx".into(), precision: "fp32".into() };
    let rest = std::mem::take(&mut package.manifest.engines);
    package.manifest.engines = std::iter::once(gpu).chain(rest.into_iter().filter(|_| processor)).collect();
    package.manifest.compiled = vec![Compiled {
        network: package.manifest.networks[0].name.clone(),
        class: "tensorrt-rtx".into(),
        precision: "fp32".into(),
        version: "1.3.0".into(),
        architectures: vec!["sm89".into()],
        file: "engines/detect.plan".into(),
        sha256: String::new(),
    }];
    package
}

pub fn engines() -> Engines {
    let gpu = Gpu { name: "NVIDIA L4".into(), capability: (8, 9), memory: 24 << 30, driver: "580.95.05".into() };
    let library = TensorRtLibrary { class: "tensorrt-rtx".into(), path: SUND.into(), version: "1.3.0".into() };
    Engines { gpu: Some(gpu), tensorrt: vec![library], ..Engines::default() }
}

async fn node(archive: &Archive, card: &Card, package: Package, bounds: Bounds) -> Node {
    let (address, socket) = (archive.address.clone(), card.socket.clone());
    Node::open(|config| {
        config.worker.launcher = Launcher::Unit { socket };
        config.worker.bounds = bounds;
        config.worker.engines = engines();
        config.worker.studies_per_gpu = 1;
        config.packages = vec![package];
        config.destinations = vec![destination("archive", &address)];
    })
    .await
}

/// Twice on the GPU, then on the processor, whose golden cases are run first: the result names the engine that answered.
async fn is_answered_by_the_processor(loss: Loss, bounds: Bounds, code: &str) {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), loss);
    let archive = Archive::open().await;
    let node = node(&archive, &card, package(true), bounds).await;
    assert_eq!(node.status().models[0].engine.as_deref(), Some("tensorrt-rtx fp32"));

    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let study = node.ended(1).await;
    assert_ne!(study.state, "failed", "{:?}", study.timeline);
    // The golden case, and the job.
    assert_eq!(card.tasks(), ["gpu", "gpu", "processor", "processor"]);
    assert_eq!(codes(&study), [code], "told once: {:?}", study.timeline);
    let moved = study.timeline.iter().find(|moment| moment.code.is_some()).unwrap();
    assert!(moved.step == "running" && moved.text.contains("on tract fp32"), "{moved:?}");
    until("the audit trail has both losses", || {
        node.audited(&["job-restarted", code, "tensorrt-rtx fp32"]).then_some(())?;
        node.audited(&["job-restarted", code, "tract fp32"]).then_some(())
    })
    .await;
    let report = archive.holds(2).await.into_iter().find(|held| held.text(tags::MODALITY) == "SR").unwrap();
    assert!(report.says("tract"), "the report names what answered");
    assert!(!report.says("tensorrt-rtx"), "and not what did not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_whose_gpu_takes_its_worker_with_it_is_answered_by_the_processor() {
    is_answered_by_the_processor(Loss::Dies, BOUNDS, "worker-died").await;
}

/// The golden cases of the processor's engine run within the same bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_whose_gpu_hangs_is_answered_by_the_processor() {
    let bounds = Bounds { time: Duration::from_secs(8), ..BOUNDS };
    is_answered_by_the_processor(Loss::Hangs, bounds, "worker-timeout").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_that_does_not_fit_into_the_gpu_is_answered_by_the_processor() {
    is_answered_by_the_processor(Loss::IsFull, BOUNDS, "gpu-memory").await;
}

/// What the package is not validated for does not answer, whatever was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_package_that_is_validated_for_the_gpu_alone_fails_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Loss::Dies);
    let archive = Archive::open().await;
    let node = node(&archive, &card, package(false), BOUNDS).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let failed = node.ended(1).await;
    assert_eq!((failed.state.as_str(), codes(&failed)), ("failed", vec!["worker-died".to_owned()]), "{failed:?}");
    assert_eq!(card.tasks(), ["gpu", "gpu"]);
    let report = archive.holds(1).await.remove(0);
    assert!(report.says("AI outcome: failed") && report.says("validated for no engine of the processor"));
}

/// A GPU that is dead costs two studies their tries, and no other; once it is well, golden cases find it so, and no study.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gpu_that_is_lost_again_and_again_is_left_alone_until_golden_cases_hold_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Loss::Dies);
    let archive = Archive::open().await;
    let node = node(&archive, &card, package(true), BOUNDS).await;
    let tasks = || std::mem::take(&mut *card.tasks.lock().unwrap());
    let study = async |count: usize| {
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
        let over = || node.status().studies.iter().filter(|study| ends(study) > 0).count() == count;
        until("the study ends", || over().then_some(())).await;
        assert!(node.status().studies.iter().all(|study| study.state != "failed"));
        tasks()
    };
    assert_eq!(study(1).await, ["gpu", "gpu", "processor", "processor"], "its golden case, and the job");
    assert!(node.status().gpus_left.is_empty(), "one study alone does not say that it is the GPU");
    assert_eq!(study(2).await, ["gpu", "gpu", "processor"]);
    let left = node.status().gpus_left.remove(0);
    assert!(left.device.is_none() && left.code == "gpu-left" && left.reason.contains("worker-died"), "{left:?}");
    assert!(left.since <= SystemTime::now() && left.until > left.since, "{left:?}");
    assert_eq!(study(3).await, ["processor"]);

    card.is_well.store(true, Ordering::Relaxed);
    until("it is used again", || node.status().gpus_left.is_empty().then_some(())).await;
    // On a slow machine its pause may have ended once before it was well.
    let tried = tasks();
    assert!(!tried.is_empty() && tried.iter().all(|task| *task == "gpu"), "its golden case: {tried:?}");
    assert_eq!(study(4).await, ["gpu"]);
    let reports = until("all four are reported", || Some(archive.reports()).filter(|all| all.len() == 4)).await;
    let by = |engine: &str| reports.iter().filter(|report| report.says(engine)).count();
    assert_eq!((by("tensorrt-rtx"), by("tract")), (1, 3), "each names what answered");
}

/// Where nothing else may serve, a GPU that is left alone is still the only chance of a study.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_package_for_the_gpu_alone_is_tried_on_one_that_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Loss::Dies);
    let archive = Archive::open().await;
    let node = node(&archive, &card, package(false), BOUNDS).await;
    for count in 1..=3 {
        card.is_well.store(count == 3, Ordering::Relaxed);
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
        let over = || node.status().studies.iter().filter(|study| ends(study) > 0).count() == count;
        until("the study ends", || over().then_some(())).await;
        // That it answers a study again does not say that it answers rightly.
        assert_eq!(node.status().gpus_left.len(), usize::from(count >= 2), "after study {count}");
    }
    assert_eq!(card.tasks(), ["gpu"; 5]);
    assert_eq!(node.status().studies.iter().filter(|study| study.state == "failed").count(), 2);
}
