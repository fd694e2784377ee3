//! The worker's unit in systemd's place: it passes each connection to a worker of its own, and is there or not as a test has it. And what
//! becomes of jobs and golden cases meanwhile.
use super::fixture::{Hospital, MODEL, id};
use crate::hospital::{SUND, until};
use rustix::net::{RecvFlags, recv};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const WORKER: &str = "[worker]\nlauncher = \"systemd\"\nsocket = \"worker.sock\"\n";

struct Unit {
    socket: PathBuf,
    listener: Option<UnixListener>,
    workers: Vec<Child>,
}

impl Unit {
    fn of(hospital: &Hospital) -> Self {
        Self { socket: hospital.site.folder("worker.sock"), listener: None, workers: Vec::new() }
    }

    fn starts(&mut self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.listener = Some(listener);
    }

    /// The next connection that is for jobs, which waits for its worker; the one to watch the GPUs gets none.
    async fn is_called(&self) -> UnixStream {
        let listener = self.listener.as_ref().unwrap();
        let called = || listener.accept().ok().map(|(stream, _)| stream).filter(|stream| !is_to_watch(stream));
        until("the agent calls for a worker", called).await
    }

    fn serves(&mut self, connection: UnixStream) {
        let mut worker = Command::new(SUND);
        worker.arg("worker").stdin(OwnedFd::from(connection)).stdout(Stdio::null());
        self.workers.push(worker.spawn().unwrap());
    }

    async fn serves_the_next(&mut self) {
        let connection = self.is_called().await;
        self.serves(connection);
    }

    /// Its workers end, and none can be had.
    fn stops(&mut self) {
        self.listener = None;
        let _ = fs::remove_file(&self.socket);
        for mut worker in self.workers.drain(..) {
            // Fails only where it has ended.
            let _ = worker.kill();
            worker.wait().unwrap();
        }
    }
}

/// By the first words of a connection, which stay in it.
fn is_to_watch(stream: &UnixStream) -> bool {
    let mut words = [0; 64];
    stream.set_nonblocking(false).unwrap();
    let (length, _) = recv(stream, &mut words, RecvFlags::PEEK).unwrap();
    String::from_utf8_lossy(&words[..length]).contains("{\"watch\"")
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.stops();
    }
}

impl Hospital {
    /// Has a state tried and activated that needs a worker of its own for it.
    async fn activates_on(&self, unit: &mut Unit, state: &str, version: &str) {
        let begun = self.ask(&self.offer(state, version, "research"));
        assert_eq!(begun["trial"]["standing"], "running", "{begun}");
        unit.serves_the_next().await;
        until("the trial holds", || (self.ask(&json!("trial"))["trial"]["standing"] == "held").then_some(())).await;
        let serves = self.ask(&json!({ "activate": { "state": id(state) } }));
        assert_eq!(serves["serves"]["state"]["name"], state, "{serves}");
    }

    fn asks_for_a_check(&self, state: &str) {
        let begun = self.ask(&json!({ "check": { "state": id(state) } }));
        assert_eq!(begun["check"]["standing"], "running", "{begun}");
    }

    /// The check once it has ended.
    async fn checked(&self) -> Value {
        until("the check ends", || {
            let check = self.ask(&json!("checked"))["check"].take();
            (check["standing"] != "running").then_some(check)
        })
        .await
    }

    async fn logs(&self, text: &str, times: usize) {
        let count = || fs::read_to_string(self.site.folder("log")).unwrap().matches(text).count();
        until(text, || (count() >= times).then_some(())).await;
    }
}

/// A hospital with a study, and no worker: the agent ends, and the study's job is the first thing that the next one takes up.
async fn with_a_job() -> Hospital {
    let hospital = Hospital::on(WORKER, "").await;
    let daemon = tokio::task::block_in_place(|| hospital.site.serve());
    hospital.sends().await;
    until("its job waits", || (hospital.site.status()["queue"].as_array().unwrap().len() == 1).then_some(())).await;
    drop(daemon);
    hospital
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_that_waited_while_what_serves_was_replaced_does_not_begin_on_what_served_before() {
    let hospital = with_a_job().await;
    let mut unit = Unit::of(&hospital);
    unit.starts();
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    // The job is taken up for 4.0.0 and waits for its golden cases.
    let waiting = unit.is_called().await;
    hospital.activates_on(&mut unit, "north-1", "5.0.0").await;
    unit.serves(waiting);
    let studies = hospital.ended(1).await;
    hospital.archive.holds(2).await;
    assert_eq!(hospital.versions(), ["5.0.0"], "{:#}", studies[0]["timeline"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_that_waited_while_its_model_was_suspended_does_not_begin() {
    let hospital = with_a_job().await;
    let mut unit = Unit::of(&hospital);
    unit.starts();
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    let waiting = unit.is_called().await;
    let suspended = hospital.ask(&json!({ "suspend": { "package": MODEL, "reason": "it errs" } }));
    assert_eq!(suspended["suspended"]["off"], true, "{suspended}");
    unit.serves(waiting);
    let timeline = hospital.ended(1).await[0]["timeline"].take();
    let is_of = |step: &str| timeline.as_array().unwrap().iter().any(|moment| moment["step"] == step);
    assert!(timeline.to_string().contains("model-suspended") && !is_of("running"), "{timeline:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn golden_cases_for_which_there_is_no_worker_run_again_and_are_no_miss_of_the_model() {
    let hospital = Hospital::on(WORKER, "").await;
    let mut unit = Unit::of(&hospital);
    unit.starts();
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    unit.serves_the_next().await;
    until("the model is active", || (hospital.site.status()["models"][0]["state"] == "active").then_some(())).await;
    hospital.activates_on(&mut unit, "north-1", "5.0.0").await;

    unit.stops();
    hospital.asks_for_a_check("north-1");
    hospital.logs("golden cases wait for a worker", 1).await;
    assert_eq!(hospital.ask(&json!("checked"))["check"]["standing"], "running");
    unit.starts();
    unit.serves_the_next().await;
    let held = hospital.checked().await;
    assert!(held["standing"] == "held" && held["findings"].as_array().unwrap().len() == 1, "{held}");

    // One that does not come back is told for what it is.
    unit.stops();
    hospital.asks_for_a_check("north-1");
    let missed = hospital.checked().await;
    let fault = &missed["standing"]["missed"];
    assert!(fault["code"] == "worker-not-started" && fault["blame"] != "package", "{missed}");
    assert_eq!(missed["findings"].as_array().unwrap().len(), 1, "{missed}");
    hospital.logs("golden cases wait for a worker", 5).await;
    assert_eq!(hospital.status()["models"][0]["standing"], "active");
}
