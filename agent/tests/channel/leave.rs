//! A trial that nobody wants any more ends soon, wherever it is, and what serves is untouched. The worker of the trial is stopped, so that it
//! would not end by itself.
use super::fixture::{Hospital, MODEL, children_of, id, one_worker};
use crate::hospital::until;
use crate::serve::Daemon;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a trial may go on for once it is to be left.
const SOON: Duration = Duration::from_secs(10);

impl Hospital {
    /// The worker of what serves, once it does: before that, another one looks for a GPU, which no leaving ends.
    async fn serving(&self, daemon: &Daemon) -> Vec<Pid> {
        until("the model serves", || (self.status()["models"][0]["standing"] == "active").then_some(())).await;
        one_worker(daemon).await
    }

    fn leaves(&self, state: &str) -> Value {
        self.ask(&json!({ "leave": { "state": id(state) } }))
    }

    /// How the trial of a state stands once it has ended, which is soon.
    async fn is_left(&self, state: &str) -> Value {
        let begun = Instant::now();
        assert_eq!(self.leaves(state)["trial"]["state"], id(state));
        let trial = until("the trial ends", || {
            let trial = self.ask(&json!("trial"))["trial"].take();
            (trial["standing"] != "running").then_some(trial)
        })
        .await;
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        assert_eq!(trial["standing"]["missed"]["code"], "trial-left", "{trial}");
        let refused = self.ask(&json!({ "activate": { "state": id(state) } }));
        assert_eq!(refused["refused"]["code"], "state-not-tried", "{refused}");
        trial
    }

    /// What the box served before serves on, by the worker that it had.
    async fn serves_on(&self, daemon: &Daemon, workers: &[Pid]) {
        assert_eq!(one_worker(daemon).await, workers);
        assert_eq!((&self.status()["state"], &self.status()["models"][0]["version"]), (&Value::Null, &"4.0.0".into()));
        self.sends().await;
        until("a study is answered by it", || (self.versions() == ["4.0.0"]).then_some(())).await;
    }
}

/// Stops each worker that comes beside those that serve, for as long as this is kept: the trial's, and one that looks for a GPU meanwhile, which
/// a box without one has again and again, and which goes on afterwards.
struct Halt {
    over: Arc<AtomicBool>,
    stops: Option<JoinHandle<Vec<Pid>>>,
}

/// False for a child that is still the daemon's own copy: who starts it waits until it is not.
fn is_worker(child: Pid) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"worker".as_slice())
}

impl Halt {
    async fn new(daemon: &Daemon, serving: &[Pid]) -> Self {
        let (daemon, serving) = (daemon.pid(), serving.to_vec());
        let [over, any] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let stops = std::thread::spawn({
            let (over, any) = (Arc::clone(&over), Arc::clone(&any));
            move || {
                let mut stopped = serving.clone();
                while !over.load(Ordering::Relaxed) {
                    for worker in children_of(daemon).into_iter().filter(|child| is_worker(*child)) {
                        // Fails only where it has ended meanwhile.
                        if !stopped.contains(&worker) && kill_process(worker, Signal::STOP).is_ok() {
                            stopped.push(worker);
                            any.store(true, Ordering::Relaxed);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                stopped.split_off(serving.len())
            }
        });
        until("a worker is stopped", || any.load(Ordering::Relaxed).then_some(())).await;
        Self { over, stops: Some(stops) }
    }
}

impl Drop for Halt {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for worker in self.stops.take().and_then(|stops| stops.join().ok()).unwrap_or_default() {
            // The trial's has ended with it.
            let _ = kill_process(worker, Signal::CONT);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trial_that_is_left_in_the_middle_of_a_golden_case_ends_soon_and_what_serves_is_untouched() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let serving = hospital.serving(&daemon).await;
    assert_eq!(hospital.status()["trying"], Value::Null);
    hospital.ask(&hospital.offer("north-1", "5.0.0", "research"));
    assert_eq!(hospital.status()["trying"], id("north-1"));
    let halt = Halt::new(&daemon, &serving).await;
    let other = hospital.leaves("north-2");
    assert_eq!(other["refused"]["code"], "state-not-tried", "another state's trial is not this one");
    assert_eq!(hospital.status()["trying"], id("north-1"));

    hospital.is_left("north-1").await;
    drop(halt);
    assert_eq!(hospital.status()["trying"], Value::Null);
    let audit = hospital.site.audit();
    assert!(audit.contains("trial-left"), "{audit}");
    hospital.serves_on(&daemon, &serving).await;

    // The very same is tried anew when it is wanted again.
    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trial_that_is_left_in_the_middle_of_its_acceptance_cohort_ends_soon_and_leaves_no_study_of_it() {
    let hospital = Hospital::with("acceptance = \"cohort\"\n").await;
    for folder in ["0001", "0002", "0003"] {
        hospital.has_study(folder, false);
    }
    let finding = "outcome = \"finding\"";
    hospital.expects("0.9", MODEL, &[("0001", finding), ("0002", finding), ("0003", finding)]);
    let daemon = hospital.serve().await;
    let serving = hospital.serving(&daemon).await;
    hospital.ask(&hospital.offer("north-1", "5.0.0", "research"));
    let scratch = hospital.site.folder("channel/acceptance");
    until("the cohort is run", || scratch.exists().then_some(())).await;
    let halt = Halt::new(&daemon, &serving).await;
    hospital.is_left("north-1").await;
    drop(halt);
    assert!(!scratch.exists());
    hospital.serves_on(&daemon, &serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_trial_that_has_ended_is_left_by_letting_go_what_it_has_proven_and_never_by_what_serves() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.leaves("north-1")["refused"]["code"], "state-not-tried", "nothing was tried");
    let offer = hospital.offer("north-1", "5.0.0", "research");
    assert_eq!(hospital.tries(&offer).await["standing"], "held");
    hospital.is_left("north-1").await;
    hospital.is_left("north-1").await;

    hospital.activates(&offer).await;
    assert_eq!(hospital.leaves("north-1")["trial"]["standing"], "held", "it serves, and that is another matter");
    let status = hospital.status();
    assert_eq!((&status["state"], &status["models"][0]["version"]), (&id("north-1"), &"5.0.0".into()));
}

/// A trial does not outlive the agent, also one that was about to be left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_that_is_killed_while_it_leaves_a_trial_serves_on_and_tries_the_next_one() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let serving = hospital.serving(&daemon).await;
    hospital.ask(&hospital.offer("north-1", "5.0.0", "research"));
    let halt = Halt::new(&daemon, &serving).await;
    hospital.leaves("north-1");
    daemon.signal(Signal::KILL);
    drop(daemon);
    drop(halt);
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.leaves("north-1")["refused"]["code"], "state-not-tried");
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0");
    let trial = hospital.tries(&hospital.offer("north-2", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
}
