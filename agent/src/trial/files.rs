//! The DICOM files of a folder.
use crate::dataset::{Header, part10};
use crate::fault::{Blame, Fault};
use crate::limits::trial::{MAX_DEPTH, MAX_FILES};
use dicom_dictionary_std::tags;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// A DICOM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// DICOM files (PS3.10) with a study and a series, in the order of their paths.
    pub files: Vec<SourceFile>,
    /// The others, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

impl Found {
    /// Studies by their UID, in the order of their first files.
    pub fn studies(&self) -> Vec<&str> {
        let mut known = BTreeSet::new();
        self.files.iter().map(|file| file.study.as_str()).filter(|study| known.insert(*study)).collect()
    }
}

/// Finds the DICOM files below a folder; `each` sees the header of every one. Symbolic links are not followed. DICOMDIR and
/// files of other kinds are skipped and told.
pub fn find(folder: &Path, each: &mut dyn FnMut(&SourceFile, Header)) -> Result<Found, Fault> {
    let mut paths = Vec::new();
    walk(folder, 0, &mut paths)?;
    paths.sort();
    let mut found = Found::default();
    for path in paths {
        let image = match is_part10(&path).and_then(|()| part10::read_file(&path)) {
            Ok(image) => image,
            Err(fault) => {
                found.skipped.push((path, fault.reason));
                continue;
            }
        };
        let uid = |tag| image.header.text(tag);
        match (uid(tags::STUDY_INSTANCE_UID), uid(tags::SERIES_INSTANCE_UID)) {
            (Some(study), Some(series)) => {
                let file = SourceFile { path, study, series };
                each(&file, image.header);
                found.files.push(file);
            }
            _ => found.skipped.push((path, "it has no Study or Series Instance UID".to_owned())),
        }
    }
    if found.files.is_empty() {
        let reason = format!("there is no DICOM file below {}", folder.display());
        return Err(Fault::new("file-not-dicom", Blame::Peer, reason));
    }
    Ok(found)
}

/// Looks at the prefix alone (PS3.10 7.1), so that a large file of another kind is not read.
fn is_part10(path: &Path) -> Result<(), Fault> {
    let mut start = [0; 132];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match read {
        Ok(()) if start.ends_with(b"DICM") => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            Err(Fault::new("file-unreadable", Blame::Box, format!("{}: {error}", path.display())))
        }
        _ => Err(Fault::new("file-not-dicom", Blame::Peer, "this is not a DICOM file: the prefix DICM is absent")),
    }
}

fn walk(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), Fault> {
    let unreadable = |error: std::io::Error| {
        Fault::new("file-unreadable", Blame::Box, format!("{} cannot be read: {error}", folder.display()))
    };
    let too_much = |what: String| Err(Fault::new("folder-too-large", Blame::Peer, what));
    if depth > MAX_DEPTH {
        return too_much(format!("folders are nested more than {MAX_DEPTH} deep at {}", folder.display()));
    }
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            walk(&entry.path(), depth + 1, paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
        if paths.len() > MAX_FILES {
            return too_much(format!("there are more than {MAX_FILES} files; take a smaller folder"));
        }
    }
    Ok(())
}
