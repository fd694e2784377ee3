//! When the next wave begins, when a rollout pauses, when it is over. Pure functions: they see figures and no clock.

/// How a wave stands, in boxes.
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
    /// Failures that a person has seen and accepted.
    pub accepted: u64,
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
    /// The boxes that count: neither canceled nor failed with a person's knowledge.
    fn base(&self) -> u64 {
        self.tally.total.saturating_sub(self.tally.canceled + self.accepted.min(self.tally.failed))
    }

    fn open(&self) -> u64 {
        self.tally.total.saturating_sub(self.tally.finished + self.tally.failed + self.tally.canceled)
    }

    fn has_failed(&self) -> bool {
        let failures = self.tally.failed.saturating_sub(self.accepted);
        failures * 100 > u64::from(self.error) * self.base()
    }

    fn has_succeeded(&self) -> bool {
        self.tally.finished * 100 >= u64::from(self.success) * self.base()
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
    let Some(last) = waves[..begun].last() else {
        return if waves.is_empty() { Step::Finish } else { Step::Begin(0) };
    };
    if begun == waves.len() {
        return if waves.iter().all(|wave| wave.open() == 0) { Step::Finish } else { Step::Wait };
    }
    if last.has_succeeded() {
        return Step::Begin(begun);
    }
    if last.open() == 0 {
        let (finished, total) = (last.tally.finished, last.tally.total);
        return Step::Pause(format!(
            "Wave {begun}: all boxes have ended, {finished} of {total} well, and {} % were asked for.",
            last.success
        ));
    }
    Step::Wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wave(begun: bool, success: u8, error: u8, total: u64, finished: u64, failed: u64) -> Wave {
        Wave { begun, success, error, accepted: 0, tally: Tally { total, finished, failed, canceled: 0 } }
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
    fn failures_that_a_person_accepted_do_not_pause_again() {
        let mut waves = [wave(true, 100, 0, 10, 9, 1), wave(false, 100, 0, 10, 0, 0)];
        assert!(matches!(next(&waves), Step::Pause(_)));
        waves[0].accepted = 1;
        assert_eq!(next(&waves), Step::Begin(1));
        waves[0].tally.failed = 2;
        assert!(matches!(next(&waves), Step::Pause(_)), "one more is one too many");
    }

    #[test]
    fn a_wave_that_takes_no_box_holds_up_nothing() {
        assert_eq!(next(&[wave(true, 100, 0, 0, 0, 0), wave(false, 100, 0, 1, 0, 0)]), Step::Begin(1));
        assert_eq!(next(&[wave(true, 100, 0, 0, 0, 0)]), Step::Finish);
    }

    fn any_wave() -> impl Strategy<Value = Wave> {
        (0u8..=100, 0u8..=100, 0u64..5, 0u64..40, 0u64..40, 0u64..40, 0u64..40).prop_map(
            |(success, error, accepted, open, finished, failed, canceled)| Wave {
                begun: false,
                success,
                error,
                accepted,
                tally: Tally { total: open + finished + failed + canceled, finished, failed, canceled },
            },
        )
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
                    prop_assert!(n == 0 || waves[n - 1].has_succeeded());
                }
                Step::Finish => prop_assert!(begun == waves.len() && waves.iter().all(|wave| wave.open() == 0)),
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
