//! A large target on its way into the box's store: it goes on where it stopped, after a broken line as after SIGKILL, and lies
//! under its name only when all of it is durable and has the listed hash.
use super::store::{self, Store};
use super::transport::Trouble;
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::transfer;
use crate::state::Pin;
use aws_lc_rs::digest::{Context, SHA256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// Fetches `pin` to `into`. What lies there already is taken when it is the very file.
pub(super) async fn fetch(store: &Store, pin: &Pin, into: &Path) -> Result<(), Fault> {
    if holds(into, pin).await? {
        return Ok(());
    }
    let mut part = Part::open(into, pin).await?;
    check_space(into, pin.length - part.length)?;
    let went_on = part.length > 0;
    let mut held = complete(store, pin, &mut part).await;
    // What stood here before may be the torn one: once more from the beginning, before the store is blamed.
    if went_on && held.as_ref().is_err_and(is_another) {
        part.cut().await?;
        held = complete(store, pin, &mut part).await;
    }
    match held {
        Ok(()) => part.keep(into).await,
        Err(fault) => {
            if is_another(&fault) {
                part.discard().await?;
            } else {
                part.sync().await?;
            }
            Err(fault)
        }
    }
}

/// Whether what came is not the target: nothing of that is gone on with.
fn is_another(fault: &Fault) -> bool {
    matches!(fault.code.as_ref(), "target-altered" | "target-truncated" | "endless-data")
}

/// Brings the part to the listed length and checks its hash (TUF 5.7.3), over all of it, from wherever it came.
async fn complete(store: &Store, pin: &Pin, part: &mut Part) -> Result<(), Fault> {
    arrive(store, pin, part).await?;
    if part.digest() == pin.sha256 { Ok(()) } else { Err(store::altered(&pin.target)) }
}

async fn arrive(store: &Store, pin: &Pin, part: &mut Part) -> Result<(), Fault> {
    let url = store.address(&pin.target, &pin.sha256)?;
    let mut resumes = 0;
    // A part that is complete already is asked for no more: a server answers that with 416.
    while part.length < pin.length {
        let before = part.length;
        match stretch(store, &url, pin, part).await {
            Ok(()) if part.length == pin.length => {}
            Ok(()) => return Err(store::truncated(&pin.target, part.length, pin.length)),
            Err(Stretch::Fault(fault)) => return Err(fault),
            // A line that broke after it brought something is taken up again at once.
            Err(Stretch::Trouble(Trouble::Broken(_))) if part.length > before && resumes < transfer::MAX_RESUMES => {
                resumes += 1;
            }
            Err(Stretch::Trouble(trouble)) => return Err(trouble.fault(&pin.target)),
        }
    }
    Ok(())
}

enum Stretch {
    Trouble(Trouble),
    Fault(Fault),
}

impl From<Trouble> for Stretch {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Fault> for Stretch {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One connection's worth.
async fn stretch(store: &Store, url: &url::Url, pin: &Pin, part: &mut Part) -> Result<(), Stretch> {
    let mut body = store.transport.open(url, part.length).await?;
    if body.from() != part.length {
        part.cut().await?;
    }
    let left = pin.length - part.length;
    match body.announced() {
        Some(announced) if announced > left => return Err(store::altered(&pin.target).into()),
        Some(announced) if announced < left => {
            return Err(store::truncated(&pin.target, part.length + announced, pin.length).into());
        }
        _ => {}
    }
    while let Some(bytes) = body.next().await? {
        if part.length + bytes.len() as u64 > pin.length {
            return Err(store::endless(&pin.target, pin.length).into());
        }
        part.append(&bytes).await?;
    }
    Ok(())
}

/// What has arrived so far.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    digest: Context,
}

impl Part {
    async fn open(into: &Path, pin: &Pin) -> Result<Self, Fault> {
        let path = into.with_extension("part");
        let failed = |error: std::io::Error| disk_failed(&path, &error);
        if let Some(directory) = into.parent() {
            tokio::fs::create_dir_all(directory).await.map_err(failed)?;
        }
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).await.map_err(failed)?;
        let (mut length, digest) = read_through(&mut file).await.map_err(failed)?;
        if length > pin.length {
            length = 0;
        }
        let mut part = Self { path, file, length, digest };
        if length == 0 {
            part.cut().await?;
        }
        Ok(part)
    }

    /// Cuts it back to nothing.
    async fn cut(&mut self) -> Result<(), Fault> {
        let cut = async {
            self.file.flush().await?;
            self.file.set_len(0).await?;
            self.file.rewind().await
        };
        cut.await.map_err(|error| disk_failed(&self.path, &error))?;
        self.length = 0;
        self.digest = Context::new(&SHA256);
        Ok(())
    }

    async fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).await.map_err(|error| disk_failed(&self.path, &error))?;
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn digest(&self) -> String {
        hex(self.digest.clone().finish().as_ref())
    }

    async fn sync(&mut self) -> Result<(), Fault> {
        let synced = async {
            self.file.flush().await?;
            self.file.sync_all().await
        };
        synced.await.map_err(|error| disk_failed(&self.path, &error))
    }

    async fn discard(self) -> Result<(), Fault> {
        tokio::fs::remove_file(&self.path).await.map_err(|error| disk_failed(&self.path, &error))
    }

    /// Gives it its name: file first, name then, directory last.
    async fn keep(mut self, into: &Path) -> Result<(), Fault> {
        // What was written is with the system; its synchronization is part of what gives the name.
        self.file.flush().await.map_err(|error| disk_failed(&self.path, &error))?;
        let (part, name) = (self.path, into.to_owned());
        let put = tokio::task::spawn_blocking(move || durable::put(&part, &name));
        put.await.map_err(|error| disk_failed(into, &std::io::Error::other(error)))?
    }
}

/// Whether the very target lies there. Its hash is taken again: a disk forgets.
pub(super) async fn holds(path: &Path, pin: &Pin) -> Result<bool, Fault> {
    let mut file = match File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(disk_failed(path, &error)),
    };
    let failed = |error: std::io::Error| disk_failed(path, &error);
    if file.metadata().await.map_err(failed)?.len() != pin.length {
        return Ok(false);
    }
    let (_, digest) = read_through(&mut file).await.map_err(failed)?;
    Ok(hex(digest.finish().as_ref()) == pin.sha256)
}

async fn read_through(file: &mut File) -> std::io::Result<(u64, Context)> {
    let mut digest = Context::new(&SHA256);
    let mut length = 0;
    let mut bytes = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut bytes).await? {
            0 => return Ok((length, digest)),
            count => {
                digest.update(&bytes[..count]);
                length += count as u64;
            }
        }
    }
}

/// Refuses what would fill the disk, before it is begun. What has come already is given its name on a full disk as well.
fn check_space(into: &Path, bytes: u64) -> Result<(), Fault> {
    if bytes == 0 {
        return Ok(());
    }
    let directory = into.parent().unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(directory).map_err(|error| disk_failed(directory, &error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes.saturating_add(transfer::DISK_RESERVE) {
        return Ok(());
    }
    let reason = format!(
        "{bytes} bytes are to come, {free} are free at {} and {} stay free: make room",
        directory.display(),
        transfer::DISK_RESERVE
    );
    Err(Fault::new("disk-full", Blame::Box, reason))
}

fn disk_failed(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new("disk-failed", Blame::Box, format!("{} cannot be read or written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_is_asked_for_no_room_where_nothing_is_to_come() {
        // A file system without a free block.
        let full = Path::new("/proc/target.sund");
        assert_eq!(check_space(full, 0), Ok(()));
        assert_eq!(check_space(full, 1).map_err(|fault| fault.code), Err("disk-full".into()));
    }
}
