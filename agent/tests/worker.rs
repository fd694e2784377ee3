//! Whatever a worker does costs one job: it is tried once more on a fresh worker, then ends as failed with its code, and the
//! node goes on. Both launchers; the workers that misbehave are programs of a few lines.
use crate::hospital::{Archive, Image, Node, SUND, codes, destination, ends, frame, new_uid, until};
use dicom_dictionary_std::tags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sund_agent::fault::{Blame, Fault};
use sund_agent::infer::EngineKind;
use sund_agent::inference::{EngineUsed, Findings, Inference, PackageRef, Picture, SourceFrame};
use sund_agent::limits::worker::MAX_SOURCES;
use sund_agent::outcome::Outcome;
use sund_agent::pipeline::Activation;
use sund_agent::spool::ReadGrant;
use sund_agent::status::StudyStatus;
use sund_agent::worker::bulk;
use sund_agent::worker::channel::Channel;
use sund_agent::worker::{Answer, Bounds, Launcher, Place, Question, Said, Task, TaskError, run};

/// A worker that is all right.
const WELL: &str = "exec \"$SUND\" worker";
/// Ends in the middle of the job, as after a kill from outside.
const KILLED: &str = "head -c 100 <&0 >/dev/null; kill -KILL $$";
/// Ends as a codec does that finds its memory overwritten.
const ABORTS: &str = "head -c 100 <&0 >/dev/null; kill -ABRT $$";
/// Never answers.
const HANGS: &str = "exec sleep 1000";
/// Stops in the middle of a message.
const STOPS_IN_A_MESSAGE: &str = "printf '\\100\\000\\000\\000\\000\\000\\000\\000{\"st' >&0; exec sleep 1000";
/// Goes away from its connection and lives on.
const CLOSES: &str = "exec sleep 1000 0</dev/null";
/// `tail` keeps what might be the last lines, and there is no line.
const ALLOCATES: &str = "exec tail /dev/zero";
const GARBAGE: &str = "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n' >&0; exec sleep 1000";
/// Well-formed messages without end.
const TALKS: &str = "printf '\\112\\000\\000\\000\\000\\000\\000\\000{\"number\":1,\"said\":{\"step\":{\"step\":\"decode\",\"took\":{\"secs\":0,\"nanos\":1}}}}' >$0.m; \
                     while cat $0.m >&0; do :; done";
/// A refusal that would write what it likes into metrics and reports.
const LIES: &str = "printf '\\113\\000\\000\\000\\000\\000\\000\\000{\"number\":1,\"said\":{\"failed\":{\"code\":\"A B\",\"blame\":\"peer\",\"reason\":\"ccc\"}}}' >&0; \
                    exec sleep 1000";

/// A program for the launcher: every start appends its process number to a file, then runs the script. The first
/// `times` starts run `script`, later ones a worker that is all right.
struct Program {
    path: PathBuf,
    starts: PathBuf,
}

impl Program {
    fn new(folder: &Path, script: &str, times: u32) -> Self {
        let (path, starts) = (folder.join("worker-program"), folder.join("starts"));
        let text = format!(
            "#!/bin/sh\nSUND={SUND}\necho $$ >> {starts}\n\
             if [ \"$(wc -l < {starts})\" -gt {times} ]; then {WELL}; fi\n{script}\n",
            starts = starts.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self { path, starts }
    }

    fn starts(&self) -> Vec<i32> {
        let text = fs::read_to_string(&self.starts).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

/// What systemd does for `sund-worker.socket` with `Accept=yes`: a process for each connection, which is its standard input.
struct Systemd {
    socket: PathBuf,
    units: Arc<Mutex<Vec<Child>>>,
}

impl Systemd {
    fn new(folder: &Path, program: PathBuf) -> Self {
        let socket = folder.join("worker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let units: Arc<Mutex<Vec<Child>>> = Arc::default();
        let started = Arc::clone(&units);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let stdin = Stdio::from(OwnedFd::from(stream));
                let unit = Command::new(&program).arg("worker").stdin(stdin).stdout(Stdio::null()).spawn().unwrap();
                started.lock().unwrap().push(unit);
            }
        });
        Self { socket, units }
    }

    /// Units that still run.
    fn running(&self) -> usize {
        let mut units = self.units.lock().unwrap();
        units.iter_mut().filter_map(|unit| unit.try_wait().unwrap().is_none().then_some(())).count()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        for unit in self.units.lock().unwrap().iter_mut() {
            // Fails only where it has ended.
            let _ = unit.kill();
            let _ = unit.wait();
        }
    }
}

const BOUNDS: Bounds = Bounds { memory: 1 << 30, time: Duration::from_secs(30), wait: Duration::ZERO };
/// For those who would never end; one that is well answers within a part of it, on a busy machine too.
const SHORT: Bounds = Bounds { memory: 1 << 30, time: Duration::from_secs(5), wait: Duration::ZERO };

async fn node(archive: &Archive, launcher: Launcher, bounds: Bounds) -> Node {
    let address = archive.address.clone();
    Node::open(|config| {
        config.worker.launcher = launcher;
        config.worker.bounds = bounds;
        config.destinations = vec![destination("archive", &address)];
    })
    .await
}

/// A strip of the frame, which is soon answered.
fn study() -> Image {
    frame().rows(64).in_study(&new_uid(), "1")
}

/// Both attempts go to a worker that misbehaves: the study fails with `code`, in every place that says so; the next one,
/// on a worker that is well, succeeds.
async fn costs_one_job(script: &str, bounds: Bounds, code: &str, unit: bool) {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(folder.path(), script, 2);
    let archive = Archive::open().await;
    let systemd = unit.then(|| Systemd::new(folder.path(), program.path.clone()));
    let launcher = match &systemd {
        Some(systemd) => Launcher::Unit { socket: systemd.socket.clone() },
        None => Launcher::Child { program: program.path.clone() },
    };
    let node = node(&archive, launcher, bounds).await;

    node.receives(&[study()]).await;
    let failed = node.ended(1).await;
    assert_eq!(failed.state, "failed", "{:?}", failed.timeline);
    assert_eq!(codes(&failed), [code], "{:?}", failed.timeline);
    assert_eq!(program.starts().len(), 2, "tried once more on a fresh worker, and no more");
    until("the audit trail has the code", || node.audited(&["job-ended", code]).then_some(())).await;
    let report = archive.holds(1).await.remove(0);
    assert_eq!(report.text(tags::MODALITY), "SR");
    assert!(report.says("AI outcome: failed"));
    let reason = &failed.timeline.iter().find(|moment| moment.step == "failed").unwrap().text;
    assert!(report.says(reason.rsplit(": failed: ").next().unwrap()), "the report says why: {reason}");

    node.receives(&[study()]).await;
    until("the next study comes", || (node.status().studies.len() == 2).then_some(())).await;
    let next = node.ended(1).await;
    assert!(next.state != "failed" && codes(&next).is_empty(), "{:?}", next.timeline);
    assert_eq!(program.starts().len(), 3);
    archive.holds(3).await;
}

const LAUNCHERS: [bool; 2] = [false, true];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_is_killed() {
    for unit in LAUNCHERS {
        costs_one_job(KILLED, BOUNDS, "worker-died", unit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_codec_that_crashes() {
    for unit in LAUNCHERS {
        costs_one_job(ABORTS, BOUNDS, "worker-died", unit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_hangs() {
    for unit in LAUNCHERS {
        costs_one_job(HANGS, SHORT, "worker-timeout", unit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_stops_in_the_middle_of_a_message() {
    costs_one_job(STOPS_IN_A_MESSAGE, SHORT, "worker-timeout", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_closes_its_connection_and_lives_on() {
    costs_one_job(CLOSES, BOUNDS, "worker-died", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_allocates_without_end() {
    costs_one_job(ALLOCATES, BOUNDS, "worker-out-of-memory", false).await;
}

/// Nobody but itself sees a unit's memory; behind it stands its cgroup.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_units_worker_that_takes_more_memory_than_is_allowed_says_so_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(folder.path(), WELL, 0);
    let archive = Archive::open().await;
    let systemd = Systemd::new(folder.path(), program.path.clone());
    let launcher = Launcher::Unit { socket: systemd.socket.clone() };
    let node = node(&archive, launcher, Bounds { memory: 1 << 20, ..BOUNDS }).await;
    // Whole: there is time to look at the memory.
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let failed = node.ended(1).await;
    assert_eq!(codes(&failed), ["worker-out-of-memory"], "{:?}", failed.timeline);
    assert_eq!(program.starts().len(), 2, "tried once more on a fresh worker, and no more");
    until("no unit runs any more", || (systemd.running() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_sends_garbage() {
    for unit in LAUNCHERS {
        costs_one_job(GARBAGE, BOUNDS, "worker-garbled", unit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_talks_without_end() {
    costs_one_job(TALKS, SHORT, "worker-timeout", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_says_what_no_stage_says() {
    costs_one_job(LIES, BOUNDS, "worker-garbled", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_cannot_be_started() {
    let archive = Archive::open().await;
    let node = node(&archive, Launcher::Unit { socket: "/nonexistent/worker.sock".into() }, BOUNDS).await;
    node.receives(&[study()]).await;
    let failed = node.ended(1).await;
    assert_eq!(codes(&failed), ["worker-not-started"], "{:?}", failed.timeline);
    assert!(archive.holds(1).await[0].says("AI outcome: failed"));
}

/// A unit that is down for a moment, as while it is updated, costs no answer: the job waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_that_comes_while_the_unit_is_down_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(folder.path(), WELL, 0);
    let archive = Archive::open().await;
    let socket = folder.path().join("worker.sock");
    let bounds = Bounds { wait: Duration::from_mins(1), ..BOUNDS };
    let node = node(&archive, Launcher::Unit { socket }, bounds).await;
    node.receives(&[study()]).await;
    let waits = |study: &StudyStatus| study.timeline.iter().any(|moment| moment.step == "waiting");
    node.study("it is found that no worker is there", waits).await;
    assert_eq!(node.status().queue.len(), 1);
    let _systemd = Systemd::new(folder.path(), program.path.clone());
    let study = node.ended(1).await;
    assert_eq!(codes(&study), ["worker-not-started"], "told once: {:?}", study.timeline);
    assert_eq!(study.timeline.iter().filter(|moment| moment.step == "running").count(), 1, "{:?}", study.timeline);
    archive.holds(2).await;
}

/// At the start of a machine the agent may be up before `sund-worker.socket` is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_model_serves_as_soon_as_the_units_socket_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(folder.path(), WELL, 0);
    let archive = Archive::open().await;
    let address = archive.address.clone();
    let socket = folder.path().join("worker.sock");
    let node = Node::open(|config| {
        config.worker.launcher = Launcher::Unit { socket };
        config.worker.activation = Activation::AtStart;
        config.destinations = vec![destination("archive", &address)];
    })
    .await;
    let model = |state: &'static str| node.status().models.into_iter().find(|model| model.state == state);
    let off = until("no worker is there", || model("off")).await;
    assert!(off.explanation.contains("sund-worker.socket") && off.explanation.contains("tried again"), "{off:?}");
    let _systemd = Systemd::new(folder.path(), program.path.clone());
    until("its golden cases hold, and no job came", || model("active")).await;
    node.receives(&[study()]).await;
    let study = node.ended(1).await;
    assert!(codes(&study).is_empty(), "{:?}", study.timeline);
}

/// The real worker, killed while it computes: the job is answered by the second one, and nobody sees more of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_whose_worker_is_killed_at_work_succeeds_on_a_fresh_one() {
    for unit in LAUNCHERS {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::new(folder.path(), WELL, 0);
        let archive = Archive::open().await;
        let systemd = unit.then(|| Systemd::new(folder.path(), program.path.clone()));
        let launcher = match &systemd {
            Some(systemd) => Launcher::Unit { socket: systemd.socket.clone() },
            None => Launcher::Child { program: program.path.clone() },
        };
        let node = node(&archive, launcher, BOUNDS).await;
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
        let first =
            until("the worker has its task", || program.starts().first().copied().filter(|pid| has_a_task(*pid))).await;
        kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
        let study = node.ended(1).await;
        assert!(codes(&study).is_empty() && ends(&study) == 1, "{:?}", study.timeline);
        assert_eq!(program.starts().len(), 2);
        archive.holds(2).await;
    }
}

/// True once the process has taken a task: the model's folder is among its files.
fn has_a_task(pid: i32) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.ends_with("text-detection")))
}

/// A unit's worker is not the agent's to kill: it ends by itself when the agent closes the connection, in the middle of a
/// job as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_units_worker_that_is_given_up_ends_in_the_middle_of_its_job() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(folder.path(), WELL, 0);
    let archive = Archive::open().await;
    let systemd = Systemd::new(folder.path(), program.path.clone());
    let launcher = Launcher::Unit { socket: systemd.socket.clone() };
    let bounds = Bounds { time: Duration::from_millis(60), ..BOUNDS };
    let node = node(&archive, launcher, bounds).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let failed = node.ended(1).await;
    assert_eq!(codes(&failed), ["worker-timeout"], "{:?}", failed.timeline);
    until("no unit runs any more", || (systemd.running() == 0).then_some(())).await;
}

/// Else a late answer to one study would be the answer to the next one.
#[test]
fn an_answer_that_comes_twice_is_not_taken_for_the_next_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("worker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let stutters = std::thread::spawn(move || {
        let mut channel = Channel::new(listener.accept().unwrap().0);
        let (Question { number, .. }, _) = channel.receive().unwrap();
        let fault = Fault::new("volume-empty", Blame::Study, "the series has no image");
        for _ in 0..2 {
            channel.send(&Answer { number, said: Said::Failed(fault.clone()) }, &[]).unwrap();
        }
        channel.receive::<Question<'_>>().unwrap();
    });
    let task = Task {
        job: 1,
        package_digest: String::new(),
        engine: EngineKind::Tract,
        golden: None,
        memory: BOUNDS.memory,
        series: ReadGrant::default(),
    };
    let worker = Launcher::Unit { socket }.launch().unwrap();
    let (worker, answer) = run(worker, &task, &[], BOUNDS, &mut |_| {});
    assert!(matches!(answer, Err(TaskError::Refused(fault)) if fault.code == "volume-empty"));
    let (worker, answer) = run(worker.unwrap(), &Task { job: 2, ..task }, &[], BOUNDS, &mut |_| {});
    assert!(matches!(answer, Err(TaskError::WorkerLost(fault)) if fault.code == "worker-garbled"));
    assert!(worker.is_none(), "it is not asked again");
    stutters.join().unwrap();
}

/// Else a worker that was taken over could have a report speak of another patient's images.
#[test]
fn an_answer_about_images_that_the_worker_was_not_given_is_refused() {
    let series = json!({"keys": [], "instances": [
        {"sop_class": "1.2", "sop_instance": "1.2.3", "transfer_syntax": "1.2.1", "key": 0, "stream": 0, "parts": []},
    ]});
    let task = Task {
        job: 1,
        package_digest: "sha256:1".into(),
        engine: EngineKind::Tract,
        golden: None,
        memory: BOUNDS.memory,
        series: serde_json::from_value(series).unwrap(),
    };
    let named = |uid: &str| SourceFrame { sop_class: "1.2".into(), sop_instance: uid.into(), frame: None };
    let answers = [
        (json!([[0, null]]), vec![], true),
        (json!([[0, 2], [0, 1]]), vec![], true),
        (json!([[1, null]]), vec![], false),
        (json!([[0, 0]]), vec![], false),
        (json!([]), vec![named("1.2.4")], false),
        (json!([[0, null]]), vec![named("1.2.3")], false),
        (json!(vec![[0, 1]; MAX_SOURCES + 1]), vec![], false),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (n, (places, named, is_right)) in answers.into_iter().enumerate() {
        let socket = folder.path().join(n.to_string());
        let listener = UnixListener::bind(&socket).unwrap();
        let sources: Vec<Place> = serde_json::from_value(places).unwrap();
        let count = sources.len();
        let says = std::thread::spawn(move || {
            let mut channel = Channel::new(listener.accept().unwrap().0);
            let (Question { number, .. }, _) = channel.receive().unwrap();
            let mut inference = nothing_found(named);
            let (layout, file) = bulk::seal(&mut inference).unwrap();
            let said = Said::Done { inference, sources, layout };
            channel.send(&Answer { number, said }, &[file.as_fd()]).unwrap();
        });
        let worker = Launcher::Unit { socket }.launch().unwrap();
        let (worker, answer) = run(worker, &task, &[], BOUNDS, &mut |_| {});
        says.join().unwrap();
        if is_right {
            let Findings::Images { sources, .. } = answer.unwrap().findings else { panic!("other findings") };
            assert_eq!(sources.len(), count);
            assert!(sources.iter().all(|source| source.sop_instance == "1.2.3"), "{sources:?}");
        } else {
            assert!(matches!(answer, Err(TaskError::WorkerLost(fault)) if fault.code == "worker-garbled"));
            assert!(worker.is_none(), "it is not asked again");
        }
    }
}

fn nothing_found(sources: Vec<SourceFrame>) -> Inference {
    Inference {
        package: PackageRef {
            name: "m".into(),
            title: "M".into(),
            version: "1.0.0".into(),
            vendor: "V".into(),
            digest: "sha256:1".into(),
        },
        engine: EngineUsed { class: "tract".into(), precision: "fp32".into(), version: "1".into() },
        outcome: Outcome::NoFinding,
        findings: Findings::Images { sources, boxes: Vec::new() },
        measurements: Vec::new(),
        preview: Picture { width: 0, height: 0, rgb: Vec::new() },
        partial: None,
        times: Vec::new(),
    }
}
