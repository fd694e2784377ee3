//! When is a study complete? A state machine over what associations do, with the clock handed in.
//!
//! A study is due once it has been quiet for the configured time, or at the end of the last association that sent for it,
//! and not while an association still sends for it: one that is in the middle of an instance, or whose last instance was of
//! this study and that has not been silent for [`IDLE`], when the node would end it. There is one bound: after [`MAX_OPEN`]
//! a study is completed with what is on stable storage, and its results say so, so that a sender that drips, or that never
//! pauses, cannot keep results back for ever. What comes after that is a late instance: the study is completed again, and
//! its newer answer supersedes. A study is completed once at a time.
use crate::limits::association::IDLE;
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
    /// What each open association was last heard of.
    senders: BTreeMap<u64, Sender>,
    /// Studies whose completion is under way.
    completing: BTreeSet<String>,
}

/// An association that sends.
#[derive(Debug)]
struct Sender {
    /// The study of its last instance.
    study: String,
    /// True from the first byte of an instance to its response.
    is_sending: bool,
}

/// A study that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Study Instance UID.
    pub study: String,
    /// True where it was still arriving, and has been for as long as is waited.
    pub is_cut: bool,
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
        Self { rules, open: BTreeMap::new(), senders: BTreeMap::new(), completing: BTreeSet::new() }
    }

    /// An instance of `study` has begun to arrive on `association`.
    pub fn sending(&mut self, association: u64, study: &str, now: Instant) {
        self.senders.insert(association, Sender { study: study.to_owned(), is_sending: true });
        if let Some(open) = self.open.get_mut(study) {
            open.last = now;
            open.senders.insert(association);
        }
    }

    /// An instance of `study` is on stable storage.
    pub fn stored(&mut self, association: u64, study: &str, now: Instant) {
        self.senders.insert(association, Sender { study: study.to_owned(), is_sending: false });
        let open = self.open.entry(study.to_owned()).or_insert_with(|| OpenStudy::new(now));
        open.last = now;
        open.senders.insert(association);
    }

    /// The instance that was arriving on `association` was refused or broke off.
    pub fn not_stored(&mut self, association: u64) {
        if let Some(sender) = self.senders.get_mut(&association) {
            sender.is_sending = false;
        }
    }

    /// A study that was open when the agent stopped, or that could not be completed: it is due after its quiet time.
    pub fn resume(&mut self, study: &str, now: Instant) {
        self.open.entry(study.to_owned()).or_insert_with(|| OpenStudy::new(now));
    }

    /// An association has ended, in whatever way.
    pub fn closed(&mut self, association: u64) {
        self.senders.remove(&association);
        for open in self.open.values_mut() {
            open.ended |= open.senders.remove(&association) && open.senders.is_empty();
        }
    }

    /// Takes the studies that are complete at `now`, those first that have been due for longest, `most` of them. Until
    /// [`Self::completed`] they are not due again.
    pub fn due(&mut self, now: Instant, most: usize) -> Vec<Due> {
        let is_sent_for = |study: &str| self.senders.values().any(|sender| sender.study == study);
        let mut due: Vec<(Instant, String, bool)> = self
            .open
            .iter()
            .filter_map(|(study, open)| {
                let at = self.due_at(study, open).filter(|at| *at <= now)?;
                Some((at, study.clone(), at == open.first + MAX_OPEN && is_sent_for(study)))
            })
            .collect();
        due.sort();
        due.truncate(most);
        for (_, study, _) in &due {
            self.open.remove(study);
            self.completing.insert(study.clone());
        }
        due.into_iter().map(|(_, study, is_cut)| Due { study, is_cut }).collect()
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
        let mut senders = self.senders.values().filter(|sender| sender.study == study).peekable();
        if senders.peek().is_some() {
            let is_sending = senders.any(|sender| sender.is_sending);
            return Some(if is_sending { latest } else { (open.last + self.rules.quiet.max(IDLE)).min(latest) });
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
        let due: Vec<String> = assembler.due(now, usize::MAX).into_iter().map(|due| due.study).collect();
        for study in &due {
            assembler.completed(study);
        }
        due
    }

    #[test]
    fn a_study_is_due_after_its_quiet_time() {
        let (mut a, t) = assembler(false);
        a.stored(1, "s", t);
        a.closed(1);
        assert!(due(&mut a, (t + QUIET).checked_sub(Duration::from_millis(1)).unwrap()).is_empty());
        assert_eq!(a.next_due(), Some(t + QUIET));
        assert_eq!(due(&mut a, t + QUIET), ["s"]);
        assert_eq!(a.next_due(), None);
    }

    /// A sender that fetches each image from a slow store is not done because it pauses.
    #[test]
    fn a_sender_that_pauses_holds_its_study_until_the_node_would_end_it() {
        for at_end in [false, true] {
            let (mut a, t) = assembler(at_end);
            a.stored(1, "s", t);
            assert!(due(&mut a, t + QUIET * 2).is_empty());
            assert_eq!(a.next_due(), Some(t + IDLE));
            a.stored(1, "s", t + QUIET * 3);
            assert_eq!(a.due(t + QUIET * 3 + IDLE, 1), [Due { study: "s".to_owned(), is_cut: false }]);
        }
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
        assert_eq!(a.due(now, 1), [Due { study: "s".to_owned(), is_cut: true }]);
    }

    #[test]
    fn two_associations_that_overlap_without_end_and_one_that_drips_cannot_hold_a_study_for_ever() {
        for associations in [1, 2] {
            let (mut a, t) = assembler(true);
            a.stored(0, "s", t);
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
        assert_eq!(a.due(t + QUIET, 1)[0].study, "s");
        a.stored(1, "s", t + QUIET);
        a.closed(1);
        assert_eq!(a.due(t + 2 * QUIET, 2)[0].study, "other");
        assert_eq!(a.next_due(), None);
        a.completed("s");
        assert_eq!(a.due(t + 2 * QUIET, 2)[0].study, "s");
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
