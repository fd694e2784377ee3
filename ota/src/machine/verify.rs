//! Candidate → Verified: the region lists the state now, and all of its payload is on this box.
use super::files::{self, Held};
use super::system::LOOK;
use super::{ACTIVE, Candidate, Halt, Machine, Verified};
use crate::ddi::{Handling, Progress};
use crate::fault::{Blame, Fault};
use crate::http::{MIN_RATE, Seen};
use crate::machine::record::Step;
use crate::state::Pin;
use crate::trust::{Source, Trusted};
use std::sync::Arc;
use tokio::time::Instant;

/// What trust says where a target is not listed, or not under that hash.
const NOT_APPROVED: &str = "target-not-approved";

impl Machine {
    pub(super) async fn verify(&mut self, candidate: Candidate) -> Result<Verified, Halt> {
        if self.handling.0 == Handling::Skip && self.step().rank() < ACTIVE {
            return Err(Halt::Later(closed_window("download")));
        }
        let (trusted, seen) = self.guard(self.trusted()).await?.map_err(|fault| self.judge(fault))?;
        let state = self.guard(trusted.state(&candidate.descriptor)).await?;
        let state = state.map_err(|fault| self.judge(blame_network(fault, &seen)))?;

        let store = self.config.store();
        files::clean(&store, &self.record, state.get());
        let mut held = Vec::new();
        let mut missing = Vec::new();
        for (pin, ending) in files::payloads(state.get()) {
            match files::held(&store, pin, ending).await {
                Some(payload) => held.push(payload),
                None => missing.push((pin, ending)),
            }
        }
        let bytes = missing.iter().map(|(pin, _)| pin.length).fold(0, u64::saturating_add);
        files::check_space(&store, bytes)?;
        for (pin, ending) in missing {
            let fetched = self.guard(self.fetch(&trusted, &seen, pin, ending, bytes)).await?;
            self.pace.progress(None);
            held.push(fetched.map_err(|fault| self.judge(fault))?);
        }
        let files: Vec<String> = held.iter().map(|held| held.pin().sha256.clone()).collect();
        if self.record.action.as_ref().is_some_and(|action| action.files != files) {
            self.change(|action| action.files = files)?;
        }
        self.advance(Step::Verified).await?;
        if self.handling.1 == Handling::Skip && self.step().rank() < ACTIVE {
            return Err(Halt::Later(closed_window("update")));
        }
        Ok(Verified { state, held })
    }

    /// The repository's metadata, as it is now.
    pub(super) async fn trusted(&self) -> Result<(Trusted, Arc<Seen>), Fault> {
        let root = std::fs::read(&self.config.root).map_err(|error| {
            let reason = format!("{}: {error}: provision the box with the region's root", self.config.root.display());
            Fault::new("root-missing", Blame::Configuration, reason)
        })?;
        let source = Source {
            metadata: self.config.metadata.clone(),
            targets: self.config.targets.clone(),
            root,
            datastore: self.config.tuf(),
        };
        let transport = self.http.transport(&self.config);
        let seen = transport.seen();
        let trusted = Trusted::load(&source, transport).await.map_err(|fault| blame_network(fault, &seen))?;
        Ok((trusted, seen))
    }

    async fn fetch(&self, trusted: &Trusted, seen: &Seen, pin: &Pin, ending: &str, all: u64) -> Result<Held, Fault> {
        let store = self.config.store();
        tokio::select! {
            fetched = files::fetch(trusted, &store, pin, ending) => {
                fetched.map_err(|fault| blame_network(fault, seen))
            }
            // Left without a word to who reads the stream: what has come stays in the store, and is taken up again.
            () = self.until_stalled(seen, all) => {
                let why = seen.trouble().unwrap_or_else(|| "the server sends too slowly".to_owned());
                let reason = format!("{} does not come: {why}. It goes on at the next poll", pin.target);
                Err(Fault::new(AWAY, Blame::Channel, reason))
            }
        }
    }

    /// Counts what comes, and ends when hardly anything comes.
    async fn until_stalled(&self, seen: &Seen, all: u64) {
        let rate = self.config.bytes_per_second.map_or(MIN_RATE, |pace| MIN_RATE.min(pace / 2));
        let kilobytes = |bytes: u64| u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let (mut before, mut since) = (seen.bytes(), Instant::now());
        loop {
            let bytes = seen.bytes();
            self.pace.progress(Some(Progress { cnt: kilobytes(bytes), of: Some(kilobytes(all)) }));
            if since.elapsed() >= self.config.stall {
                if bytes - before < rate.saturating_mul(self.config.stall.as_secs()).max(1) {
                    return;
                }
                (before, since) = (bytes, Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What a fault of verification means, by how far the action is.
    fn judge(&self, fault: Fault) -> Halt {
        if fault.code == AWAY {
            return Halt::Later(fault);
        }
        // Expiry stops updates, never what runs; a state that the region no longer lists is another matter.
        if self.step().rank() >= ACTIVE && fault.code != NOT_APPROVED {
            return Halt::Later(fault);
        }
        self.refuse(fault)
    }

    /// Whether the region has withdrawn a state. That it can't be asked now is no withdrawal.
    pub(super) async fn is_withdrawn(&self, trusted: &Trusted, descriptor: &crate::descriptor::Descriptor) -> bool {
        trusted.state(descriptor).await.is_err_and(|fault| fault.code == NOT_APPROVED)
    }
}

/// The network, not the repository.
const AWAY: &str = "channel-away";

/// A fault behind which the network stands is the network's.
fn blame_network(fault: Fault, seen: &Seen) -> Fault {
    match seen.trouble() {
        Some(trouble) => Fault::new(AWAY, Blame::Channel, format!("the repository can't be read now: {trouble}")),
        None => fault,
    }
}

fn closed_window(what: &str) -> Fault {
    let reason = format!("the channel says `{what}: skip`: its window is closed, the box waits");
    Fault::new("window-closed", Blame::Channel, reason)
}
