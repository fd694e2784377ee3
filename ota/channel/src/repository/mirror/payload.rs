//! The payloads of a mirror: each is gone on with where the line broke, hashed over all of it, and named only then.
use super::origin::{Origin, chunk};
use crate::repository::files;
use crate::repository::limits::RESERVE;
use crate::repository::store;
use aws_lc_rs::digest::{Context, SHA256};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::MAX_STATE;
use tough::schema::Target;

/// Whether what is missing of a payload fits beside what metadata and documents need: on a disk that is full nothing that the region says could be
/// shown any more. The documents themselves are small, and may take of that.
pub(super) fn has_room(targets: &Path, target: &str, listed: &Target) -> Result<(), Fault> {
    if listed.length <= MAX_STATE {
        return Ok(());
    }
    let part = targets.join(store::place(target, &store::sha256_of(listed))).with_added_extension("part");
    let missing = listed.length.saturating_sub(fs::metadata(part).map_or(0, |part| part.len()));
    let room = files::room(targets)?;
    if room >= missing.saturating_add(RESERVE) {
        return Ok(());
    }
    let reason = format!(
        "{missing} bytes of {target} are missing and the disk has {room} left, of which {RESERVE} are kept for the metadata: make room, or give \
         the copy a larger disk"
    );
    Err(Fault::new("disk-full", Blame::Box, reason))
}

/// Fetches a payload, and puts it in the place of what is there.
pub(super) async fn fetch(
    origin: &Origin<'_>,
    targets: &Path,
    target: &str,
    listed: &Target,
    max: u64,
) -> Result<(), Fault> {
    let place = store::place(target, &store::sha256_of(listed));
    let path = targets.join(&place);
    let refused =
        |why: &str| Fault::new("origin-altered", Blame::Channel, format!("{target} from {}: {why}", origin.base));
    if listed.length > max {
        return Err(refused("it is larger than it may be"));
    }
    let mut part = Part::open(&path)?;
    if part.length > listed.length {
        part.begin_anew()?;
    }
    let was_begun = part.length > 0;
    if part.length < listed.length {
        let mut response = origin.get(&format!("targets/{place}"), part.length).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Err(refused("it is listed and not there")),
            StatusCode::PARTIAL_CONTENT if goes_on(&response, part.length) => {}
            // An origin that knows no ranges sends all of it.
            StatusCode::OK => part.begin_anew()?,
            _ => {
                part.begin_anew()?;
                return Box::pin(fetch(origin, targets, target, listed, max)).await;
            }
        }
        while let Some(bytes) = chunk(&mut response).await? {
            if part.length + bytes.len() as u64 > listed.length {
                part.begin_anew()?;
                return Err(refused("it is longer than listed"));
            }
            part.append(&bytes)?;
        }
    }
    if part.length < listed.length {
        return Err(refused("it is shorter than listed"));
    }
    if part.digest.clone().finish().as_ref() == listed.hashes.sha256.as_ref() {
        return part.name(&path);
    }
    part.begin_anew()?;
    if was_begun {
        // What lay there, after a power cut perhaps, says nothing of the origin.
        return Box::pin(fetch(origin, targets, target, listed, max)).await;
    }
    Err(refused("it is not what was signed"))
}

/// Length and hash of a file from where it stands on.
fn hashed(file: &mut File) -> io::Result<(u64, Context)> {
    let mut hashed = Hashed(Context::new(&SHA256));
    let length = io::copy(file, &mut hashed)?;
    Ok((length, hashed.0))
}

/// Whether an answer is the rest of a file from an offset on.
fn goes_on(response: &Response, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

/// What is there of a payload, beside the place where all of it will lie.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    digest: Context,
}

/// What a mirror writes, to be hashed as it is read again.
struct Hashed(Context);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Part {
    /// What an earlier run has fetched is hashed again.
    fn open(path: &Path) -> Result<Self, Fault> {
        let path = path.with_added_extension("part");
        let read = || -> io::Result<(File, u64, Context)> {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut file = File::options().read(true).append(true).create(true).open(&path)?;
            if let Ok((length, digest)) = hashed(&mut file) {
                return Ok((file, length, digest));
            }
            // What can't be read is begun anew.
            file.set_len(0)?;
            Ok((file, 0, Context::new(&SHA256)))
        };
        let (file, length, digest) = read().map_err(|error| files::disk("read", &path, &error))?;
        Ok(Self { path, file, length, digest })
    }

    fn begin_anew(&mut self) -> Result<(), Fault> {
        self.file.set_len(0).map_err(|error| files::disk("written", &self.path, &error))?;
        (self.length, self.digest) = (0, Context::new(&SHA256));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let Err(error) = self.file.write_all(bytes) {
            if error.kind() == io::ErrorKind::StorageFull {
                // Something else has filled the disk meanwhile: what the region says has to fit there all the same.
                self.begin_anew()?;
            }
            return Err(files::disk("written", &self.path, &error));
        }
        self.length += bytes.len() as u64;
        self.digest.update(bytes);
        Ok(())
    }

    /// All of it is on the disk before it has its name.
    fn name(self, path: &Path) -> Result<(), Fault> {
        let named = self.file.sync_all().and_then(|()| fs::rename(&self.path, path));
        named.and_then(|()| files::sync_directory(path)).map_err(|error| files::disk("written", &self.path, &error))
    }
}
