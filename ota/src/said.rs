//! What lasts is one audit event: it is said again for another reason, or once it came anew. The status tells it for as long as it lasts.
use crate::fault::{Blame, Fault};
use crate::status::Trouble;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Matters that are remembered, so that nobody who names things from outside fills the memory. Past that all may be said once more.
const MAX_MATTERS: usize = 256;
/// Troubles that the status tells; what there is to be in trouble is less than that.
const MAX_TROUBLES: usize = 32;

/// How matters stood when that was said last, since this updater began.
#[derive(Default)]
pub(crate) struct Said(Mutex<BTreeMap<String, Stands>>);

/// How a matter stood.
#[derive(Default)]
struct Stands {
    how: String,
    /// Why each poll tries it again.
    fault: Option<Fault>,
}

impl Said {
    /// Nothing was said yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Whether it is news that a matter stands so.
    pub(crate) fn is_news(&self, matter: &str, how: &str) -> bool {
        let before = self.with(|said| {
            if said.len() >= MAX_MATTERS {
                said.clear();
            }
            said.insert(matter.to_owned(), Stands { how: how.to_owned(), fault: None })
        });
        before.is_none_or(|before| before.how != how)
    }

    /// Whether it is news that something is refused for this: what is refused of it, its version, stands in the reason. Of what is the box's own
    /// doing the code counts alone, since such a reason tells how much of a disk is free.
    pub(crate) fn is_refused_anew(&self, matter: &str, fault: &Fault) -> bool {
        let reason = if fault.blame == Blame::Box { "" } else { &fault.reason };
        self.is_news(matter, &format!("{} {reason}", fault.code))
    }

    /// The fault of a matter, where it is news.
    pub(crate) fn news<'a>(&self, matter: &str, stands: &'a Result<(), Fault>) -> Option<&'a Fault> {
        match stands {
            Err(fault) => {
                let is_news = self.is_news(matter, &fault.code);
                self.with(|said| said.entry(matter.to_owned()).or_default().fault = Some(fault.clone()));
                is_news.then_some(fault)
            }
            Ok(()) => {
                self.over(matter);
                None
            }
        }
    }

    /// What is the matter now, of what [`Said::news`] was asked about.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let trouble = |(matter, stands): (&String, &Stands)| {
            stands.fault.clone().map(|fault| Trouble { what: matter.clone(), fault })
        };
        self.with(|said| said.iter().filter_map(trouble).take(MAX_TROUBLES).collect())
    }

    /// The matter is over: it is news when it comes again.
    pub(crate) fn over(&self, matter: &str) {
        self.with(|said| said.remove(matter));
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Stands>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_news_for_another_reason_and_not_for_a_disk_that_fills() {
        let said = Said::new();
        let forged = |version: u32| {
            Fault::new("signature-invalid", Blame::Channel, format!("timestamp {version} is signed by nobody"))
        };
        assert!(said.is_refused_anew("repository", &forged(7)));
        assert!(!said.is_refused_anew("repository", &forged(7)));
        assert!(said.is_refused_anew("repository", &forged(8)) && said.is_refused_anew("state/stop.json", &forged(8)));
        said.over("repository");
        assert!(said.is_refused_anew("repository", &forged(8)));
        let full = |free: u32| Fault::new("disk-full", Blame::Box, format!("{free} bytes are free"));
        assert!(said.is_refused_anew("repository", &full(1)) && !said.is_refused_anew("repository", &full(2)));
    }

    #[test]
    fn a_trouble_is_told_for_as_long_as_it_lasts_and_with_its_newest_reason() {
        let said = Said::new();
        let told =
            || said.troubles().into_iter().map(|trouble| (trouble.what, trouble.fault.reason)).collect::<Vec<_>>();
        let fails = |reason: &str| Err(Fault::new("disk-full", Blame::Box, reason));
        assert!(said.is_news("another matter", "so") && told().is_empty());
        for reason in ["1 byte is free", "2 bytes are free"] {
            said.news("it is not kept", &fails(reason));
            assert_eq!(told(), [("it is not kept".to_owned(), reason.to_owned())]);
        }
        said.news("it is not kept", &Ok(()));
        assert!(told().is_empty());
        (0..2 * MAX_TROUBLES).for_each(|n| drop(said.news(&n.to_string(), &fails("")).cloned()));
        assert_eq!(told().len(), MAX_TROUBLES);
    }

    #[test]
    fn who_makes_up_matters_fills_no_memory() {
        let said = Said::new();
        (0..10 * MAX_MATTERS).for_each(|n| assert!(said.is_news(&n.to_string(), "")));
        assert!(said.with(|said| said.len()) <= MAX_MATTERS);
    }
}
