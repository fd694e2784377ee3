//! Kernels that TensorRT-RTX compiled for this GPU, kept from one start to the next: a file for each plan, whose first 32 bytes
//! are the SHA-256 of the rest. A file that is torn or of another plan, GPU or version is as none.
use crate::hex::hex;
use ring::digest::{SHA256, digest};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use sund_kernels::device::KeptKernels;
use sund_kernels::tensorrt::MAX_CACHE;

const DIGEST: usize = 32;

/// A folder that the worker alone writes.
pub(super) struct Cache {
    folder: PathBuf,
    /// Version and GPU: kernels of another are of no use.
    suffix: String,
}

impl Cache {
    pub(super) fn new(folder: &Path, suffix: &str) -> Self {
        Self { folder: folder.to_owned(), suffix: suffix.to_owned() }
    }

    fn file(&self, plan: &[u8]) -> PathBuf {
        self.folder.join(format!("{}-{}.kernels", hex(digest(&SHA256, plan).as_ref()), self.suffix))
    }
}

impl KeptKernels for Cache {
    /// What was kept of a plan; empty where there is nothing whole.
    fn load(&self, plan: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let limit = (DIGEST + MAX_CACHE) as u64 + 1;
        let read = File::open(self.file(plan)).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        match (read, bytes.split_first_chunk::<DIGEST>()) {
            (Ok(_), Some((sum, kernels)))
                if kernels.len() <= MAX_CACHE && *sum == *digest(&SHA256, kernels).as_ref() =>
            {
                kernels.to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// Keeps kernels. Where that fails they are compiled again at the next start, and the log says so.
    fn store(&self, plan: &[u8], kernels: &[u8]) {
        let store = || {
            std::fs::create_dir_all(&self.folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(digest(&SHA256, kernels).as_ref())?;
            file.write_all(kernels)?;
            file.persist(self.file(plan)).map_err(|error| error.error)?;
            std::io::Result::Ok(())
        };
        if let Err(error) = store() {
            tracing::warn!(%error, folder = %self.folder.display(), "compiled kernels cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_come_back_for_their_plan_gpu_and_version_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(&folder.path().join("kernels"), "1.7.1-sm89");
        assert_eq!(cache.load(b"plan"), b"");
        cache.store(b"plan", b"kernels");
        assert_eq!(cache.load(b"plan"), b"kernels");
        assert_eq!(cache.load(b"another plan"), b"");
        assert_eq!(Cache::new(&folder.path().join("kernels"), "1.7.1-sm120").load(b"plan"), b"");
        cache.store(b"plan", b"more kernels");
        assert_eq!(cache.load(b"plan"), b"more kernels");
    }

    #[test]
    fn a_torn_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "1.7.1-sm89");
        cache.store(b"plan", b"kernels");
        let whole = std::fs::read(cache.file(b"plan")).unwrap();
        for length in 0..whole.len() {
            std::fs::write(cache.file(b"plan"), &whole[..length]).unwrap();
            assert_eq!(cache.load(b"plan"), b"", "{length} bytes of {}", whole.len());
        }
        std::fs::write(cache.file(b"plan"), [&whole[..], b"s"].concat()).unwrap();
        assert_eq!(cache.load(b"plan"), b"");
    }

    #[test]
    fn a_folder_that_cannot_be_made_costs_the_cache_and_nothing_more() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::new(file.path(), "1.7.1-sm89");
        cache.store(b"plan", b"kernels");
        assert_eq!(cache.load(b"plan"), b"");
    }
}
