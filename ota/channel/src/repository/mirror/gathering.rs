//! The payloads of one run: those that can be had are fetched, and those that can't are told at its end.
use super::origin::Origin;
use super::payload;
use crate::repository::store;
use std::path::Path;
use sund_ota::fault::Fault;
use tough::schema::Target;

/// Lines that broke, or were silent, after which a run asks for no more payloads: the origin is away, and each would take its time.
const MAX_BREAKS: usize = 3;
/// Payloads of which the end of a run tells why they could not be had; it counts the others.
const MAX_TOLD: usize = 8;

/// What a run has fetched so far, and what it could not.
pub(super) struct Gathering<'a> {
    origin: &'a Origin<'a>,
    targets: &'a Path,
    fetched: usize,
    faults: Vec<Fault>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(origin: &'a Origin<'a>, targets: &'a Path) -> Self {
        Self { origin, targets, fetched: 0, faults: Vec::new() }
    }

    /// Has a payload of at most `max` bytes, or the run ends here.
    pub(super) async fn must(&mut self, target: &str, listed: &Target, max: u64) -> Result<(), Fault> {
        if store::is_whole(self.targets, target, listed) {
            return Ok(());
        }
        self.fetch(target, listed, max).await
    }

    /// Has a payload where that can be.
    pub(super) async fn may(&mut self, target: &str, listed: &Target) {
        let breaks = self.faults.iter().filter(|fault| fault.code == "origin-unreachable").count();
        if breaks >= MAX_BREAKS || store::is_whole(self.targets, target, listed) {
            return;
        }
        let fetched = match payload::has_room(self.targets, target, listed) {
            Ok(()) => self.fetch(target, listed, u64::MAX).await,
            Err(fault) => Err(fault),
        };
        self.note(fetched);
    }

    async fn fetch(&mut self, target: &str, listed: &Target, max: u64) -> Result<(), Fault> {
        payload::fetch(self.origin, self.targets, target, listed, max).await?;
        self.fetched += 1;
        Ok(())
    }

    /// What went wrong beside that is told at the end as well.
    pub(super) fn note<T>(&mut self, done: Result<T, Fault>) -> Option<T> {
        done.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// How many were fetched; the first fault with the reasons of all, where there was any.
    pub(super) fn end(self, timestamp: u64) -> Result<usize, Fault> {
        let mut reasons: Vec<&str> = self.faults.iter().take(MAX_TOLD).map(|fault| fault.reason.as_str()).collect();
        let others = format!("and {} more", self.faults.len().saturating_sub(MAX_TOLD));
        if self.faults.len() > MAX_TOLD {
            reasons.push(&others);
        }
        let reason = format!(
            "timestamp {timestamp} is shown, and not all that it lists is there; the next run asks for it again: {}",
            reasons.join("; ")
        );
        let first = self.faults.into_iter().next();
        first.map_or(Ok(self.fetched), |fault| Err(Fault { reason, ..fault }))
    }
}
