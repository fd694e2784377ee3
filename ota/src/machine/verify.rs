//! Candidate → Verified: the region lists the state now, and all of its payload is on this box.
use super::files::{self, Held};
use super::system::LOOK;
use super::{ACTIVE, Candidate, Halt, Machine, Verified};
use crate::ddi::Progress;
use crate::descriptor::Descriptor;
use crate::documents::{VENDORS, VendorKeys, Vendors};
use crate::fault::{Blame, Fault};
use crate::limits::MAX_STATE;
use crate::limits::transfer::MIRROR_PATIENCE;
use crate::machine::record::{Slot, Step};
use crate::rauc;
use crate::state::{DesiredState, Pin};
use crate::trust::{Doubted, Source, Trusted};
use std::sync::atomic::{AtomicU64, Ordering};

/// What trust says where a target is not listed by its role, or not under that hash, or is for other boxes.
const NOT_APPROVED: [&str; 3] = ["target-not-approved", "wrong-role", "state-not-for-this-box"];
/// What trust says of a state that does not fit together with what is listed.
const CONTRADICTIONS: [&str; 4] = ["os-manifest-differs", "os-manifest-not-fixed", "state-invalid", "state-format"];
/// What says nothing about the state that an action names: the line, the store, a mirror that is behind, the clock. It passes, or somebody
/// sets it right, and the action goes on.
const MOMENTARY: [&str; 12] = [
    "store-unreachable",
    "store-failed",
    "store-incomplete",
    "slow-data",
    "clock-set-back",
    "clock-before-build",
    "root-rolled-back",
    "timestamp-rolled-back",
    "snapshot-rolled-back",
    "targets-rolled-back",
    "role-rolled-back",
    "seen-damaged",
];

impl Machine {
    pub(super) async fn verify(&mut self, candidate: Candidate) -> Result<Verified, Halt> {
        match Box::pin(self.verify_now(&candidate)).await {
            Err(Halt::Later(fault)) if self.is_underway() => self.verified_before(&candidate, fault).await,
            verified => verified,
        }
    }

    async fn verify_now(&mut self, candidate: &Candidate) -> Result<Verified, Halt> {
        self.heed_download()?;
        let opened = self.guard(self.repository(&candidate.descriptor)).await?;
        let trusted = opened.map_err(|fault| self.judge(fault))?;
        let arrived = trusted.arrived();
        self.heed_suspensions(&trusted).await;
        if !self.is_begun() {
            self.heed_stop()?;
        }
        let state = self
            .guard(trusted.state_for(&self.config.id, &candidate.descriptor))
            .await?
            .map_err(|fault| self.judge(fault))?;
        let vendors = self.guard(pinned(&trusted, state.get())).await?.map_err(|fault| self.judge(fault))?;
        let image = state.get().os.as_ref().map(|os| trusted.image(os)).transpose();
        let mut image = image.map_err(|fault| self.judge(fault))?;

        let store = self.config.store();
        let system = self.system_on_stick(state.get());
        // Nothing is removed that the agent may read: while it does not answer, nothing at all.
        if let Ok(status) = self.agent.status().await
            && files::knows(&self.record, status.state.as_ref())
        {
            files::clean(&store, &self.record, state.get(), system);
        }
        let missing = files::missing(&store, files::payloads(state.get()).chain(system));
        files::check_space(&store, missing).map_err(|fault| self.judge(fault))?;
        arrived.store(0, Ordering::Relaxed);
        let (document, ending) = files::document(&candidate.descriptor);
        let fetched = self.guard(async {
            let mut held = Vec::new();
            for (pin, ending) in std::iter::once((&document, ending)).chain(files::payloads(state.get())) {
                held.push(self.fetch(&trusted, pin, ending, &arrived, missing).await?);
            }
            Ok::<_, Fault>(held)
        });
        let held = fetched.await?.map_err(|fault| self.judge(fault))?;
        if let (Some((pin, ending)), Some(os)) = (system, &state.get().os) {
            let fetched = self.guard(self.fetch(&trusted, pin, ending, &arrived, missing)).await?;
            let file = fetched.and_then(|held| trusted.image_in(os, held.file()));
            image = Some(file.map_err(|fault| self.judge(fault))?);
        }
        self.pace.progress(None);
        let files: Vec<String> = held.iter().map(|held| held.pin().sha256.clone()).collect();
        if self.record.action.as_ref().is_some_and(|action| action.files != files || action.vendors != vendors) {
            let vendors = vendors.clone();
            self.change(|action| (action.files, action.vendors) = (files, vendors))?;
        }
        self.advance(Step::Verified).await?;
        if !self.is_begun() {
            self.heed_stop()?;
        }
        self.heed_window()?;
        Ok(Verified { state, image: image.map(Ok), held, vendors, unasked: None })
    }

    /// What has changed the box is brought to its end by what was verified when it was begun.
    async fn verified_before(&self, candidate: &Candidate, unasked: Fault) -> Result<Verified, Halt> {
        tracing::warn!(target: "audit", action = self.action_id(), state = self.state_name(), code = %unasked.code, "the region can't be asked: what was verified before counts");
        let store = self.config.store();
        let state = files::state_before(&store, &candidate.descriptor).map_err(Halt::Later)?;
        let mut held = Vec::new();
        for (pin, ending) in files::payloads(state.get()) {
            held.push(files::before(&store, pin, ending).await.map_err(Halt::Later)?);
        }
        let image = state.get().os.as_ref().map(|_| Err(unasked.clone()));
        let vendors = self.record.action.as_ref().and_then(|action| action.vendors.clone());
        Ok(Verified { state, image, held, vendors, unasked: Some(unasked) })
    }

    /// The repository's metadata, as it is now.
    pub(super) async fn trusted(&self) -> Result<Trusted, Fault> {
        let source = self.source()?;
        let _one_at_a_time = self.metadata.lock().await;
        // Boxed: the largest of all futures here.
        Box::pin(Trusted::load(&source, self.http.transport(&self.config))).await
    }

    /// The same where it was refused for its age alone, and holds in all else.
    pub(super) async fn doubted(&self, refused: &Fault) -> Option<Doubted> {
        let source = self.source().ok().filter(|_| Doubted::is_due(refused))?;
        let _one_at_a_time = self.metadata.lock().await;
        Box::pin(Doubted::load(&source, self.http.transport(&self.config))).await.ok()
    }

    fn source(&self) -> Result<Source, Fault> {
        Ok(Source {
            metadata: self.config.metadata.clone(),
            targets: self.config.targets.clone(),
            root: self.root()?,
            datastore: self.config.tuf(),
        })
    }

    /// The root that this box was provisioned with.
    pub(super) fn root(&self) -> Result<Vec<u8>, Fault> {
        std::fs::read(&self.config.root).map_err(|error| {
            let reason = format!("{}: {error}: provision the box with the region's root", self.config.root.display());
            Fault::new("root-missing", Blame::Configuration, reason)
        })
    }

    /// The operating system of a state on a stick, where it has yet to be installed: RAUC gets a file that was hashed whole, as nothing
    /// can be streamed.
    fn system_on_stick<'a>(&self, state: &'a DesiredState) -> Option<(&'a Pin, &'static str)> {
        let (os, config) = (state.os.as_ref()?, self.config.os.as_ref()?);
        let is_installed = self.os_trial().is_some_and(|trial| trial.slot != Slot::Writing)
            || rauc::running(config).is_ok_and(|running| running.version == os.version);
        (self.is_from_stick() && !is_installed).then_some((&os.bundle, "raucb"))
    }

    /// One payload, while it is counted what comes.
    async fn fetch(
        &self,
        trusted: &Trusted,
        pin: &Pin,
        ending: &str,
        arrived: &AtomicU64,
        all: u64,
    ) -> Result<Held, Fault> {
        let store = self.config.store();
        let mut fetched = std::pin::pin!(files::fetch(trusted, &store, pin, ending));
        loop {
            tokio::select! {
                fetched = &mut fetched => return fetched,
                () = tokio::time::sleep(LOOK) => {
                    let kilobytes = |bytes: u64| u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
                    let done = kilobytes(arrived.load(Ordering::Relaxed).min(all));
                    self.pace.progress(Some(Progress { cnt: done, of: Some(kilobytes(all)) }));
                    self.note_now();
                }
            }
        }
    }

    /// What a fault of verification means, by how far the action is.
    pub(super) fn judge(&self, fault: Fault) -> Halt {
        // Nothing passes for a bundle: it does not come back by itself, and a system on trial whose bundle is over or gone is given up.
        let is_from_stick = self.is_from_stick();
        // Expiry stops updates for as long as it lasts, and never what runs.
        let passes = MOMENTARY.contains(&fault.code.as_ref()) || fault.updates_stopped_since.is_some();
        if passes && !is_from_stick {
            return Halt::Later(fault);
        }
        if fault.code == "target-not-approved" && !is_from_stick && self.mirror_may_be_behind() {
            return Halt::Later(fault);
        }
        // What serves, or is tried, is no worse for what a store shows in place of what it should, nor for this box's disk; that the region
        // lists it no longer, or otherwise, is another matter.
        let is_tried = self.is_begun() || self.is_os_started();
        let goes_on = self.step().rank() >= ACTIVE || is_tried && !is_from_stick;
        if goes_on && !self.is_the_regions_word(&fault) {
            return Halt::Later(fault);
        }
        self.refuse(fault)
    }

    /// Whether the repository lies elsewhere than the server that named the state, and may not have it yet.
    fn mirror_may_be_behind(&self) -> bool {
        let is_mirror = self.config.metadata.origin() != self.config.server.origin();
        let since = self.record.action.as_ref().filter(|action| matches!(action.step, Step::Candidate));
        is_mirror && since.is_some_and(|action| (0..MIRROR_PATIENCE).contains(&(super::now() - action.since)))
    }

    /// Whether a fault is what the region has signed about the state in hand, and no doing of who brings it.
    fn is_the_regions_word(&self, fault: &Fault) -> bool {
        is_not_approved(fault) || self.step().rank() < ACTIVE && CONTRADICTIONS.contains(&fault.code.as_ref())
    }

    /// What trust says where the region has withdrawn a state, or has none of it for this box. That it can't be asked now is no withdrawal.
    pub(super) async fn withdrawal(&self, trusted: &Trusted, descriptor: &Descriptor) -> Option<Fault> {
        trusted.state_for(&self.config.id, descriptor).await.err().filter(is_not_approved)
    }

    /// The same in a repository of doubted age.
    pub(super) async fn doubted_withdrawal(&self, doubted: &Doubted, descriptor: &Descriptor) -> Option<Fault> {
        doubted.refusal(&self.config.id, descriptor).await.filter(is_not_approved)
    }

    /// Whether the state is on trial already, or its system waits in the other slot.
    fn is_begun(&self) -> bool {
        self.step().rank() > Step::Verified.rank()
    }
}

/// The keys that the region pins for the vendors of a state's models; `None` where it lists none of anybody.
async fn pinned(trusted: &Trusted, state: &DesiredState) -> Result<Option<VendorKeys>, Fault> {
    let document = trusted.document(VENDORS, MAX_STATE).await?;
    let vendors = document.map(|document| Vendors::parse(document.get())).transpose()?;
    let targets = || state.models.iter().map(|model| model.package.target.as_str());
    Ok(vendors.map(|vendors| vendors.keys_for(targets())))
}

/// Whether the region lists it no more, or not so.
pub(super) fn is_not_approved(fault: &Fault) -> bool {
    NOT_APPROVED.contains(&fault.code.as_ref())
}

/// Whether the region has withdrawn a target. That it can't be asked now is no withdrawal.
pub(super) fn is_withdrawn(trusted: &Trusted, pin: &Pin) -> bool {
    trusted.listed(pin).is_err_and(|fault| is_not_approved(&fault))
}
