//! Random walks of people, boxes and time over overlapping rollouts: what must hold after every step.
use super::ddi::{Action, take};
use super::feedback::keep;
use super::peer::Device;
use crate::database::{in_memory, now};
use crate::enrol::{give_token, new_token};
use crate::rollout::action::Status;
use crate::rollout::orders::{Order, State, make, order};
use crate::rollout::{New, NewWave, engine};
use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use sund_ota::ddi::{Execution, FeedbackResult, FeedbackStatus, Finished};
use sund_ota::descriptor::Descriptor;

const BOXES: usize = 6;
const ROLLOUTS: usize = 3;
/// Their waves reach the same boxes at other times.
const WAVES: [&[&str]; ROLLOUTS] =
    [&["ring=canary", "50%", "100%"], &["30%", "50%", "100%"], &["name=box-3", "name=box-4"]];

#[derive(Clone, Debug)]
enum Step {
    /// A person orders something of a rollout.
    Order(usize, Order),
    /// A box polls and takes or leaves what it is told.
    Poll(usize),
    /// A box that has taken something says how it ended.
    End(usize, bool),
    /// The rules look, so many hours after the last look.
    Look(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let orders = [
        Order::Start,
        Order::Start,
        Order::Start,
        Order::Pause,
        Order::Resume,
        Order::Resume,
        Order::Retry,
        Order::Stop,
    ];
    prop_oneof![
        3 => (0..ROLLOUTS, prop::sample::select(orders.to_vec())).prop_map(|(rollout, order)| Step::Order(rollout, order)),
        5 => (0..BOXES).prop_map(Step::Poll),
        5 => (0..BOXES, prop::bool::weighted(0.7)).prop_map(|(n, is_well)| Step::End(n, is_well)),
        4 => prop::sample::select(vec![0i64, 0, 0, 0, 2]).prop_map(Step::Look),
    ]
}

fn word(execution: Execution, finished: Finished) -> FeedbackStatus {
    let result = FeedbackResult { finished, progress: None };
    FeedbackStatus { execution, result, code: None, details: vec!["said".into()] }
}

struct Walk {
    c: Connection,
    states: BTreeMap<String, Descriptor>,
    devices: Vec<Device>,
    clock: i64,
}

impl Walk {
    fn new() -> Self {
        let c = in_memory();
        let device = |n| {
            let name = format!("box-{n}");
            let ring = [("ring".to_owned(), if n == 0 { "canary" } else { "rest" }.to_owned())].into();
            give_token(&c, &name, &ring, &new_token().unwrap(), "a", now()).unwrap();
            Device::by(&c, "name", name).unwrap().unwrap()
        };
        let devices = (0..BOXES).map(device).collect();
        let state = |n: usize| {
            let target = format!("state/s{n}.json");
            (target.clone(), Descriptor { format: 1, target, sha256: format!("{n:064}"), length: 1 })
        };
        let states: BTreeMap<_, _> = (0..ROLLOUTS).map(state).collect();
        for (n, state) in states.values().enumerate() {
            let wave = |filter: &str| NewWave { filter: filter.into(), success: 60, error: 40 };
            let new = New {
                name: format!("r{n}"),
                state: state.target.clone(),
                waves: WAVES[n].iter().map(|filter| wave(filter)).collect(),
                silence_hours: 1,
                maintenance: None,
                confirm: false,
                all_at_once: true,
            };
            let state = State { descriptor: state.clone(), boxes: None };
            make(&c, &new, &state, false, "a").unwrap();
        }
        Self { c, states, devices, clock: now() }
    }

    fn go(&mut self, step: &Step) {
        match step {
            // Most orders do not fit: they are refused, and change nothing.
            Step::Order(rollout, what) => drop(order(&self.c, &format!("r{rollout}"), *what, "b")),
            Step::Poll(n) => {
                let device = &self.devices[*n];
                let Some(action) = Action::next(&self.c, device.id).unwrap() else { return };
                if action.status == Status::Canceling {
                    let left = word(Execution::Closed, Finished::Success);
                    keep(&self.c, device, action.id, &left, Status::after_cancel).unwrap();
                } else {
                    take(&self.c, action.id).unwrap();
                }
            }
            Step::End(n, is_well) => {
                let device = &self.devices[*n];
                let Some(action) = Action::next(&self.c, device.id).unwrap() else { return };
                if action.taken && action.status != Status::Canceling {
                    let ended = if *is_well { Finished::Success } else { Finished::Failure };
                    keep(&self.c, device, action.id, &word(Execution::Closed, ended), Status::after).unwrap();
                }
            }
            Step::Look(hours) => {
                self.clock += hours * 60 * 60 * 1000;
                engine::advance(&self.c, &self.states, self.clock, 0).unwrap();
            }
        }
    }

    fn number(&self, sql: &str) -> i64 {
        self.c.query_row(sql, [], |r| r.get(0)).unwrap()
    }

    /// Rows that break a rule, by the rule.
    fn broken(&self) -> Vec<&'static str> {
        let rules = [
            (
                "a box has two current actions of one rollout",
                "SELECT count(*) FROM (SELECT 1 FROM action WHERE current = 1 GROUP BY rollout, device HAVING count(*) > 1)",
            ),
            (
                "an older rollout is offered where a newer one has come",
                "SELECT count(*) FROM action a JOIN rollout r ON r.id = a.rollout JOIN action b ON b.device = a.device
                 JOIN rollout s ON s.id = b.rollout
                 WHERE a.status IN ('offered', 'taken', 'silent') AND a.current = 1 AND b.current = 1
                   AND b.status IN ('offered', 'taken', 'finished') AND s.sequence > r.sequence",
            ),
            (
                "a rollout that has not started, or has ended, holds boxes",
                "SELECT count(*) FROM action a JOIN rollout r ON r.id = a.rollout
                 WHERE r.status IN ('ready', 'stopped') AND a.status IN ('scheduled', 'offered', 'taken', 'silent')
                   AND a.current = 1",
            ),
            (
                "what a box has begun is taken back without its word",
                "SELECT count(*) FROM action a WHERE a.taken AND a.status = 'canceled'
                   AND NOT EXISTS (SELECT 1 FROM message m WHERE m.action = a.id)",
            ),
            (
                "a rollout is over while boxes wait",
                "SELECT count(*) FROM action a JOIN rollout r ON r.id = a.rollout
                 WHERE r.status = 'finished' AND a.status IN ('scheduled', 'offered') AND a.current = 1",
            ),
        ];
        rules.iter().filter(|(_, sql)| self.number(sql) > 0).map(|(rule, _)| *rule).collect()
    }

    fn standing(&self) -> String {
        let all =
            "SELECT coalesce(group_concat(id || status || current, ' '), '') FROM (SELECT * FROM action ORDER BY id)";
        self.c.query_row(all, [], |r| r.get(0)).unwrap()
    }
}

#[test]
fn a_retry_does_not_bring_an_older_rollout_back_over_a_newer_one() {
    let mut walk = Walk::new();
    walk.go(&Step::Order(0, Order::Start));
    for step in [Step::Look(0), Step::Poll(0), Step::End(0, false), Step::Look(0), Step::Order(1, Order::Start)] {
        walk.go(&step);
    }
    assert_eq!(walk.number("SELECT count(*) FROM action WHERE status = 'failed' AND rollout = 1"), 1);
    for n in (0..BOXES).cycle().take(4 * BOXES) {
        for step in [Step::Look(0), Step::Poll(n), Step::End(n, true)] {
            walk.go(&step);
        }
    }
    walk.go(&Step::Order(0, Order::Retry));
    walk.go(&Step::Look(0));
    assert_eq!(walk.broken(), Vec::<&str>::new());
    assert_eq!(walk.number("SELECT count(*) FROM action WHERE rollout = 1 AND current = 1 AND status = 'canceled'"), 6);
    assert_eq!(walk.number("SELECT count(*) FROM rollout WHERE status = 'finished'"), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn people_boxes_and_time_break_no_rule_together(steps in prop::collection::vec(step(), 0..120)) {
        let mut walk = Walk::new();
        for (n, step) in steps.iter().enumerate() {
            walk.go(step);
            let broken = walk.broken();
            prop_assert!(broken.is_empty(), "after {:?}: {broken:?}\n{}", &steps[..=n], walk.standing());
        }
        // A second look at the same moment finds nothing more to do.
        walk.go(&Step::Look(0));
        let before = walk.standing();
        walk.go(&Step::Look(0));
        prop_assert_eq!(before, walk.standing());
    }

    #[test]
    fn a_rollout_alone_over_boxes_that_are_well_ends(polls in prop::collection::vec(0..BOXES, 60..61)) {
        let mut walk = Walk::new();
        walk.go(&Step::Order(0, Order::Start));
        for n in polls.into_iter().chain((0..BOXES).cycle().take(4 * BOXES)) {
            walk.go(&Step::Look(0));
            walk.go(&Step::Poll(n));
            walk.go(&Step::End(n, true));
        }
        walk.go(&Step::Look(0));
        prop_assert_eq!(walk.number("SELECT count(*) FROM rollout WHERE status = 'finished'"), 1);
        prop_assert_eq!(walk.number("SELECT count(*) FROM action WHERE status = 'finished'"), BOXES as i64);
    }
}
