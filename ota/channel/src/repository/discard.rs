//! Throws a proposal away, whatever it holds, and with it the keys that were made for it.
use super::document::Document;
use super::files;
use super::home::Home;
use super::limits::MAX_DOCUMENT;
use super::online;
use super::proposal::Proposal;
use super::rescue::Offer;
use super::roles::ROOT;
use std::fs;
use sund_ota::fault::Fault;

/// Throws it away.
pub fn discard(home: &Home, id: &str) -> Result<(), Fault> {
    let _lock = home.lock()?;
    let directory = if Offer::is_at(&home.proposals().join(id)) {
        Offer::open(home, id)?.directory
    } else {
        Proposal::place(home, id)?
    };
    let root = files::read(&directory.join("documents/root.json"), MAX_DOCUMENT);
    let root = root.and_then(|root| Document::parse(ROOT, &root));
    fs::remove_dir_all(&directory).map_err(|error| files::disk("removed", &directory, &error))?;
    match root {
        Ok((Document::Root(root), _)) => online::forget(home, &online::named_by(&root)),
        _ => Ok(()),
    }
}
