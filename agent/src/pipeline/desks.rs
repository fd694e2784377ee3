//! Who runs jobs, and what each is at: for the status.
use crate::status::WorkerStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One entry for each thread that runs jobs.
#[derive(Debug, Default)]
pub(super) struct Desks(Mutex<Vec<WorkerStatus>>);

impl Desks {
    /// One more runs jobs, on this GPU; its number.
    pub(super) fn open(&self, device: Option<&str>) -> usize {
        let mut desks = self.lock();
        desks.push(WorkerStatus { device: device.map(str::to_owned), job: None });
        desks.len() - 1
    }

    /// It has taken a job; 0 is no job's number.
    pub(super) fn takes(&self, desk: usize, job: u64) {
        self.is_at(desk, (job != 0).then_some(job));
    }

    /// It has none.
    pub(super) fn is_free(&self, desk: usize) {
        self.is_at(desk, None);
    }

    /// All of them, in the order of their devices.
    pub(super) fn all(&self) -> Vec<WorkerStatus> {
        let mut all = self.lock().clone();
        all.sort_by(|a, b| a.device.cmp(&b.device));
        all
    }

    fn is_at(&self, desk: usize, job: Option<u64>) {
        if let Some(desk) = self.lock().get_mut(desk) {
            desk.job = job;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<WorkerStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
