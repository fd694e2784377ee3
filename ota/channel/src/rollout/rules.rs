//! When the next wave begins, when a rollout pauses, when it is over. Pure functions: they see figures and no clock.

/// How a wave stands, in boxes. Each is counted once at most; those that are left have the word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub total: u64,
    /// Ended well.
    pub finished: u64,
    /// Ended badly, or silent for too long.
    pub failed: u64,
    /// Taken over by another rollout, or taken back by a person: they say nothing about the state.
    pub canceled: u64,
    /// Failed, silent or canceled, and a person has seen that and goes on.
    pub accepted: u64,
}

/// One wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Whether it was offered.
    pub begun: bool,
    /// Percent of its boxes that have to end well before the next wave begins.
    pub success: u8,
    /// Percent of its boxes that may fail; one more, and the rollout pauses.
    pub error: u8,
    /// How it stands.
    pub tally: Tally,
}

/// What is to be done with a running rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: boxes have the word.
    Wait,
    /// Offer this wave.
    Begin(usize),
    /// Stop offering and call a person.
    Pause(String),
    /// All boxes have ended.
    Finish,
}

impl Wave {
    /// The boxes that count: neither canceled nor given up with a person's knowledge.
    fn base(&self) -> u64 {
        self.tally.total.saturating_sub(self.tally.canceled + self.tally.accepted)
    }

    fn open(&self) -> u64 {
        self.base().saturating_sub(self.tally.finished + self.tally.failed)
    }

    fn has_failed(&self) -> bool {
        self.tally.failed * 100 > u64::from(self.error) * self.base()
    }

    /// A share of no box at all shows nothing: where none counts, a person has to have seen that of every one.
    fn has_succeeded(&self) -> bool {
        match self.base() {
            0 => self.tally.accepted == self.tally.total,
            base => self.tally.finished * 100 >= u64::from(self.success) * base,
        }
    }
}

/// The next step of a running rollout; to be asked again until it is [`Step::Wait`] or an end.
pub fn next(waves: &[Wave]) -> Step {
    let begun = waves.iter().take_while(|wave| wave.begun).count();
    // Failures first: no wave begins while another one fails.
    for (n, wave) in waves[..begun].iter().enumerate() {
        if wave.has_failed() {
            let (failed, total) = (wave.tally.failed, wave.tally.total);
            return Step::Pause(format!("Wave {}: {failed} of {total} boxes failed, and {} % may.", n + 1, wave.error));
        }
    }
    let is_over = waves.iter().all(|wave| wave.open() == 0);
    let Some(last) = waves[..begun].last() else { return if is_over { Step::Finish } else { Step::Begin(0) } };
    let (finished, total, success) = (last.tally.finished, last.tally.total, last.success);
    // Also of the last wave: a rollout that ended so would be taken for one that went well.
    if last.open() == 0 && last.base() > 0 && !last.has_succeeded() {
        let why =
            format!("Wave {begun}: all boxes have ended, {finished} of {total} well, and {success} % were asked for.");
        return Step::Pause(why);
    }
    // Where no box is left, there is nobody to hold anything back from.
    if is_over {
        return Step::Finish;
    }
    if begun == waves.len() {
        return Step::Wait;
    }
    if last.has_succeeded() {
        return Step::Begin(begun);
    }
    if last.open() > 0 {
        return Step::Wait;
    }
    let boxes = format!("its boxes, {total} in all, were taken over or taken back before one had ended well");
    Step::Pause(format!("Wave {begun}: {boxes}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wave(begun: bool, success: u8, error: u8, total: u64, finished: u64, failed: u64) -> Wave {
        Wave { begun, success, error, tally: Tally { total, finished, failed, ..Tally::default() } }
    }

    #[test]
    fn a_canary_that_fails_stops_the_rest() {
        let waves = [wave(true, 100, 0, 1, 0, 1), wave(false, 100, 0, 99, 0, 0)];
        assert!(matches!(next(&waves), Step::Pause(_)));
    }

    #[test]
    fn silence_of_half_a_wave_is_not_its_success() {
        let waves = [wave(true, 100, 50, 10, 5, 5), wave(false, 100, 50, 10, 0, 0)];
        assert!(matches!(next(&waves), Step::Pause(why) if why.contains("all boxes have ended")));
    }

    #[test]
    fn too_few_well_in_the_last_wave_is_no_end() {
        let mut waves = [wave(true, 60, 40, 1, 1, 0), wave(true, 95, 60, 2, 1, 1)];
        assert!(matches!(next(&waves), Step::Pause(why) if why.contains("1 of 2 well")));
        // Nobody is left behind it.
        waves[0] = wave(true, 60, 40, 2, 1, 0);
        assert!(matches!(next(&waves), Step::Pause(_)), "an earlier wave is not through yet");
        waves[0].tally.finished = 2;
        (waves[1].tally.failed, waves[1].tally.accepted) = (0, 1);
        assert_eq!(next(&waves), Step::Finish, "a person has seen it");
        // A group that takes no box does not hide that of the one before.
        assert!(matches!(next(&[wave(true, 95, 60, 2, 1, 1), wave(false, 95, 0, 0, 0, 0)]), Step::Pause(_)));
    }

    #[test]
    fn failures_that_a_person_accepted_do_not_pause_again() {
        let mut waves = [wave(true, 100, 0, 10, 9, 1), wave(false, 100, 0, 10, 0, 0)];
        assert!(matches!(next(&waves), Step::Pause(_)));
        (waves[0].tally.failed, waves[0].tally.accepted) = (0, 1);
        assert_eq!(next(&waves), Step::Begin(1));
        (waves[0].tally.failed, waves[0].tally.finished) = (1, 8);
        assert!(matches!(next(&waves), Step::Pause(_)), "one more is one too many");
    }

    #[test]
    fn a_canary_that_was_taken_over_lets_nobody_through() {
        let mut waves = [wave(true, 0, 100, 2, 0, 0), wave(true, 95, 0, 2, 0, 0), wave(false, 95, 0, 9, 0, 0)];
        waves[1].tally.canceled = 2;
        assert!(matches!(next(&waves), Step::Pause(why) if why.contains("taken over")));
        (waves[1].tally.canceled, waves[1].tally.accepted) = (1, 1);
        assert!(matches!(next(&waves), Step::Pause(_)), "a person has seen one of the two");
        (waves[1].tally.canceled, waves[1].tally.accepted) = (0, 2);
        assert_eq!(next(&waves), Step::Begin(2));
        waves[1].tally = Tally { total: 2, finished: 1, canceled: 1, ..Tally::default() };
        assert_eq!(next(&waves), Step::Begin(2), "the other one has shown it");
    }

    #[test]
    fn a_rollout_of_which_no_box_is_left_is_over() {
        let mut waves = [wave(true, 100, 0, 1, 0, 0), wave(false, 100, 0, 5, 0, 0)];
        (waves[0].tally.canceled, waves[1].tally.canceled) = (1, 5);
        assert_eq!(next(&waves), Step::Finish);
        waves[1].tally.canceled = 4;
        assert!(matches!(next(&waves), Step::Pause(_)), "one is left, and nobody has gone before it");
    }

    #[test]
    fn a_wave_that_takes_no_box_holds_up_nothing() {
        assert_eq!(next(&[wave(true, 100, 0, 0, 0, 0), wave(false, 100, 0, 1, 0, 0)]), Step::Begin(1));
        assert_eq!(next(&[wave(true, 100, 0, 0, 0, 0)]), Step::Finish);
        assert_eq!(next(&[]), Step::Finish);
    }

    fn any_wave() -> impl Strategy<Value = Wave> {
        // Few boxes, so that waves of which none is left are met often.
        let boxes = || prop_oneof![Just(0u64), 0u64..4, 0u64..40];
        (0u8..=100, 0u8..=100, boxes(), boxes(), boxes(), boxes(), boxes()).prop_map(
            |(success, error, open, finished, failed, canceled, accepted)| {
                let total = open + finished + failed + canceled + accepted;
                Wave { begun: false, success, error, tally: Tally { total, finished, failed, canceled, accepted } }
            },
        )
    }

    /// The promise in other words than the rule's own: a box may follow where there was nobody to go first, where enough
    /// of those whose word counts ended well and somebody's did, or where a person has seen the end of every one.
    fn may_follow(wave: &Wave) -> bool {
        let Tally { total, finished, canceled, accepted, .. } = wave.tally;
        let counted = total - canceled - accepted;
        let share = |n: u64| n as f64 / counted as f64 * 100.0;
        accepted == total || (counted > 0 && share(finished) + 1e-9 >= f64::from(wave.success))
    }

    proptest! {
        #[test]
        fn a_wave_begins_only_behind_one_that_reached_its_success_and_while_none_fails(
            mut waves in prop::collection::vec(any_wave(), 1..6), begun in 0usize..6,
        ) {
            let begun = begun.min(waves.len());
            waves[..begun].iter_mut().for_each(|wave| wave.begun = true);
            match next(&waves) {
                Step::Begin(n) => {
                    prop_assert_eq!(n, begun, "in order, and each once");
                    prop_assert!(waves[..n].iter().all(|wave| !wave.has_failed()));
                    prop_assert!(n == 0 || may_follow(&waves[n - 1]), "nobody went first in {:?}", waves[n - 1]);
                }
                Step::Finish => {
                    prop_assert!(waves.iter().all(|wave| wave.open() == 0), "boxes are left");
                    let last = waves[..begun.min(waves.len())].last();
                    prop_assert!(last.is_none_or(|last| last.base() == 0 || may_follow(last)), "too few well in {last:?}");
                }
                Step::Wait => prop_assert!(waves.iter().any(|wave| wave.begun && wave.open() > 0), "nobody has the word"),
                Step::Pause(_) => prop_assert!(begun > 0),
            }
        }

        #[test]
        fn one_more_success_never_pauses_what_went_on(wave in any_wave()) {
            let before = Wave { begun: true, ..wave };
            prop_assume!(before.open() > 0 && !before.has_failed());
            let mut after = before;
            after.tally.finished += 1;
            prop_assert!(!after.has_failed());
            prop_assert!(!before.has_succeeded() || after.has_succeeded());
        }
    }
}
