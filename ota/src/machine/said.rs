//! What lasts is one audit event: it is said again for another reason, or once it came anew.
use crate::fault::Fault;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How matters stood when that was said last, since this updater began.
#[derive(Default)]
pub(super) struct Said(Mutex<BTreeMap<String, String>>);

impl Said {
    /// Whether it is news that a matter stands so.
    pub(super) fn is_news(&self, matter: &str, how: &str) -> bool {
        let before = self.with(|said| said.insert(matter.to_owned(), how.to_owned()));
        before.is_none_or(|before| before != how)
    }

    /// The fault of a matter, where it is news.
    pub(super) fn news<'a>(&self, matter: &str, stands: &'a Result<(), Fault>) -> Option<&'a Fault> {
        match stands {
            Err(fault) => self.is_news(matter, &fault.code).then_some(fault),
            Ok(()) => {
                self.over(matter);
                None
            }
        }
    }

    /// The matter is over: it is news when it comes again.
    pub(super) fn over(&self, matter: &str) {
        self.with(|said| said.remove(matter));
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
