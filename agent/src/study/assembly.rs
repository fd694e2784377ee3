//! When is a study complete? A state machine over what associations do, with the clock handed in.
//!
//! A study is due when no association that sent for it is still open, or when it has been quiet for the configured
//! time while such an association stands idle on something else; never while an association is in the middle of
//! sending for it.
use crate::limits::study::MAX_OPEN;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a study may be quiet before it counts as complete.
#[derive(Clone, Copy, Debug)]
pub struct AssemblyRules {
    /// Quiet time: from the last instance of the study to its completion.
    pub quiet: Duration,
    /// True: the end of the last association that sent for a study completes it at once.
    pub complete_on_association_end: bool,
}

/// Studies that are being received.
#[derive(Debug)]
pub struct Assembler {
    rules: AssemblyRules,
    open: BTreeMap<String, OpenStudy>,
    /// The study that an association is sending for right now, from the first byte of an instance to its response.
    sending: BTreeMap<u64, String>,
}

#[derive(Debug)]
struct OpenStudy {
    first: Instant,
    last: Instant,
    senders: BTreeSet<u64>,
}

impl Assembler {
    /// An assembler with no open study.
    pub fn new(rules: AssemblyRules) -> Self {
        Self { rules, open: BTreeMap::new(), sending: BTreeMap::new() }
    }

    /// An instance of `study` has begun to arrive on `association`.
    pub fn sending(&mut self, association: u64, study: &str, now: Instant) {
        self.sending.insert(association, study.to_owned());
        if let Some(open) = self.open.get_mut(study) {
            open.last = now;
            open.senders.insert(association);
        }
    }

    /// An instance of `study` is on stable storage.
    pub fn stored(&mut self, association: u64, study: &str, now: Instant) {
        self.sending.remove(&association);
        let open = self.open.entry(study.to_owned()).or_insert_with(|| OpenStudy {
            first: now,
            last: now,
            senders: BTreeSet::new(),
        });
        open.last = now;
        open.senders.insert(association);
    }

    /// The instance that was arriving on `association` was refused or broke off.
    pub fn not_stored(&mut self, association: u64) {
        self.sending.remove(&association);
    }

    /// A study that was open when the agent stopped: its senders are gone.
    pub fn resume(&mut self, study: &str, now: Instant) {
        self.open.entry(study.to_owned()).or_insert_with(|| OpenStudy {
            first: now,
            last: now,
            senders: BTreeSet::new(),
        });
    }

    /// An association has ended, in whatever way.
    pub fn closed(&mut self, association: u64) {
        self.sending.remove(&association);
        for open in self.open.values_mut() {
            open.senders.remove(&association);
        }
    }

    /// Takes the studies that are complete at `now`.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let due: Vec<String> = self
            .open
            .iter()
            .filter(|(study, open)| self.due_at(study, open) <= Some(now) && self.due_at(study, open).is_some())
            .map(|(study, _)| study.clone())
            .collect();
        for study in &due {
            self.open.remove(study);
        }
        due
    }

    /// The next instant at which a study can become due by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|(study, open)| self.due_at(study, open)).min()
    }

    /// Studies that are still open.
    pub fn open_studies(&self) -> impl Iterator<Item = &str> {
        self.open.keys().map(String::as_str)
    }

    /// `None` while an instance of the study is on its way and the longest open time has not passed.
    fn due_at(&self, study: &str, open: &OpenStudy) -> Option<Instant> {
        if self.sending.values().any(|s| s == study) {
            return None;
        }
        let latest = open.first + MAX_OPEN;
        if self.rules.complete_on_association_end && open.senders.is_empty() {
            return Some(open.last);
        }
        Some((open.last + self.rules.quiet).min(latest.max(open.last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(10);

    fn assembler(complete_on_association_end: bool) -> (Assembler, Instant) {
        (Assembler::new(AssemblyRules { quiet: QUIET, complete_on_association_end }), Instant::now())
    }

    #[test]
    fn a_study_is_due_after_its_quiet_time() {
        let (mut a, t) = assembler(false);
        a.stored(1, "s", t);
        assert!(a.due((t + QUIET).checked_sub(Duration::from_millis(1)).unwrap()).is_empty());
        assert_eq!(a.next_due(), Some(t + QUIET));
        assert_eq!(a.due(t + QUIET), ["s"]);
        assert_eq!(a.next_due(), None);
    }

    #[test]
    fn a_slow_instance_in_flight_holds_the_study_open() {
        let (mut a, t) = assembler(true);
        a.stored(1, "s", t);
        a.sending(1, "s", t + Duration::from_secs(1));
        assert!(a.due(t + QUIET * 100).is_empty());
        a.stored(1, "s", t + QUIET * 100);
        a.closed(1);
        assert_eq!(a.due(t + QUIET * 100), ["s"]);
    }

    #[test]
    fn the_end_of_one_of_two_associations_does_not_complete_the_study() {
        let (mut a, t) = assembler(true);
        a.stored(1, "s", t);
        a.stored(2, "s", t);
        a.closed(1);
        assert!(a.due(t).is_empty());
        a.closed(2);
        assert_eq!(a.due(t), ["s"]);
    }

    #[test]
    fn an_association_that_moves_on_to_another_study_leaves_the_first_to_its_quiet_time() {
        let (mut a, t) = assembler(true);
        a.stored(1, "one", t);
        a.stored(1, "two", t + QUIET);
        assert_eq!(a.due(t + QUIET), ["one"]);
        a.closed(1);
        assert_eq!(a.due(t + QUIET), ["two"]);
    }

    #[test]
    fn a_sender_that_never_pauses_cannot_hold_a_study_for_ever() {
        let (mut a, t) = assembler(false);
        let mut now = t;
        while now < t + MAX_OPEN {
            assert!(a.due(now).is_empty());
            a.stored(1, "s", now);
            now += QUIET / 2;
        }
        assert_eq!(a.due(now), ["s"]);
    }

    #[test]
    fn an_instance_that_broke_off_leaves_no_trace() {
        let (mut a, t) = assembler(true);
        a.sending(1, "s", t);
        a.closed(1);
        assert_eq!(a.next_due(), None);
        assert!(a.due(t + QUIET).is_empty());
    }
}
