//! A worker tells of the GPUs, and the agent opens none. In the driver's place is a library that is compiled here (gpus/nvml.c); the
//! workers that misbehave are programs of a few lines, or speak for themselves.
use crate::hospital::{SUND, until};
use crate::serve::Site;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use sund_agent::config::Config;
use sund_agent::fault::{Blame, Fault};
use sund_agent::limits::gpus::{DESCRIBED, MAX_GPUS, MAX_WORDS};
use sund_agent::metrics::GpuFigures;
use sund_agent::worker::channel::Channel;
use sund_agent::worker::{Answer, Asked, GpuError, Launcher, Names, Question, Said, Told, Watch, watch_gpus};

const FIRST: &str = "GPU-00000000-0000-4000-8000-00000000000a";
const SECOND: &str = "GPU-00000000-0000-4000-8000-00000000000b";
const GONE: &str = "GPU-00000000-0000-4000-8000-00000000000f";

/// A folder with the library in it.
fn driver() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpus/nvml.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("libnvidia-ml.so.1")).arg(&source);
    assert!(command.status().expect("a C compiler").success(), "{} compiles", source.display());
    folder
}

/// The processes that this one has started.
fn children(parent: Pid) -> Vec<Pid> {
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // proc(5): the parent is the second field behind the name.
        let of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        of == Some(parent.as_raw_nonzero().get())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(is_child).filter_map(Pid::from_raw).collect()
}

fn has_opened_the_library(process: Pid) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.as_raw_nonzero())).unwrap_or_default();
    maps.contains("libnvidia-ml")
}

/// The GPUs that have a worker.
fn devices(site: &Site) -> Vec<String> {
    let status = site.status();
    let mut devices: Vec<String> = status["workers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|worker| Some(worker["device"].as_str()?.to_owned()))
        .collect();
    devices.sort();
    devices
}

fn worker_section(devices: &[&str]) -> String {
    format!("[worker]\nlauncher = \"child\"\ndevices = {devices:?}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_tells_of_the_gpus_and_the_agent_never_opens_the_drivers_library() {
    let driver = driver();
    let site = Site::new(&worker_section(&[FIRST, GONE, SECOND]));
    let daemon = tokio::task::block_in_place(|| site.serve_in(&[("LD_LIBRARY_PATH", driver.path())]));
    let log = || fs::read_to_string(site.folder("log")).unwrap();
    assert!(log().contains("gpu-not-found") && log().contains(GONE), "{}", log());
    let metrics = |line: &str| site.metrics().lines().any(|told| told == line).then_some(());
    for line in [
        format!("sund_gpu_utilisation{{gpu=\"{FIRST}\"}} 0.25"),
        format!("sund_gpu_memory_used_bytes{{gpu=\"{SECOND}\"}} {}", 2u64 << 30),
        format!("sund_gpu_celsius{{gpu=\"{SECOND}\"}} 61"),
        format!("sund_gpu_throttled{{gpu=\"{SECOND}\",by=\"heat\"}} 1"),
        "sund_gpu_monitored 1".to_owned(),
    ] {
        until(&line, || metrics(&line)).await;
    }
    until("those that are there are used", || (devices(&site) == [FIRST, SECOND]).then_some(())).await;

    let watching = children(daemon.pid()).into_iter().find(|child| has_opened_the_library(*child));
    assert!(watching.is_some() && !has_opened_the_library(daemon.pid()));

    fs::write(driver.path().join("xid"), "!!!").unwrap();
    let counted = format!("sund_gpu_errors_total{{gpu=\"{SECOND}\"}} 3");
    until(&counted, || metrics(&counted)).await;
    assert!(log().contains("xid=79"), "{}", log());

    daemon.signal(Signal::TERM);
    let asked = Instant::now();
    assert_eq!(daemon.exit_code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "the one that watches holds up no stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_is_lost_while_it_watches_is_followed_by_the_next_one_and_both_are_said() {
    let driver = driver();
    let site = Site::new(&worker_section(&[FIRST]));
    let daemon = tokio::task::block_in_place(|| site.serve_in(&[("LD_LIBRARY_PATH", driver.path())]));
    let watching = || children(daemon.pid()).into_iter().find(|child| has_opened_the_library(*child));
    let is_monitored = |so: u8| site.metrics().contains(&format!("sund_gpu_monitored {so}\n")).then_some(());
    until("a worker tells", || is_monitored(1)).await;
    let first = until("it is found", watching).await;
    // The next one hangs, until it is mended.
    fs::write(driver.path().join("hangs"), "").unwrap();
    kill_process(first, Signal::KILL).unwrap();
    until("nobody tells", || is_monitored(0)).await;
    let log = fs::read_to_string(site.folder("log")).unwrap();
    assert!(log.contains("gpu-unmonitored") && log.contains("ended by signal 9"), "{log}");
    let hung = until("the next one is started", || watching().filter(|next| *next != first)).await;
    fs::remove_file(driver.path().join("hangs")).unwrap();
    kill_process(hung, Signal::KILL).unwrap();
    until("a third one tells", || is_monitored(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_driver_that_hangs_does_not_hold_up_the_start() {
    let driver = driver();
    fs::write(driver.path().join("hangs"), "").unwrap();
    let serves = |site: &Site| {
        let began = Instant::now();
        let daemon = tokio::task::block_in_place(|| site.serve_in(&[("LD_LIBRARY_PATH", driver.path())]));
        (daemon, began.elapsed())
    };
    let site = Site::new(&worker_section(&[FIRST]));
    let (_daemon, took) = serves(&site);
    assert!(took >= DESCRIBED, "it would have been told");
    let log = fs::read_to_string(site.folder("log")).unwrap();
    assert!(log.contains("gpu-unmonitored") && log.contains("used as it stands"), "{log}");
    until("what is named is used", || (devices(&site) == [FIRST]).then_some(())).await;

    // Where no GPU is named nothing is waited for.
    let (_daemon, took) = serves(&Site::new("[worker]\nlauncher = \"child\"\n"));
    assert!(took < DESCRIBED);
}

#[test]
fn a_worker_on_a_machine_without_a_driver_says_so() {
    let mut worker = Launcher::Child { program: SUND.into() }.launch().unwrap();
    let asked = Asked::Watch(Watch { named: vec![GONE.to_owned()], memory: 1 << 30 });
    worker.channel.send(&Question { number: 1, asked }, &[]).unwrap();
    let (Answer { number, said }, _) = worker.channel.receive().unwrap();
    assert_eq!(number, 1);
    // Where there is one it tells what was named.
    let has_driver = Path::new("/proc/driver/nvidia/version").exists();
    match said {
        Said::Failed(fault) if !has_driver => {
            assert!(fault.code == "gpu-unmonitored" && fault.reason.contains("there are no figures"), "{fault}");
        }
        Said::Told(Told::Described(described)) if has_driver => assert!(described[0].is_err(), "{described:?}"),
        said => panic!("{said:?}"),
    }
}

/// A program in a worker's place, whose starts are counted.
fn program(folder: &Path, script: &str) -> (PathBuf, PathBuf) {
    let (path, starts) = (folder.join("worker-program"), folder.join("starts"));
    fs::write(&path, format!("#!/bin/sh\necho $$ >> {}\n{script}\n", starts.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    (path, starts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_pauses_between_workers_that_do_not_last_grow() {
    let folder = tempfile::tempdir().unwrap();
    let (program, starts) = program(folder.path(), "exit 1");
    let mut config = Config::embedded(&folder.path().join("node")).unwrap();
    config.worker.launcher = Launcher::Child { program };
    let began = Instant::now();
    let agent = sund_agent::agent::Agent::start(config).await.unwrap();
    let count = || fs::read_to_string(&starts).unwrap_or_default().lines().count();
    until("the third is started", || (count() >= 3).then_some(())).await;
    assert!(began.elapsed() >= Duration::from_secs(3), "after one second, then after two");
    agent.stop().await.unwrap();
}

/// How a conversation ends with a worker that is this program.
fn ends_with(script: &str) -> Fault {
    let folder = tempfile::tempdir().unwrap();
    let (program, _) = program(folder.path(), script);
    let worker = Launcher::Child { program }.launch().unwrap();
    watch_gpus(worker, &[], &mut Names::default(), &mut |told| panic!("{told:?} is heard")).fault
}

#[test]
fn a_worker_that_sends_garbage_or_claims_gigabytes_while_it_watches_is_refused() {
    let garbage = "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n' >&0; exec sleep 1000";
    let no_json = "printf '\\003\\000\\000\\000\\000\\000\\000\\000abc' >&0; exec sleep 1000";
    let longer = "printf '\\001\\000\\000\\001\\000\\000\\000\\000' >&0; exec sleep 1000";
    for (script, reason) in [
        (garbage, "over the limit"),
        (no_json, "no message of a worker"),
        (longer, "message of 16777217 bytes"),
        ("kill -ABRT $$", "ended by signal 6"),
        ("exec sleep 1000 0</dev/null", "closed the connection"),
    ] {
        let fault = ends_with(script);
        assert!(fault.code == "gpu-unmonitored" && fault.reason.contains(reason), "{script}: {fault}");
    }
}

/// What was heard of a worker that says this, and how the conversation ended.
fn heard(said: Vec<Said>) -> (Vec<Told>, Fault) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("worker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let says = std::thread::spawn(move || {
        let mut channel = Channel::new(listener.accept().unwrap().0);
        let (Question { number, .. }, _) = channel.receive().unwrap();
        for said in said {
            // The agent may have heard enough.
            let _ = channel.send(&Answer { number, said }, &[]);
        }
        // Until the agent goes.
        let _ = channel.receive::<Question<'_>>();
    });
    let worker = Launcher::Unit { socket }.launch().unwrap();
    let mut all = Vec::new();
    let loss = watch_gpus(worker, &[], &mut Names::default(), &mut |told| all.push(told));
    says.join().unwrap();
    (all, loss.fault)
}

/// Else a worker that was taken over could fill metrics and log, or write into them what it likes.
#[test]
fn what_no_driver_tells_is_not_heard() {
    let described = || Said::Told(Told::Described(Vec::new()));
    let figures = |names: &[String]| {
        let all = names.iter().map(|name| (name.clone(), GpuFigures::default()));
        Said::Told(Told::Figures(all.collect()))
    };
    let named = |count: usize| (0..count).map(|n| format!("GPU-{n}")).collect::<Vec<_>>();
    let error = |gpu: &str| GpuError { gpu: Some(gpu.into()), xid: Some(79), count: 1 };
    let fault = |code: &'static str| Said::Failed(Fault::new(code, Blame::Box, "it is so"));
    let unsound = "cannot be used";
    for (said, heard_of, why) in [
        (vec![described(), figures(&named(MAX_GPUS)), fault("gpu-unmonitored")], 2, "it is so"),
        (vec![described(), figures(&named(MAX_GPUS + 1))], 1, unsound),
        (vec![described(), figures(&named(MAX_GPUS)), figures(&["GPU-another".into()])], 2, unsound),
        (vec![described(), figures(&["Hansen^Ida".into()])], 1, unsound),
        (vec![described(), Said::Told(Told::Errors(vec![error("GPU-\n")]))], 1, unsound),
        (vec![described(), Said::Told(Told::Errors(vec![error("GPU-1"); 65]))], 1, unsound),
        (vec![described(), described()], 1, unsound),
        (vec![figures(&named(1))], 0, unsound),
        (vec![Said::Told(Told::Described(vec![Err(Fault::new("gpu-not-found", Blame::Box, "x"))]))], 0, unsound),
        (vec![fault("model-suspended")], 0, unsound),
        (vec![described(), Said::Compiled(vec![1])], 1, unsound),
        (vec![described(), Said::Overgrown { bytes: 1 << 40 }], 1, "more memory"),
    ] {
        let (all, ended) = heard(said);
        assert!(all.len() == heard_of && ended.reason.contains(why), "{} heard, {ended}", all.len());
        assert_eq!(ended.code, "gpu-unmonitored");
    }
    let many = std::iter::once(described()).chain(std::iter::repeat_n(figures(&named(1)), 1000));
    let (all, ended) = heard(many.collect());
    assert!(all.len() == MAX_WORDS as usize && ended.reason.contains("talks without end"), "{}: {ended}", all.len());
}
