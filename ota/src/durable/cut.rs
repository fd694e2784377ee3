//! A disk for tests. It keeps what was asked of it, and makes every directory that a power cut at any instant could leave behind: what
//! was not synchronized is there, is not there, or is half there, each name and each content for itself.
use super::Disk;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What was asked.
enum Asked {
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDirectory(PathBuf),
}

/// What is asked of it is written down, and nothing else is done.
#[derive(Default)]
pub(crate) struct Cut {
    asked: Vec<Asked>,
}

impl Disk for Cut {
    fn write(&mut self, path: &Path, bytes: &[u8], _mode: u32) -> io::Result<()> {
        self.asked.push(Asked::Write(path.to_owned(), bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        self.asked.push(Asked::Sync(path.to_owned()));
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.asked.push(Asked::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_directory(&mut self, directory: &Path) -> io::Result<()> {
        self.asked.push(Asked::SyncDirectory(directory.to_owned()));
        Ok(())
    }
}

/// What a power cut makes of a content that was not synchronized.
#[derive(Clone, Copy)]
enum Lost {
    /// All of it.
    All,
    /// The second half of it.
    Half,
    /// Its bytes, not its length.
    Bytes,
    /// Nothing.
    Nothing,
}

#[derive(Clone, Default)]
struct Content {
    stable: Vec<u8>,
    written: Vec<u8>,
    is_stable: bool,
}

/// Names and contents, as they were written and as they are on stable storage.
#[derive(Default)]
struct Directory {
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    stable_names: BTreeMap<PathBuf, usize>,
}

/// Runs `write` on files that are on stable storage, cuts the power after each thing that it asks, and has `check` look at each directory
/// that there may be then. Paths are relative to it. Says how many there were.
pub(crate) fn after_each_cut(
    before: &[(&str, &[u8])],
    write: impl FnOnce(&mut Cut) -> io::Result<()>,
    mut check: impl FnMut(&Path),
) -> usize {
    let mut cut = Cut::default();
    write(&mut cut).expect("this disk takes all");
    let mut states = 0;
    for count in 0..=cut.asked.len() {
        let mut directory = Directory::of(before);
        cut.asked[..count].iter().for_each(|asked| directory.take(asked));
        for names in [&directory.names, &directory.stable_names] {
            for lost in [Lost::All, Lost::Half, Lost::Bytes, Lost::Nothing] {
                let place = tempfile::tempdir().expect("a directory");
                for (name, content) in names {
                    let path = place.path().join(name);
                    std::fs::create_dir_all(path.parent().expect("it lies somewhere")).expect("a directory");
                    std::fs::write(path, directory.contents[*content].after(lost)).expect("a file");
                }
                check(place.path());
                states += 1;
            }
        }
    }
    states
}

impl Directory {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let mut directory = Self::default();
        for (name, bytes) in files {
            directory.names.insert(PathBuf::from(name), directory.contents.len());
            let (stable, written) = (bytes.to_vec(), bytes.to_vec());
            directory.contents.push(Content { stable, written, is_stable: true });
        }
        directory.stable_names = directory.names.clone();
        directory
    }

    fn take(&mut self, asked: &Asked) {
        match asked {
            Asked::Write(path, bytes) => {
                let new = self.contents.len();
                let content = *self.names.entry(path.clone()).or_insert(new);
                if content == new {
                    self.contents.push(Content::default());
                }
                let content = &mut self.contents[content];
                (content.written, content.is_stable) = (bytes.clone(), false);
            }
            Asked::Sync(path) => {
                let content = &mut self.contents[self.names[path]];
                (content.stable, content.is_stable) = (content.written.clone(), true);
            }
            Asked::Rename(from, to) => {
                let content = self.names.remove(from).expect("what is renamed was written");
                self.names.insert(to.clone(), content);
            }
            Asked::SyncDirectory(directory) => {
                let is_in = |path: &PathBuf| path.parent() == Some(directory);
                self.stable_names.retain(|path, _| !is_in(path));
                let now = self.names.iter().filter(|(path, _)| is_in(path));
                self.stable_names.extend(now.map(|(path, content)| (path.clone(), *content)));
            }
        }
    }
}

impl Content {
    fn after(&self, lost: Lost) -> Vec<u8> {
        match lost {
            _ if self.is_stable => self.stable.clone(),
            Lost::All => self.stable.clone(),
            Lost::Half => self.written[..self.written.len() / 2].to_vec(),
            Lost::Bytes => vec![0; self.written.len()],
            Lost::Nothing => self.written.clone(),
        }
    }
}
