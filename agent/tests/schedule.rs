//! The schedule of a device's work, against a device of the processor's own and a clock that the test turns.
mod held;
mod host;
mod studies;
mod tasks;

use host::{HostDevice, POISON, Plan, Seen};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use sund_agent::fault::Blame;
use sund_agent::limits::device::{BATCH_WAIT, MAX_BATCH, MAX_WAITING, RUN};
use sund_agent::schedule::{Answer, Key, Request, Scheduler, Turn};
use sund_kernels::device::{Ending, Input, Mask, Output, Tensor};

/// A request's answer, and its place among the requests.
type Said = (usize, Answer);

/// A scheduler on a host device, and tasks that send again with the plan when a network is absent.
struct Bench {
    scheduler: Scheduler<HostDevice>,
    seen: Rc<RefCell<Seen>>,
    now: Instant,
    begun: Instant,
    asked: Vec<(Plan, Vec<f32>)>,
    /// The requests of which a mask is asked for: where the answer is above this.
    above: HashMap<usize, f32>,
    said: (Sender<Said>, Receiver<Said>),
    answers: HashMap<usize, (Answer, Duration)>,
}

fn key(plan: Plan) -> Key {
    let mut key = Key::default();
    key[..10].copy_from_slice(&plan.bytes());
    key
}

impl Bench {
    fn new(total: u64, lanes: usize, set: impl FnOnce(&mut HostDevice)) -> Self {
        let (mut device, seen) = HostDevice::new(total, lanes);
        set(&mut device);
        let now = Instant::now();
        let scheduler = Scheduler::new(device).unwrap();
        Self {
            scheduler,
            seen,
            now,
            begun: now,
            asked: Vec::new(),
            above: HashMap::new(),
            said: channel(),
            answers: HashMap::new(),
        }
    }

    fn ask(&mut self, plan: Plan, values: Vec<f32>) {
        let id = self.asked.len();
        self.asked.push((plan, values.clone()));
        let input = Input::Values(Tensor { shape: shape(&values), values });
        self.send(id, plan, None, input);
    }

    fn ask_mask(&mut self, plan: Plan, values: Vec<f32>, above: f32) {
        self.above.insert(self.asked.len(), above);
        self.ask(plan, values);
    }

    fn ending(&self, id: usize) -> Option<Ending> {
        let (above, (_, values)) = (*self.above.get(&id)?, &self.asked[id]);
        Some(Ending { dims: [1, 1, values.len()], softmax: false, mask: Mask::Above { channel: 0, above } })
    }

    fn send(&mut self, id: usize, plan: Plan, bytes: Option<Vec<u8>>, input: Input) {
        let say = self.said.0.clone();
        let reply = Box::new(move |answer| say.send((id, answer)).unwrap());
        let ending = self.ending(id);
        let request = Request { key: key(plan), name: "n".into(), plan: bytes, input, ending, reply };
        self.scheduler.take(request, self.now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Ok((id, answer)) = self.said.1.try_recv() {
            if let Answer::Absent(input) = answer {
                let plan = self.asked[id].0;
                self.send(id, plan, Some(plan.bytes()), input);
                continue;
            }
            let known = self.answers.insert(id, (answer, self.now - self.begun));
            assert!(known.is_none(), "request {id} was answered twice");
        }
    }

    fn turn(&mut self) -> Turn {
        let turn = self.scheduler.turn(self.now);
        self.collect();
        turn
    }

    /// Turns until there is nothing to do; as often as the scheduler asks for.
    fn finish(&mut self) {
        for _ in 0..1_000_000 {
            match self.turn() {
                Turn::Again(pause) => self.now += pause,
                Turn::Idle if self.answers.len() == self.asked.len() => return,
                // A request came back with its plan in this turn.
                Turn::Idle => {
                    assert!(self.turn() != Turn::Idle || self.answers.len() == self.asked.len(), "nobody answers");
                }
            }
        }
        panic!("the scheduler does not come to an end");
    }

    fn code(&self, id: usize) -> Option<String> {
        match &self.answers[&id].0 {
            Answer::Failed(fault) => Some(fault.code.to_string()),
            _ => None,
        }
    }

    fn check(&self, id: usize) {
        let (plan, values) = &self.asked[id];
        let answer = Tensor { shape: shape(values), values: plan.answer(values) };
        let expected = match self.ending(id) {
            Some(ending) => ending.of(answer),
            None => Output::Scores(answer),
        };
        assert_eq!(self.answers[&id].0, Answer::Done(expected), "request {id}");
    }
}

/// One channel of a row of voxels.
fn shape(values: &[f32]) -> Vec<usize> {
    vec![1, 1, 1, 1, values.len()]
}

fn plan(factor: u8, bytes: u32, most: u8) -> Plan {
    Plan { factor, bytes, run_bytes: 1, most }
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let one = (1u32..130, 0u32..12, 1u8..6);
    proptest::collection::vec(one, 1..6).prop_map(|plans| {
        let plan = |(factor, (bytes, run_bytes, most))| Plan { factor, bytes, run_bytes, most };
        (1u8..).zip(plans).map(plan).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Networks of 1 to 129 bytes on a device of 100, of which 80 are for networks: whatever comes, in whatever order and
    /// however long it runs, each request has its own answer, once; none fails that would not fail alone.
    #[test]
    fn every_request_has_its_own_answer_as_if_it_were_alone(
        plans in plans(),
        requests in proptest::collection::vec((0usize..8, 1usize..3, 0u8..20, 0u64..4000), 1..40),
        polls in proptest::collection::vec(0u32..60, 1..8),
        lanes in 1usize..4,
        extra in 0u32..40,
    ) {
        let mut bench = Bench::new(100, lanes, |device| (device.polls, device.extra) = (polls, extra));
        for (n, (which, length, kind, pause)) in requests.into_iter().enumerate() {
            let value = if kind == 0 { POISON } else { n as f32 };
            let plan = plans[which % plans.len()];
            // Some want a mask, with others that do not in one batch.
            if kind % 3 == 1 {
                bench.ask_mask(plan, vec![value; length], plan.answer(&[n as f32 - 0.5 + f32::from(kind % 2)])[0]);
            } else {
                bench.ask(plan, vec![value; length]);
            }
            let until = bench.now + Duration::from_micros(pause);
            while let Turn::Again(wait) = bench.turn() {
                if bench.now + wait > until {
                    break;
                }
                bench.now += wait;
            }
            bench.now = bench.now.max(until);
        }
        bench.finish();
        for (id, (plan, values)) in bench.asked.iter().enumerate() {
            let fits = plan.bytes <= 80 && plan.bytes + plan.run_bytes <= 100;
            match bench.code(id).as_deref() {
                Some("gpu-memory") => prop_assert!(!fits, "{plan:?} would fit alone"),
                Some("gpu-failed") => prop_assert!(fits && values[0] == POISON),
                Some(other) => prop_assert!(false, "{other}"),
                None => {
                    prop_assert!(fits && values[0] != POISON);
                    bench.check(id);
                }
            }
        }
        let seen = bench.seen.borrow();
        prop_assert!(seen.peak <= 100);
        prop_assert_eq!(seen.running, 0);
        prop_assert!(seen.resident <= 80, "{} bytes stay", seen.resident);
    }

    /// Requests of one network and shape begin in the order in which they came.
    #[test]
    fn requests_of_a_kind_keep_their_order(
        most in 1u8..6,
        lanes in 1usize..3,
        polls in proptest::collection::vec(0u32..60, 1..5),
        pauses in proptest::collection::vec(0u64..3000, 1..30),
    ) {
        let mut bench = Bench::new(100, lanes, |device| device.polls = polls);
        for (n, pause) in pauses.iter().enumerate() {
            bench.ask(plan(1 + (n % 2) as u8, 10, most), vec![n as f32]);
            bench.turn();
            bench.now += Duration::from_micros(*pause);
        }
        bench.finish();
        let seen = bench.seen.borrow();
        for factor in [1, 2] {
            let begun: Vec<f32> = seen.begun.iter().flatten().filter(|one| one.0 == factor).map(|one| one.1).collect();
            prop_assert!(begun.is_sorted(), "{begun:?}");
        }
    }
}

#[test]
fn requests_that_come_within_the_budget_of_latency_run_as_one() {
    let mut bench = Bench::new(100, 2, |_| {});
    let network = plan(3, 10, 4);
    bench.ask(network, vec![0.0]);
    bench.finish();
    // The network is there now. Three come, one after half the time.
    bench.ask(network, vec![1.0]);
    bench.ask(network, vec![2.0]);
    assert_eq!(bench.turn(), Turn::Again(BATCH_WAIT), "it waits for others, and no longer");
    bench.now += BATCH_WAIT / 2;
    bench.ask(network, vec![3.0]);
    assert_eq!(bench.turn(), Turn::Again(BATCH_WAIT / 2));
    assert_eq!(bench.seen.borrow().begun.len(), 1);
    bench.finish();
    (0..4).for_each(|id| bench.check(id));
    assert_eq!(bench.seen.borrow().begun[1], [(3, 1.0), (3, 2.0), (3, 3.0)]);
}

#[test]
fn a_full_batch_waits_for_nobody_and_neither_does_a_network_of_one() {
    let mut bench = Bench::new(100, 2, |_| {});
    for network in [plan(3, 10, 2), plan(4, 10, 1)] {
        bench.ask(network, vec![0.0]);
        bench.finish();
        let before = bench.now;
        (0..network.most).for_each(|n| bench.ask(network, vec![f32::from(n)]));
        bench.turn();
        assert_eq!(bench.seen.borrow().begun.last().unwrap().len(), usize::from(network.most));
        bench.finish();
        assert!(bench.now - before < BATCH_WAIT);
    }
}

#[test]
fn no_batch_is_longer_than_the_limit_whatever_the_network_takes() {
    let mut bench = Bench::new(100, 1, |_| {});
    (0..2 * MAX_BATCH).for_each(|n| bench.ask(plan(1, 10, 200), vec![n as f32]));
    bench.finish();
    assert_eq!(bench.seen.borrow().begun.iter().map(Vec::len).max(), Some(MAX_BATCH));
    (0..2 * MAX_BATCH).for_each(|id| bench.check(id));
}

#[test]
fn each_run_of_a_batch_has_the_mask_that_it_asked_for() {
    let mut bench = Bench::new(100, 1, |_| {});
    let network = plan(1, 10, 4);
    bench.ask_mask(network, vec![1.0, 2.0], 2.5);
    bench.ask(network, vec![1.0, 2.0]);
    bench.ask_mask(network, vec![1.0, 2.0], 3.0);
    bench.ask_mask(network, vec![f32::MAX, f32::INFINITY], 0.0);
    bench.finish();
    (0..4).for_each(|id| bench.check(id));
    assert_eq!(bench.seen.borrow().begun.iter().map(Vec::len).collect::<Vec<_>>(), [4]);
    let voxels = |id: usize| match &bench.answers[&id].0 {
        Answer::Done(Output::Mask { voxels, .. }) => Some(voxels.clone()),
        _ => None,
    };
    assert_eq!([0, 1, 2, 3].map(voxels), [Some(vec![0, 1]), None, Some(vec![0, 0]), None]);
    assert_eq!(bench.answers[&3].0, Answer::Done(Output::NotFinite));
}

#[test]
fn two_studies_are_on_the_device_at_once() {
    let mut bench = Bench::new(100, 2, |device| device.polls = vec![5]);
    (0..6).for_each(|n| bench.ask(plan(1, 10, 1), vec![n as f32]));
    bench.finish();
    assert_eq!(bench.seen.borrow().most_lanes_at_once, 2);
    (0..6).for_each(|id| bench.check(id));
}

#[test]
fn the_network_that_ran_the_longest_ago_goes_first_and_comes_back_when_it_is_asked_for() {
    let mut bench = Bench::new(100, 2, |_| {});
    let networks = [plan(1, 30, 1), plan(2, 30, 1), plan(3, 30, 1)];
    for n in [0, 1, 0, 2, 0, 1] {
        bench.ask(networks[n], vec![0.0]);
        bench.finish();
    }
    // 80 bytes hold two: the third gives up 2, which gives up 3.
    assert_eq!(bench.seen.borrow().loads, [1, 2, 3, 2]);
    (0..6).for_each(|id| bench.check(id));
}

#[test]
fn a_network_that_runs_is_never_given_up() {
    let mut bench = Bench::new(100, 2, |device| device.polls = vec![50, 1]);
    bench.ask(plan(1, 60, 1), vec![1.0]);
    bench.turn();
    bench.ask(plan(2, 60, 1), vec![2.0]);
    bench.turn();
    assert_eq!(bench.seen.borrow().loads, [1], "the second waits for the first to end");
    bench.finish();
    (0..2).for_each(|id| bench.check(id));
    assert_eq!(bench.seen.borrow().loads, [1, 2]);
}

#[test]
fn a_network_that_is_larger_than_the_device_is_refused_and_the_next_one_served() {
    let mut bench = Bench::new(100, 2, |_| {});
    bench.ask(plan(1, 90, 1), vec![0.0]);
    bench.ask(plan(2, 10, 1), vec![0.0]);
    bench.ask(Plan { run_bytes: 95, ..plan(3, 10, 1) }, vec![0.0]);
    bench.finish();
    assert_eq!((bench.code(0).as_deref(), bench.code(2).as_deref()), (Some("gpu-memory"), Some("gpu-memory")));
    let Answer::Failed(fault) = &bench.answers[&0].0 else { panic!("it failed") };
    assert_eq!(fault.blame, Blame::Box);
    bench.check(1);
}

#[test]
fn a_network_that_fits_only_without_what_it_can_spare_gives_that_up() {
    let mut bench = Bench::new(100, 2, |device| device.extra = 30);
    bench.ask(plan(1, 40, 1), vec![1.0]);
    bench.finish();
    assert_eq!(bench.seen.borrow().resident, 70);
    // 60 and 30 are more than the 80 for networks.
    bench.ask(plan(2, 60, 1), vec![2.0]);
    bench.finish();
    assert_eq!(bench.seen.borrow().resident, 60);
    bench.ask(Plan { run_bytes: 75, ..plan(3, 20, 1) }, vec![3.0]);
    bench.finish();
    assert_eq!(bench.seen.borrow().resident, 20, "its run needs what it could spare");
    (0..3).for_each(|id| bench.check(id));
}

#[test]
fn a_batch_that_finds_no_memory_runs_in_halves() {
    let mut bench = Bench::new(100, 1, |_| {});
    let network = Plan { run_bytes: 30, ..plan(1, 10, 4) };
    (0..4).for_each(|n| bench.ask(network, vec![n as f32]));
    bench.finish();
    (0..4).for_each(|id| bench.check(id));
    assert_eq!(bench.seen.borrow().begun.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn an_input_that_fails_costs_the_others_of_its_batch_nothing() {
    let mut bench = Bench::new(100, 1, |_| {});
    for value in [1.0, POISON, 2.0] {
        bench.ask(plan(1, 10, 3), vec![value]);
    }
    bench.finish();
    assert_eq!(bench.code(1).as_deref(), Some("gpu-failed"));
    bench.check(0);
    bench.check(2);
}

#[test]
fn bytes_that_are_no_plan_are_the_packages_fault() {
    let mut bench = Bench::new(100, 1, |_| {});
    let (asked, network) = (Input::Values(Tensor { shape: shape(&[0.0]), values: vec![0.0] }), plan(1, 10, 1));
    bench.asked.push((network, vec![0.0]));
    bench.send(0, network, Some(b"torn".to_vec()), asked);
    bench.finish();
    let Answer::Failed(fault) = &bench.answers[&0].0 else { panic!("it failed") };
    assert_eq!((fault.code.as_ref(), fault.blame), ("network-failed", Blame::Package));
}

#[test]
fn a_lost_device_answers_all_that_run_wait_and_come() {
    let mut bench = Bench::new(100, 2, |device| (device.polls, device.lost_at) = (vec![9], Some(4)));
    (0..5).for_each(|n| bench.ask(plan(1, 10, 1), vec![n as f32]));
    bench.finish();
    bench.ask(plan(1, 10, 1), vec![5.0]);
    (0..6).for_each(|id| assert_eq!(bench.code(id).as_deref(), Some("gpu-lost"), "request {id}"));
    assert_eq!(bench.turn(), Turn::Idle);
}

#[test]
fn a_device_that_hangs_is_given_up_after_the_time_of_a_run() {
    let mut bench = Bench::new(100, 2, |device| device.hangs = true);
    (0..3).for_each(|n| bench.ask(plan(1, 10, 1), vec![n as f32]));
    bench.turn();
    bench.turn();
    bench.now += RUN.saturating_sub(Duration::from_nanos(1));
    bench.turn();
    assert!(bench.answers.is_empty());
    bench.now += Duration::from_nanos(1);
    bench.turn();
    (0..3).for_each(|id| assert_eq!(bench.code(id).as_deref(), Some("gpu-hung"), "request {id}"));
}

#[test]
fn the_time_that_a_network_took_to_load_is_not_that_of_its_run() {
    let mut bench = Bench::new(100, 2, |device| device.polls = vec![3]);
    bench.ask(plan(1, 10, 1), vec![1.0]);
    bench.turn();
    bench.now += 2 * RUN;
    bench.finish();
    bench.check(0);
}

#[test]
fn more_than_can_wait_are_refused_at_once() {
    let mut bench = Bench::new(100, 1, |device| device.polls = vec![5]);
    (0..=MAX_WAITING).for_each(|n| bench.ask(plan(1, 10, 1), vec![n as f32]));
    assert_eq!(bench.code(MAX_WAITING).as_deref(), Some("gpu-busy"));
    bench.finish();
    (0..MAX_WAITING).for_each(|id| bench.check(id));
}
