//! What lasts is one audit event: it is said again for another reason, or once it came anew.
use crate::fault::{Blame, Fault};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Matters that are remembered: who names things from outside does not fill the memory. Past that all may be said once more.
const MAX_MATTERS: usize = 256;

/// How matters stood when that was said last, since this updater began.
#[derive(Default)]
pub(crate) struct Said(Mutex<BTreeMap<String, String>>);

impl Said {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Whether it is news that a matter stands so.
    pub(crate) fn is_news(&self, matter: &str, how: &str) -> bool {
        let before = self.with(|said| {
            if said.len() >= MAX_MATTERS {
                said.clear();
            }
            said.insert(matter.to_owned(), how.to_owned())
        });
        before.is_none_or(|before| before != how)
    }

    /// Whether it is news that something is refused for this: what is refused of it, its version, stands in the reason. Of what is the box's own
    /// doing the code counts alone, since such a reason tells the time.
    pub(crate) fn is_refused_anew(&self, matter: &str, fault: &Fault) -> bool {
        let reason = if fault.blame == Blame::Box { "" } else { &fault.reason };
        self.is_news(matter, &format!("{} {reason}", fault.code))
    }

    /// The fault of a matter, where it is news.
    pub(crate) fn news<'a>(&self, matter: &str, stands: &'a Result<(), Fault>) -> Option<&'a Fault> {
        match stands {
            Err(fault) => self.is_news(matter, &fault.code).then_some(fault),
            Ok(()) => {
                self.over(matter);
                None
            }
        }
    }

    /// The matter is over: it is news when it comes again.
    pub(crate) fn over(&self, matter: &str) {
        self.with(|said| said.remove(matter));
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
