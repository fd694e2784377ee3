//! The stand-in PACS: a C-STORE SCP that writes what comes as Part 10 files.
use crate::association::{Association, Intake, IntakeInstance};
use crate::dataset::part10;
use crate::fault::{Blame, Fault};
use crate::instance::{Arrival, StoredInstance};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Writes files to a folder and says so.
pub struct Folder {
    path: PathBuf,
    arrived: mpsc::UnboundedSender<PathBuf>,
    count: AtomicU64,
}

impl Folder {
    /// A PACS that writes to `folder`, and the files as they arrive.
    pub fn new(folder: PathBuf) -> (Self, mpsc::UnboundedReceiver<PathBuf>) {
        let (arrived, files) = mpsc::unbounded_channel();
        (Self { path: folder, arrived, count: AtomicU64::new(1) }, files)
    }
}

/// A file on its way.
pub struct Writing {
    folder: PathBuf,
    number: u64,
    arrived: mpsc::UnboundedSender<PathBuf>,
    bytes: Vec<u8>,
}

impl Intake for Folder {
    type Instance = Writing;

    fn begin(&self, _: &Association, _: &str, _: &str) -> Result<Writing, Fault> {
        Ok(Writing {
            folder: self.path.clone(),
            number: self.count.fetch_add(1, Ordering::Relaxed),
            arrived: self.arrived.clone(),
            bytes: Vec::new(),
        })
    }
}

impl IntakeInstance for Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    async fn commit(self, arrival: Arrival) -> Result<StoredInstance, Fault> {
        let kind = match arrival.sop_class.as_str() {
            "1.2.840.10008.5.1.4.1.1.66.4" => "seg",
            "1.2.840.10008.5.1.4.1.1.88.34" => "sr",
            "1.2.840.10008.5.1.4.1.1.7" => "preview",
            _ => "object",
        };
        let path = self.folder.join(format!("{:02}-{kind}.dcm", self.number));
        let file = part10::write(&arrival.sop_class, &arrival.sop_instance, &arrival.transfer_syntax, &self.bytes);
        std::fs::write(&path, file)
            .map_err(|error| Fault::new("folder-unwritable", Blame::Box, format!("{}: {error}", path.display())))?;
        // Nobody listens once the story has ended.
        let _ = self.arrived.send(path);
        Ok(StoredInstance { id: self.number, length: self.bytes.len() as u64, arrival })
    }
}
