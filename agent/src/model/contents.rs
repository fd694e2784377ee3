//! Where a package's files are: a folder, as a vendor works on it, or a packed file. Both are read by the same names.
use super::packed::{Archive, List, Listed, altered};
use crate::fault::{Blame, Fault};
use crate::limits::model::MAX_FILES;
use ring::digest::{Context, SHA256};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The files of a package.
#[derive(Clone, Debug)]
pub enum Contents {
    /// A folder.
    Folder(PathBuf),
    /// A packed file, and the path that it was opened by.
    Packed(Arc<Archive>, PathBuf),
}

impl Contents {
    /// Opens a folder, or a packed file.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let unreadable = |error: io::Error| invalid(format!("{} cannot be read: {error}", path.display()));
        // A pipe is not waited for, at whose other end nobody may be: it is no file.
        let at_once = OFlags::NONBLOCK.bits() as i32;
        let file = File::options().read(true).custom_flags(at_once).open(path);
        let archive = file.map_err(unreadable).and_then(Archive::open)?;
        Ok(Self::Packed(Arc::new(archive), path.to_owned()))
    }

    /// Opens what a descriptor is of: its holder needs no right on the path.
    pub fn of_descriptor(descriptor: &OwnedFd) -> Result<Self, Fault> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
        let unreadable = |error: io::Error| invalid(format!("the descriptor cannot be read: {error}"));
        let file = File::from(descriptor.try_clone().map_err(unreadable)?);
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Ok(Self::Folder(path));
        }
        Ok(Self::Packed(Arc::new(Archive::open(file)?), path))
    }

    /// A descriptor for another process.
    pub fn descriptor(&self) -> Result<OwnedFd, Fault> {
        let unreadable = |error: io::Error| invalid(format!("{} cannot be opened: {error}", self.path().display()));
        match self {
            Self::Folder(folder) => Ok(File::open(folder).map_err(unreadable)?.into()),
            Self::Packed(archive, _) => archive.descriptor().as_fd().try_clone_to_owned().map_err(unreadable),
        }
    }

    /// The folder or the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Packed(_, path) => path,
        }
    }

    /// A file of at most so many bytes. Of a packed one, the digest is compared.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, String> {
        match self {
            Self::Folder(folder) => {
                let file = open(folder, name)?;
                let unreadable = |error: io::Error| format!("{name} cannot be read: {error}");
                let length = file.metadata().map_err(unreadable)?.len();
                if length > limit {
                    return Err(format!("{name} has {length} bytes, at most {limit} are taken"));
                }
                let mut bytes = Vec::with_capacity(length as usize);
                file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
                if bytes.len() as u64 > limit { Err(format!("{name} grows while it is read")) } else { Ok(bytes) }
            }
            Self::Packed(archive, _) => archive.read(name, limit),
        }
    }

    /// The SHA-256 of a file of at most so many bytes, which is not held in memory; `read` sees what is summed. Of a packed one,
    /// the list must have this digest.
    pub fn sum(&self, name: &str, limit: u64, read: &mut dyn FnMut(&mut dyn Read)) -> Result<Listed, String> {
        let length = self.length(name);
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(format!("{name} has {length} bytes, at most {limit} are taken"));
        }
        match self {
            Self::Folder(folder) => sum(open(folder, name)?.take(limit), name, read),
            Self::Packed(archive, _) => {
                let (member, listed) = archive.member(name)?;
                let found = sum(member, name, read)?;
                if found == listed { Ok(found) } else { Err(altered(name)) }
            }
        }
    }

    /// A file, open; of a packed one there is none.
    pub fn open_member(&self, name: &str) -> io::Result<File> {
        match self {
            Self::Folder(folder) => open(folder, name).map_err(io::Error::other),
            Self::Packed(..) => Err(io::Error::other("it is packed already")),
        }
    }

    /// The length of a file in bytes.
    pub fn length(&self, name: &str) -> Option<u64> {
        match self {
            Self::Folder(folder) => open(folder, name).ok()?.metadata().ok().map(|meta| meta.len()),
            Self::Packed(archive, _) => archive.length(name),
        }
    }

    /// The files in a folder of the package whose names end in `.dcm`, in order, by their names in the package.
    pub fn dicom_files(&self, folder: &str) -> Result<Vec<String>, String> {
        let mut files = match self {
            Self::Folder(package) => {
                let unreadable = |error: io::Error| format!("{folder} cannot be read: {error}");
                let mut files = Vec::new();
                for entry in std::fs::read_dir(inside(package, folder)?).map_err(unreadable)?.take(MAX_ENTRIES) {
                    let name = entry.map_err(unreadable)?.file_name();
                    let name = name.to_str().ok_or_else(|| format!("{folder} has a file whose name is not UTF-8"))?;
                    files.push(format!("{folder}/{name}"));
                }
                files
            }
            Self::Packed(archive, _) => {
                let is_directly_in =
                    |name: &&str| name.strip_prefix(folder).is_some_and(|rest| rest.rfind('/') == Some(0));
                archive.list().members().map(|(name, _)| name).filter(is_directly_in).map(str::to_owned).collect()
            }
        };
        files.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "dcm"));
        if files.len() > MAX_FILES {
            return Err(format!("{folder} has more than {MAX_FILES} files"));
        }
        files.sort();
        Ok(files)
    }

    /// The list of members: of a folder, as packing these files would make it.
    pub fn list(&self, names: impl Iterator<Item = String>) -> Result<List, String> {
        match self {
            Self::Folder(folder) => {
                let mut members = BTreeMap::new();
                for name in names {
                    members.insert(name.clone(), sum(open(folder, &name)?, &name, &mut |_| {})?);
                }
                List::new(members)
            }
            Self::Packed(archive, _) => {
                let named: std::collections::BTreeSet<String> = names.collect();
                // What nothing names would be signed, and looked at by nobody.
                match archive.list().members().find(|(name, _)| !named.contains(*name)) {
                    Some((name, _)) => Err(format!("{name} is packed, and the manifest does not name it")),
                    None => Ok(archive.list().clone()),
                }
            }
        }
    }
}

/// So much is read at once.
const BUFFER: usize = 1 << 20;
/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 2 * MAX_FILES;

/// Sums what is read through it.
struct Summing<'r> {
    inner: &'r mut dyn Read,
    sum: Context,
}

impl Read for Summing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        self.sum.update(&into[..length]);
        Ok(length)
    }
}

/// Reads a file to its end, and sums it; `read` sees it first, as far as it wants to.
fn sum(mut file: impl Read, name: &str, read: &mut dyn FnMut(&mut dyn Read)) -> Result<Listed, String> {
    let summing = Summing { inner: &mut file, sum: Context::new(&SHA256) };
    let mut buffered = BufReader::with_capacity(BUFFER, summing);
    read(&mut buffered);
    io::copy(&mut buffered, &mut io::sink()).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let sum = buffered.into_inner().sum.finish();
    sum.as_ref().try_into().map_err(|_| format!("{name} has no digest"))
}

/// A file of a package folder, open.
pub(super) fn open(folder: &Path, name: &str) -> Result<File, String> {
    let unreadable = |error: io::Error| format!("{name} cannot be read: {error}");
    let path = inside(folder, name)?;
    // Neither a device nor a pipe, which might never end.
    if !std::fs::metadata(&path).map_err(unreadable)?.is_file() {
        return Err(format!("{name} cannot be read: it is no file"));
    }
    File::open(path).map_err(unreadable)
}

/// A path in the package, which neither leaves it nor follows a link.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let relative = Path::new(name);
    if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(format!("`{name}` is not a path inside the package"));
    }
    let path = folder.join(relative);
    let link = relative
        .ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .any(|part| folder.join(part).symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink()));
    if link { Err(format!("`{name}` is a symbolic link")) } else { Ok(path) }
}

fn invalid(reason: String) -> Fault {
    Fault::new("package-invalid", Blame::Package, reason)
}
