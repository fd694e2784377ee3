//! What one box has to do for one rollout, and what its words do to that. Pure functions.
use crate::database::words;
use sund_ota::ddi::{Execution, FeedbackStatus, Finished};

words! {
    /// How an action stands.
    pub enum Status {
        /// Its wave has not begun.
        Scheduled = "scheduled",
        /// The box may take it at its next poll.
        Offered = "offered",
        /// The box has seen what it is to do.
        Taken = "taken",
        /// The box is asked to leave it.
        Canceling = "canceling",
        /// Ended well.
        Finished = "finished",
        /// Ended badly.
        Failed = "failed",
        /// No word for too long: counts as failed, until there is one.
        Silent = "silent",
        /// Taken back.
        Canceled = "canceled",
    }
}

impl Status {
    /// Whether the box has nothing more to say.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Canceled)
    }

    /// Whether a box can be heard on it.
    pub fn is_heard(self) -> bool {
        matches!(self, Self::Offered | Self::Taken | Self::Canceling | Self::Silent)
    }

    /// After a word on the deployment. `None`: the action is over or was never offered, and stays as it is.
    pub fn after(self, word: &FeedbackStatus) -> Option<Self> {
        if !self.is_heard() {
            return None;
        }
        Some(match (word.execution, word.result.finished) {
            (Execution::Closed, Finished::Success) => Self::Finished,
            // A box that says how it ended only by silence has not said that it is well.
            (Execution::Closed, Finished::Failure | Finished::None) | (Execution::Rejected, _) => Self::Failed,
            (Execution::Canceled, _) if self == Self::Canceling => Self::Canceled,
            (Execution::Canceled, _) => Self::Failed,
            _ if self == Self::Canceling => Self::Canceling,
            _ => Self::Taken,
        })
    }

    /// After a word on the request to leave it.
    pub fn after_cancel(self, word: &FeedbackStatus) -> Option<Self> {
        match (self, word.execution, word.result.finished) {
            (Self::Canceling, Execution::Closed | Execution::Canceled, Finished::Success | Finished::None) => {
                Some(Self::Canceled)
            }
            // It goes on with what it has: too late to leave it.
            (Self::Canceling, Execution::Closed, Finished::Failure) | (Self::Canceling, Execution::Rejected, _) => {
                Some(Self::Taken)
            }
            (Self::Canceling, ..) => Some(Self::Canceling),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Canceled, Canceling, Failed, Offered, Scheduled, Silent, Taken};
    use sund_ota::ddi::FeedbackResult;

    fn word(execution: Execution, finished: Finished) -> FeedbackStatus {
        let result = FeedbackResult { finished, progress: None };
        FeedbackStatus { execution, result, code: None, details: Vec::new() }
    }

    #[test]
    fn a_box_that_is_heard_after_its_silence_counts_as_it_says() {
        assert_eq!(Silent.after(&word(Execution::Closed, Finished::Success)), Some(Status::Finished));
        assert_eq!(Silent.after(&word(Execution::Proceeding, Finished::None)), Some(Taken));
    }

    #[test]
    fn an_end_is_said_once() {
        for over in [Status::Finished, Failed, Canceled, Scheduled] {
            assert_eq!(over.after(&word(Execution::Closed, Finished::Failure)), None, "{over:?}");
        }
    }

    #[test]
    fn an_end_without_a_result_is_no_success() {
        assert_eq!(Offered.after(&word(Execution::Closed, Finished::None)), Some(Failed));
    }

    #[test]
    fn a_cancel_that_came_too_late_gives_way() {
        assert_eq!(Canceling.after(&word(Execution::Closed, Finished::Success)), Some(Status::Finished));
        assert_eq!(Canceling.after_cancel(&word(Execution::Rejected, Finished::None)), Some(Taken));
        assert_eq!(Canceling.after_cancel(&word(Execution::Closed, Finished::Success)), Some(Canceled));
        assert_eq!(Taken.after_cancel(&word(Execution::Closed, Finished::Success)), None);
    }
}
