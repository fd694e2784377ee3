//! What waits for the device, in the order in which it came, and which of it runs as one batch.
use crate::fault::Fault;
use crate::limits::device::BATCH_WAIT;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use sund_kernels::device::{Ending, Input, Output, Run};

/// SHA-256 of a network's plan: two packages that carry the same one share it.
pub type Key = [u8; 32];

/// One run of one network.
pub struct Request {
    /// Which network.
    pub key: Key,
    /// Its name, for people.
    pub name: String,
    /// Its plan; none where the sender thinks that it is on the device.
    pub plan: Option<Vec<u8>>,
    /// What it is given.
    pub input: Input,
    /// What is to be made of its answer; none: the answer is wanted as it is.
    pub ending: Option<Ending>,
    /// Takes the answer, once.
    pub reply: Box<dyn FnOnce(Answer) + Send>,
}

/// What comes of a request.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// It ran.
    Done(Output),
    /// The network is not on the device; the input comes back, to be sent again with the plan.
    Absent(Input),
    /// It did not run, or failed.
    Failed(Fault),
}

/// A request that waits.
pub(super) struct Waiting {
    pub(super) request: Request,
    since: Instant,
    shape: Vec<usize>,
    /// A batch with it in failed: it runs without others, so that it costs none but its own.
    alone: bool,
}

/// Requests, the oldest first.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
}

impl Queue {
    pub(super) fn push(&mut self, request: Request, now: Instant) {
        let shape = request.input.shape();
        self.waiting.push_back(Waiting { request, since: now, shape, alone: false });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether some request brings this network's plan.
    pub(super) fn brings(&self, key: &Key) -> bool {
        self.waiting.iter().any(|waiting| waiting.request.key == *key && waiting.request.plan.is_some())
    }

    /// Whether some request is for this network.
    pub(super) fn waits_for(&self, key: &Key) -> bool {
        self.waiting.iter().any(|waiting| waiting.request.key == *key)
    }

    /// The oldest request that may begin: `most` says how many of its key and shape run as one, none where the network is not
    /// on the device. One begins when its batch is full, or when it has waited [`BATCH_WAIT`] for others.
    pub(super) fn ready(&self, now: Instant, most: impl Fn(&Key, &[usize]) -> Option<usize>) -> Option<usize> {
        (0..self.waiting.len()).find(|at| {
            let oldest = &self.waiting[*at];
            let Some(most) = most(&oldest.request.key, &oldest.shape) else { return true };
            oldest.alone || now.duration_since(oldest.since) >= BATCH_WAIT || self.batch(*at, most).len() >= most
        })
    }

    /// When the next request will have waited [`BATCH_WAIT`].
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        let left = |waiting: &Waiting| BATCH_WAIT.saturating_sub(now.duration_since(waiting.since));
        self.waiting.iter().map(left).min()
    }

    /// The request at `at`.
    pub(super) fn at(&mut self, at: usize) -> &mut Waiting {
        &mut self.waiting[at]
    }

    /// Takes a batch out: the request at `at` and those behind it of the same network and shape, at most `most`, in their order.
    pub(super) fn take(&mut self, at: usize, most: usize) -> Vec<Waiting> {
        let members = self.batch(at, most);
        // From behind, so that those in front keep their places.
        let mut batch: Vec<Waiting> = members.iter().rev().filter_map(|at| self.waiting.remove(*at)).collect();
        batch.reverse();
        batch
    }

    /// Puts a batch in front again.
    pub(super) fn put_back(&mut self, batch: Vec<Waiting>) {
        batch.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
    }

    /// All of them, out of it.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Request> {
        self.waiting.drain(..).map(|waiting| waiting.request)
    }

    fn batch(&self, at: usize, most: usize) -> Vec<usize> {
        let first = &self.waiting[at];
        let most = if first.alone { 1 } else { most };
        let fits =
            |other: &Waiting| !other.alone && other.request.key == first.request.key && other.shape == first.shape;
        let behind = (at + 1..self.waiting.len()).filter(|n| fits(&self.waiting[*n]));
        std::iter::once(at).chain(behind).take(most.max(1)).collect()
    }
}

impl Waiting {
    /// The same, to run without others.
    pub(super) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn run(&self) -> Run<'_> {
        Run { input: &self.request.input, ending: self.request.ending }
    }

    pub(super) fn answer(self, answer: Answer) {
        (self.request.reply)(answer);
    }
}
