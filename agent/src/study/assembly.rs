//! When is a study complete? A state machine over what associations do, with the clock handed in.
//!
//! A study is due when no association that sent for it is still open, or when it has been quiet for the configured
//! time while such an association stands idle on something else. It is not due while an association is in the middle of
//! sending for it, with one bound: after [`MAX_OPEN`] it is completed with what is on stable storage, so that a sender that
//! drips, or that never pauses, cannot keep results back for ever. What comes after that is a late instance: the study is
//! completed again, and its newer answer supersedes. A study is completed once at a time.
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
    /// Studies whose completion is under way.
    completing: BTreeSet<String>,
}

#[derive(Debug)]
struct OpenStudy {
    first: Instant,
    last: Instant,
    senders: BTreeSet<u64>,
    /// The last of its senders has ended. A study that was open when the agent stopped has not come to that: its senders
    /// were cut off, and come again.
    ended: bool,
}

impl OpenStudy {
    fn new(now: Instant) -> Self {
        Self { first: now, last: now, senders: BTreeSet::new(), ended: false }
    }
}

impl Assembler {
    /// An assembler with no open study.
    pub fn new(rules: AssemblyRules) -> Self {
        Self { rules, open: BTreeMap::new(), sending: BTreeMap::new(), completing: BTreeSet::new() }
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
        let open = self.open.entry(study.to_owned()).or_insert_with(|| OpenStudy::new(now));
        open.last = now;
        open.senders.insert(association);
    }

    /// The instance that was arriving on `association` was refused or broke off.
    pub fn not_stored(&mut self, association: u64) {
        self.sending.remove(&association);
    }

    /// A study that was open when the agent stopped, or that could not be completed: it is due after its quiet time.
    pub fn resume(&mut self, study: &str, now: Instant) {
        self.open.entry(study.to_owned()).or_insert_with(|| OpenStudy::new(now));
    }

    /// An association has ended, in whatever way.
    pub fn closed(&mut self, association: u64) {
        self.sending.remove(&association);
        for open in self.open.values_mut() {
            open.ended |= open.senders.remove(&association) && open.senders.is_empty();
        }
    }

    /// Takes the studies that are complete at `now`, those first that have been due for longest, `most` of them. Until
    /// [`Self::completed`] they are not due again.
    pub fn due(&mut self, now: Instant, most: usize) -> Vec<String> {
        let mut due: Vec<(Instant, String)> = self
            .open
            .iter()
            .filter_map(|(study, open)| Some((self.due_at(study, open).filter(|at| *at <= now)?, study.clone())))
            .collect();
        due.sort();
        due.truncate(most);
        for (_, study) in &due {
            self.open.remove(study);
            self.completing.insert(study.clone());
        }
        due.into_iter().map(|(_, study)| study).collect()
    }

    /// The completion of a study has ended, in whatever way.
    pub fn completed(&mut self, study: &str) {
        self.completing.remove(study);
    }

    /// The next instant at which a study can become due by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|(study, open)| self.due_at(study, open)).min()
    }

    /// `None` while it is being completed.
    fn due_at(&self, study: &str, open: &OpenStudy) -> Option<Instant> {
        if self.completing.contains(study) {
            return None;
        }
        let latest = open.first + MAX_OPEN;
        if self.sending.values().any(|s| s == study) {
            return Some(latest);
        }
        if self.rules.complete_on_association_end && open.ended && open.senders.is_empty() {
            return Some(open.last.min(latest));
        }
        Some((open.last + self.rules.quiet).min(latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(10);

    fn assembler(complete_on_association_end: bool) -> (Assembler, Instant) {
        (Assembler::new(AssemblyRules { quiet: QUIET, complete_on_association_end }), Instant::now())
    }

    fn due(assembler: &mut Assembler, now: Instant) -> Vec<String> {
        let due = assembler.due(now, usize::MAX);
        for study in &due {
            assembler.completed(study);
        }
        due
    }

    #[test]
    fn a_study_is_due_after_its_quiet_time() {
        let (mut a, t) = assembler(false);
        a.stored(1, "s", t);
        assert!(due(&mut a, (t + QUIET).checked_sub(Duration::from_millis(1)).unwrap()).is_empty());
        assert_eq!(a.next_due(), Some(t + QUIET));
        assert_eq!(due(&mut a, t + QUIET), ["s"]);
        assert_eq!(a.next_due(), None);
    }

    #[test]
    fn a_slow_instance_in_flight_holds_the_study_open() {
        let (mut a, t) = assembler(true);
        a.stored(1, "s", t);
        a.sending(1, "s", t + Duration::from_secs(1));
        assert!(due(&mut a, t + QUIET * 100).is_empty());
        a.stored(1, "s", t + QUIET * 100);
        a.closed(1);
        assert_eq!(due(&mut a, t + QUIET * 100), ["s"]);
    }

    #[test]
    fn the_end_of_one_of_two_associations_does_not_complete_the_study() {
        let (mut a, t) = assembler(true);
        a.stored(1, "s", t);
        a.stored(2, "s", t);
        a.closed(1);
        assert!(due(&mut a, t).is_empty());
        a.closed(2);
        assert_eq!(due(&mut a, t), ["s"]);
    }

    #[test]
    fn an_association_that_moves_on_to_another_study_leaves_the_first_to_its_quiet_time() {
        let (mut a, t) = assembler(true);
        a.stored(1, "one", t);
        a.stored(1, "two", t + QUIET);
        assert_eq!(due(&mut a, t + QUIET), ["one"]);
        a.closed(1);
        assert_eq!(due(&mut a, t + QUIET), ["two"]);
    }

    #[test]
    fn a_sender_that_never_pauses_cannot_hold_a_study_for_ever() {
        let (mut a, t) = assembler(false);
        let mut now = t;
        while now < t + MAX_OPEN {
            assert!(due(&mut a, now).is_empty());
            a.stored(1, "s", now);
            now += QUIET / 2;
        }
        assert_eq!(due(&mut a, now), ["s"]);
    }

    #[test]
    fn two_associations_that_overlap_without_end_and_one_that_drips_cannot_hold_a_study_for_ever() {
        for associations in [1, 2] {
            let (mut a, t) = assembler(true);
            a.stored(1, "s", t);
            let mut now = t;
            // At every moment an instance is on its way.
            for n in 0.. {
                a.sending(n % associations, "s", now);
                if now >= t + MAX_OPEN {
                    break;
                }
                assert!(due(&mut a, now).is_empty());
                assert_eq!(a.next_due(), Some(t + MAX_OPEN));
                now += QUIET;
                if associations == 2 {
                    a.stored((n + 1) % associations, "s", now);
                }
            }
            assert_eq!(due(&mut a, now), ["s"]);
            // What was on its way then is a late instance.
            a.stored(0, "s", now);
            (0..associations).for_each(|association| a.closed(association));
            assert_eq!(due(&mut a, now), ["s"]);
        }
    }

    #[test]
    fn a_study_is_not_due_again_before_its_completion_has_ended() {
        let (mut a, t) = assembler(false);
        a.stored(1, "s", t);
        a.stored(1, "other", t + QUIET);
        assert_eq!(a.due(t + QUIET, 1), ["s"]);
        a.stored(1, "s", t + QUIET);
        assert_eq!(a.due(t + 2 * QUIET, 2), ["other"]);
        assert_eq!(a.next_due(), None);
        a.completed("s");
        assert_eq!(a.due(t + 2 * QUIET, 2), ["s"]);
    }

    #[test]
    fn a_study_that_was_cut_off_by_a_restart_waits_its_quiet_time_for_its_senders() {
        let (mut a, t) = assembler(true);
        a.resume("s", t);
        assert!(due(&mut a, t).is_empty());
        a.stored(1, "s", t + QUIET / 2);
        a.closed(1);
        assert_eq!(due(&mut a, t + QUIET / 2), ["s"]);
        a.resume("s", t);
        assert_eq!(due(&mut a, t + QUIET), ["s"]);
    }

    #[test]
    fn an_instance_that_broke_off_leaves_no_trace() {
        let (mut a, t) = assembler(true);
        a.sending(1, "s", t);
        a.closed(1);
        assert_eq!(a.next_due(), None);
        assert!(due(&mut a, t + QUIET).is_empty());
    }
}
