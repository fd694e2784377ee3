//! Work that nobody wants any more: the workers of a seat are ended at once, and it is given no other.
use crate::fault::Fault;
use std::sync::Arc;
use tokio::sync::watch;

/// Calls off what its seats are at, from another thread, once.
#[derive(Clone, Debug)]
pub struct CallOff(Arc<watch::Sender<Option<Fault>>>);

impl CallOff {
    /// Nothing is called off yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }

    /// Calls it off, for this reason. The first one counts.
    pub fn call(&self, why: Fault) {
        self.0.send_if_modified(|called| {
            let is_first = called.is_none();
            called.get_or_insert(why);
            is_first
        });
    }

    /// Why it was called off, where it was.
    pub fn called(&self) -> Option<Fault> {
        self.0.borrow().clone()
    }

    /// Returns once it is called off, with the reason.
    pub async fn is_called(&self) -> Option<Fault> {
        let mut calls = self.0.subscribe();
        calls.wait_for(Option::is_some).await.ok().and_then(|why| why.clone())
    }
}

impl Default for CallOff {
    fn default() -> Self {
        Self::new()
    }
}
