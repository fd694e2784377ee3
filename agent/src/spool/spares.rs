//! Files that are made, or kept, before they are needed: a segment's blocks are written once before its first frame.
use super::SpoolError;
use super::io::{SpoolFile, SpoolIo};
use super::shared::exclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const PREFIX: &str = "spare-";
/// Used segments that are kept for their next use. To make one costs the disk as much as to fill it; to keep one is free.
const KEPT: usize = 8;

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
    /// Part of the names of what this process makes: a spare of an earlier one may be taken, and being filled, under its
    /// old name still, and a file that is made under that name would overwrite it.
    series: String,
    ready: Mutex<Vec<String>>,
    coming: AtomicUsize,
}

/// Most spares where so many are made ahead.
pub(super) fn kept(made: usize) -> usize {
    if made == 0 { 0 } else { made.max(KEPT) }
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
        let series = format!("{:016x}", u64::from_be_bytes(super::key::random()?));
        let shelf = Arc::new(Shelf { io, size, most, series, ready: Mutex::new(found), coming: AtomicUsize::new(0) });
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
        (size == self.shelf.size && self.count() < kept(self.shelf.most)).then(|| format!("{PREFIX}{number:012}.log"))
    }

    /// Takes in a file that has got the name from [`Spares::room`].
    pub(super) fn give(&self, name: String) {
        exclusive(&self.shelf.ready).push(name);
    }
}

impl Shelf {
    fn make(&self, asked: &Receiver<()>) {
        for (number, ()) in asked.iter().enumerate() {
            let name = format!("{PREFIX}{}-{number:07}.log", self.series);
            if self.io.create(&name, self.size, true).is_ok() {
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

#[cfg(test)]
mod tests {
    use super::super::DiskIo;
    use super::*;

    /// Asks for one, and waits until it is made.
    fn made(spares: &Spares) -> (String, Arc<dyn SpoolFile>) {
        spares.ask();
        loop {
            if let Some(spare) = spares.take() {
                return spare;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_spare_never_gets_the_name_of_one_that_is_in_use_since_an_earlier_start() {
        let folder = tempfile::tempdir().unwrap();
        let io: Arc<dyn SpoolIo> = Arc::new(DiskIo::new(folder.path()).unwrap());
        let open = || Spares::open(Arc::clone(&io), 8192, 2, Vec::new(), true).unwrap();
        let (taken, file) = made(&open());
        file.write_at(0, &[b"a segment's first record"]).unwrap();
        let (other, _) = made(&open());
        assert_ne!(taken, other);
        let mut text = [0; 24];
        file.read_at(0, &mut text).unwrap();
        assert_eq!(&text, b"a segment's first record");
    }
}
