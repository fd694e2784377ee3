//! Studies on lanes: on a clock that the test turns, and the stand-in for a network on the processor.
use super::bars::{self, H100, Verdict};
use super::steady::{Lanes, Part, STUDIES, StandIn, Steady, measured, of_a_study, passes};
use crate::cuda::host::{Host, Sanitizer};
use std::convert::Infallible;
use sund_kernels::cuda::machine::Machine;
use sund_kernels::{Grid, Preparation, argmax, grid_with_spacing, softmax};

/// Copies in, kernels and copies out, each of which does one thing at a time.
struct Simulated {
    /// Milliseconds of copy in, run, copy out.
    takes: [f64; 3],
    /// Whether all three are one, so that nothing overlaps.
    is_serial: bool,
    /// When each is free, and when each lane is through.
    free: [f64; 3],
    through: Vec<f64>,
    now: f64,
    /// Of each lane, whether a study is on it that was not waited for.
    holds: Vec<usize>,
}

impl Simulated {
    fn new(takes: [f64; 3], lanes: usize) -> Self {
        Self { takes, is_serial: false, free: [0.0; 3], through: vec![0.0; lanes], now: 0.0, holds: vec![0; lanes] }
    }

    fn put(&mut self, lane: usize, what: usize) {
        self.holds[lane] += 1;
        assert!(self.holds[lane] <= 3, "a lane is given a study while another is on it");
        let by = if self.is_serial { 0 } else { what };
        let end = self.now.max(self.through[lane]).max(self.free[by]) + self.takes[what];
        (self.through[lane], self.free[by]) = (end, end);
    }
}

impl Lanes for Simulated {
    type Error = Infallible;

    fn count(&self) -> usize {
        self.through.len()
    }

    fn bring(&mut self, lane: usize) -> Result<(), Infallible> {
        self.put(lane, 0);
        Ok(())
    }

    fn run(&mut self, lane: usize) -> Result<(), Infallible> {
        self.put(lane, 1);
        Ok(())
    }

    fn take_back(&mut self, lane: usize) -> Result<(), Infallible> {
        self.put(lane, 2);
        Ok(())
    }

    fn wait(&mut self, lane: usize) -> Result<(), Infallible> {
        self.holds[lane] = 0;
        self.now = self.now.max(self.through[lane]);
        Ok(())
    }

    fn now(&mut self) -> f64 {
        self.now
    }
}

#[test]
fn lanes_that_overlap_meet_the_bar_and_lanes_that_do_not_miss_it() {
    let Ok(overlapping) = measured(&mut Simulated::new([3.0, 4.0, 0.5], 2));
    assert_eq!(overlapping.engine, 4.0);
    // The first study's copy in and the last one's copy out have nothing to run beside.
    assert!((overlapping.both - (16.0 * 4.0 + 3.5) / 16.0).abs() < 1e-9, "{overlapping:?}");
    assert_eq!(bars::of_steady_state(H100, overlapping.of_slower()), Verdict::Met);

    let Ok(serial) = measured(&mut Simulated { is_serial: true, ..Simulated::new([3.0, 4.0, 0.5], 2) });
    assert!((serial.both - 7.5).abs() < 1e-9 && (serial.of_slower() - 4.0 / 7.5).abs() < 1e-9, "{serial:?}");
    assert_eq!(bars::of_steady_state(H100, serial.of_slower()), Verdict::Missed);
    let Ok(alone) = measured(&mut Simulated::new([3.0, 4.0, 0.5], 1));
    assert_eq!(bars::of_steady_state(H100, alone.of_slower()), Verdict::Missed, "one lane has nothing beside it");
}

#[test]
fn each_study_goes_the_whole_way_and_a_part_leaves_out_the_other() {
    for (part, expected) in [(Part::Transfer, 3.5), (Part::Engine, 4.0), (Part::Both, 7.5)] {
        let mut lanes = Simulated { is_serial: true, ..Simulated::new([3.0, 4.0, 0.5], 2) };
        let Ok(ms) = of_a_study(&mut lanes, part);
        assert!((ms - expected).abs() < 1e-9);
        assert!((lanes.now / STUDIES as f64 / expected).fract() < 1e-9, "whole rounds");
    }
}

#[test]
fn the_slower_of_the_two_is_what_counts() {
    let steady = |transfer, engine, both| Steady { transfer, engine, both }.of_slower();
    assert_eq!((steady(2.0, 4.0, 5.0), steady(4.0, 2.0, 5.0)), (0.8, 0.8));
}

#[test]
fn the_stand_in_takes_about_as_long_as_the_transfer() {
    // A pass takes 0.25 ms, the rest 0.1.
    assert_eq!(passes(3.1, 0.35, 0.6), 12);
    // Where a pass is longer than the transfer, and where the clock tells nothing.
    assert_eq!((passes(0.1, 1.0, 2.0), passes(1.0, 1.0, 1.0), passes(1.0, f64::NAN, 1.0)), (1, 1, 1));
    assert_eq!(passes(1e12, 1.0, 2.0), 1000);
}

#[test]
fn the_stand_in_runs_the_kernels_that_it_names() {
    let from = Grid { dims: [3, 7, 9], to_patient: [[0.0, 0.0, 0.7, 0.0], [0.0, 0.7, 0.0, 0.0], [2.5, 0.0, 0.0, 0.0]] };
    let onto = grid_with_spacing(&from, [1.0; 3]);
    let mut host = Host::start(Sanitizer::AddressAndUndefined);
    let samples: Vec<i16> = (0..from.len()).map(|n| (n * 37 % 2000) as i16).collect();
    let samples = host.upload(&samples).unwrap();
    let mut engine = StandIn::new(&mut host, &from, &onto, &Preparation::ct(1.0, -1024.0, 40.0, 400.0)).unwrap();
    engine.run(&mut host, &samples, 2).unwrap();
    let mut scores: Vec<f32> = (0..2 * onto.len()).map(|n| (n as f32 * 0.37).sin() * 9.0).collect();
    softmax(&mut scores, 2).unwrap();
    softmax(&mut scores, 2).unwrap();
    assert_eq!(host.download(&engine.mask).unwrap(), argmax(&scores, 2).unwrap());
    assert!(host.launched().iter().any(|kernel| kernel.starts_with("preprocess")));
    drop((samples, engine));
    host.end();
}
