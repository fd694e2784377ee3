//! Several GPUs, or parts of one: a worker for each, and jobs for whoever is free. No GPU is needed: what a worker sees is the
//! driver's variable in its environment.
use crate::hospital::{Archive, Node, SUND, codes, destination, ends, frame, new_uid, until};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use sund_agent::infer::Gpu;
use sund_agent::worker::Launcher;

const DEVICES: [&str; 2] = ["GPU-8d2f5a1c-0000-4000-8000-000000000001", "MIG-8d2f5a1c-0000-4000-8000-000000000002"];

/// The real worker, which leaves its process number.
fn program(folder: &Path) -> (PathBuf, PathBuf) {
    let (path, starts) = (folder.join("worker-program"), folder.join("starts"));
    let text = format!("#!/bin/sh\necho $$ >> {}\nexec {SUND} worker\n", starts.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    (path, starts)
}

fn processes(starts: &Path) -> Vec<i32> {
    let text = fs::read_to_string(starts).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The devices that a process sees. Before it has begun its program it has the environment of this one, which may name none.
fn sees(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let variable = variables.find_map(|variable| variable.strip_prefix(b"CUDA_VISIBLE_DEVICES="))?;
    String::from_utf8(variable.to_vec()).ok().filter(|devices| !devices.is_empty())
}

fn gpu() -> Gpu {
    Gpu { name: "NVIDIA L4".into(), capability: (8, 9), memory: 24 << 30, driver: "580.95.05".into() }
}

async fn node(archive: &Archive, program: PathBuf) -> Node {
    let address = archive.address.clone();
    Node::open(|config| {
        config.worker.launcher = Launcher::Child { program };
        config.worker.devices = DEVICES.map(str::to_owned).to_vec();
        config.worker.engines.gpu = Some(gpu());
        config.destinations = vec![destination("archive", &address)];
    })
    .await
}

/// Each of the studies has come to its end.
async fn all_end(node: &Node, count: usize) {
    let is_over = || {
        let studies = node.status().studies;
        studies.len() == count && studies.iter().all(|study| ends(study) > 0)
    };
    until("all studies end", || is_over().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_gpu_has_a_worker_that_sees_it_alone_and_no_job_runs_twice() {
    const STUDIES: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let (program, starts) = program(folder.path());
    let archive = Archive::open().await;
    let node = node(&archive, program).await;
    let devices = || node.status().workers.into_iter().filter_map(|worker| worker.device).collect::<Vec<_>>();
    until("both run jobs", || (devices() == DEVICES).then_some(())).await;
    for _ in 0..STUDIES {
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    }
    let busy = || node.status().workers.iter().filter_map(|worker| worker.job).collect::<BTreeSet<_>>();
    until("two jobs run at once", || (busy().len() == 2).then_some(())).await;
    let seen = || processes(&starts).into_iter().filter_map(sees).collect::<BTreeSet<_>>();
    until("each worker sees its own GPU", || (seen() == DEVICES.map(str::to_owned).into()).then_some(())).await;
    all_end(&node, STUDIES).await;
    for study in node.status().studies {
        let running = study.timeline.iter().filter(|moment| moment.step == "running").count();
        assert!(ends(&study) == 1 && running == 1 && codes(&study).is_empty(), "{:?}", study.timeline);
    }
    assert_eq!(processes(&starts).len(), 2, "one worker for each");
    assert_eq!(archive.holds(2 * STUDIES).await.len(), 2 * STUDIES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_is_lost_on_one_gpu_does_not_stop_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (program, starts) = program(folder.path());
    let archive = Archive::open().await;
    let node = node(&archive, program).await;
    for _ in 0..2 {
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    }
    let workers = until("both are started", || Some(processes(&starts)).filter(|workers| workers.len() == 2)).await;
    let lost = workers[0];
    let device = until("it sees its GPU", || sees(lost)).await;
    kill_process(Pid::from_raw(lost).unwrap(), Signal::KILL).unwrap();
    all_end(&node, 2).await;
    for study in node.status().studies {
        assert!(ends(&study) == 1 && codes(&study).is_empty(), "{:?}", study.timeline);
    }
    archive.holds(4).await;
    // One that was lost between two jobs is found to be so by the next one.
    for _ in 0..2 {
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    }
    all_end(&node, 4).await;
    let fresh = || processes(&starts).into_iter().skip(2).find_map(sees);
    assert_eq!(until("a fresh one is there", fresh).await, device, "on the same GPU");
    assert!(Path::new(&format!("/proc/{}", workers[1])).exists(), "the other one goes on");
}
