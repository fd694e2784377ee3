//! Files that are made, or kept, before they are needed: a segment's blocks are written once before its first frame.
use super::SpoolError;
use super::io::{SpoolFile, SpoolIo};
use super::shared::exclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const PREFIX: &str = "spare-";

/// The spare files, and the thread that makes them.
pub(super) struct Spares {
    shelf: Arc<Shelf>,
    wanted: Option<Sender<()>>,
    maker: Option<JoinHandle<()>>,
}

struct Shelf {
    io: Arc<dyn SpoolIo>,
    size: u64,
    most: usize,
    ready: Mutex<Vec<String>>,
    coming: AtomicUsize,
}

/// True for the name of a spare file.
pub(super) fn is_spare(name: &str) -> bool {
    name.starts_with(PREFIX)
}

impl Spares {
    /// Takes over the spare files that are there; with `maker` a thread makes more of them when asked.
    pub(super) fn open(
        io: Arc<dyn SpoolIo>,
        size: u64,
        most: usize,
        found: Vec<String>,
        maker: bool,
    ) -> Result<Self, SpoolError> {
        let shelf = Arc::new(Shelf { io, size, most, ready: Mutex::new(found), coming: AtomicUsize::new(0) });
        let mut spares = Self { shelf, wanted: None, maker: None };
        if maker {
            let (wanted, asked) = channel();
            let shelf = Arc::clone(&spares.shelf);
            let thread = std::thread::Builder::new().name("spool-spares".into());
            let thread = thread.spawn(move || shelf.make(&asked)).map_err(SpoolError::disk("start a thread"))?;
            (spares.wanted, spares.maker) = (Some(wanted), Some(thread));
        }
        Ok(spares)
    }

    /// Bytes of all spares, those in the making among them.
    pub(super) fn bytes(&self) -> u64 {
        self.count() as u64 * self.shelf.size
    }

    fn count(&self) -> usize {
        exclusive(&self.shelf.ready).len() + self.shelf.coming.load(Ordering::Acquire)
    }

    pub(super) fn any(&self) -> bool {
        !exclusive(&self.shelf.ready).is_empty()
    }

    /// Asks for another one, where there are too few.
    pub(super) fn ask(&self) {
        if let Some(wanted) = &self.wanted
            && self.count() < self.shelf.most
        {
            self.shelf.coming.fetch_add(1, Ordering::AcqRel);
            if wanted.send(()).is_err() {
                self.shelf.coming.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Takes one.
    pub(super) fn take(&self) -> Option<(String, Arc<dyn SpoolFile>)> {
        let name = exclusive(&self.shelf.ready).pop()?;
        let file = self.shelf.io.open(&name).ok()?;
        Some((name, file))
    }

    /// A name under which to keep a file of so many bytes for its next use; `None` where it is not wanted.
    pub(super) fn room(&self, number: u64, size: u64) -> Option<String> {
        (size == self.shelf.size && self.count() < self.shelf.most).then(|| format!("{PREFIX}{number:012}.log"))
    }

    /// Takes in a file that has got the name from [`Spares::room`].
    pub(super) fn give(&self, name: String) {
        exclusive(&self.shelf.ready).push(name);
    }
}

impl Shelf {
    fn make(&self, asked: &Receiver<()>) {
        for (number, ()) in asked.iter().enumerate() {
            let name = format!("{PREFIX}made-{number:07}.log");
            let made = !exclusive(&self.ready).contains(&name) && self.io.create(&name, self.size, true).is_ok();
            if made {
                exclusive(&self.ready).push(name);
            } else {
                // The disk is full, most likely: the segment will be made when it is needed, or not at all.
                let _ = self.io.remove(&name);
            }
            self.coming.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(maker) = self.maker.take() {
            let _ = maker.join();
        }
    }
}
