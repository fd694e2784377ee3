//! A store: where metadata and targets lie, read within bounds. What comes out of it is as yet nobody's.
use super::kept::Kept;
use super::paths;
use super::transport::{Transport, Trouble};
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use aws_lc_rs::digest::{SHA256, digest};
use tough::schema::{Metafile, Target};
use url::Url;

/// A store and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) metadata: Url,
    pub(super) targets: Url,
    pub(super) transport: Transport,
    /// What came by it before, where that spares a line.
    pub(super) kept: Option<Kept>,
}

/// How long a file is by the word of its server.
pub(super) async fn length(transport: &Transport, url: &Url) -> Result<Option<u64>, Fault> {
    transport.length(url).await.map_err(|trouble| trouble.fault(url.path()))
}

impl Store {
    /// Metadata of which neither length nor hash is known.
    pub(super) async fn metadata(&self, file: &str, max: u64) -> Result<Vec<u8>, Fault> {
        self.optional_metadata(file, max).await?.ok_or_else(|| Trouble::Missing.fault(file))
    }

    /// The same, where it may not be there.
    pub(super) async fn optional_metadata(&self, file: &str, max: u64) -> Result<Option<Vec<u8>>, Fault> {
        let url = self.metadata_address(file)?;
        match self.whole(&url, max).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Short::Trouble(Trouble::Missing)) => Ok(None),
            Err(short) => Err(short.of_metadata(file, max)),
        }
    }

    /// Metadata that other metadata lists. TUF 5.5.1, 5.6.1: up to the listed length; that of a file that should be larger than
    /// any of its kind was signed by a thief.
    pub(super) async fn listed_metadata(
        &self,
        file: &str,
        role: &str,
        listed: &Metafile,
        max: u64,
    ) -> Result<Vec<u8>, Fault> {
        let mixed = |what: &str| {
            let reason = format!("the metadata of `{role}` ({file}) is not what is listed: its {what} is another");
            Fault::new("metadata-mixed", Blame::Channel, reason)
        };
        let url = self.metadata_address(file)?;
        let length = listed.length.unwrap_or(max).min(max);
        let sha256 = listed.hashes.as_ref().map(|hashes| hashes.sha256.as_ref());
        if let Some(kept) = sha256.and_then(|sha256| self.kept(sha256, length)) {
            return Ok(kept);
        }
        let bytes = self.whole(&url, length).await.map_err(|short| match short {
            Short::Oversized(announced) if announced <= max => mixed("length"),
            short => short.of_metadata(file, length),
        })?;
        // TUF 5.5.2, 5.6.2.
        match sha256 {
            Some(sha256) if sha256 != digest(&SHA256, &bytes).as_ref() => return Err(mixed("hash")),
            Some(sha256) => self.keep(sha256, &bytes),
            None => {}
        }
        Ok(bytes)
    }

    /// A small target, whole.
    pub(super) async fn target(&self, path: &str, target: &Target, max: u64) -> Result<Vec<u8>, Fault> {
        if target.length > max {
            let reason = format!("{path} is listed with {} bytes, and at most {max} are taken", target.length);
            return Err(Fault::new("target-oversized", Blame::Region, reason));
        }
        let sha256 = target.hashes.sha256.as_ref();
        if let Some(kept) = self.kept(sha256, target.length).filter(|kept| kept.len() as u64 == target.length) {
            return Ok(kept);
        }
        let url = self.address(path, &hex(sha256))?;
        let bytes = self.whole(&url, target.length).await.map_err(|short| short.of_target(path, target.length))?;
        if (bytes.len() as u64) < target.length {
            return Err(truncated(path, bytes.len() as u64, target.length));
        }
        if digest(&SHA256, &bytes).as_ref() != sha256 {
            return Err(altered(path));
        }
        self.keep(sha256, &bytes);
        Ok(bytes)
    }

    /// A small file beside the targets, which nothing lists; `None` where it is not there.
    pub(super) async fn unlisted(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, Fault> {
        let url = paths::unlisted(&self.targets, path).ok_or_else(|| no_base(&self.targets))?;
        match self.whole(&url, max).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Short::Trouble(Trouble::Missing)) => Ok(None),
            Err(short) => Err(short.of_metadata(path, max)),
        }
    }

    fn kept(&self, sha256: &[u8], max: u64) -> Option<Vec<u8>> {
        self.kept.as_ref()?.read(sha256, max)
    }

    fn keep(&self, sha256: &[u8], bytes: &[u8]) {
        self.kept.iter().for_each(|kept| kept.keep(sha256, bytes));
    }

    fn metadata_address(&self, file: &str) -> Result<Url, Fault> {
        paths::metadata(&self.metadata, file).ok_or_else(|| no_base(&self.metadata))
    }

    /// Where a target lies.
    pub(super) fn address(&self, path: &str, sha256: &str) -> Result<Url, Fault> {
        paths::target(&self.targets, path, sha256).ok_or_else(|| no_base(&self.targets))
    }

    async fn whole(&self, url: &Url, max: u64) -> Result<Vec<u8>, Short> {
        let mut body = self.transport.open(url, 0).await?;
        if let Some(announced) = body.announced().filter(|announced| *announced > max) {
            return Err(Short::Oversized(announced));
        }
        let mut bytes = Vec::new();
        while let Some(more) = body.next().await? {
            if (bytes.len() + more.len()) as u64 > max {
                return Err(Short::Endless);
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }
}

/// Why a whole file did not come.
enum Short {
    Trouble(Trouble),
    /// The store says itself that it is too long: so many bytes.
    Oversized(u64),
    /// The store says nothing, and goes on beyond the bound.
    Endless,
}

impl From<Trouble> for Short {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Short {
    fn of_metadata(self, file: &str, max: u64) -> Fault {
        match self {
            Self::Trouble(trouble) => trouble.fault(file),
            Self::Oversized(_) => {
                let reason = format!("{file} has more than the {max} bytes that it may have");
                Fault::new("metadata-oversized", Blame::Channel, reason)
            }
            Self::Endless => endless(file, max),
        }
    }

    fn of_target(self, path: &str, length: u64) -> Fault {
        match self {
            Self::Trouble(trouble) => trouble.fault(path),
            // A longer file than the listed one is another file.
            Self::Oversized(_) => altered(path),
            Self::Endless => endless(path, length),
        }
    }
}

pub(super) fn endless(what: &str, max: u64) -> Fault {
    let reason = format!("{what} goes on after the {max} bytes that it may have");
    Fault::new("endless-data", Blame::Channel, reason)
}

pub(super) fn altered(path: &str) -> Fault {
    let reason = format!("{path} in the store is not what was signed: its hash is another");
    Fault::new("target-altered", Blame::Channel, reason)
}

pub(super) fn truncated(path: &str, length: u64, listed: u64) -> Fault {
    let reason = format!("{path} in the store ends after {length} of {listed} bytes");
    Fault::new("target-truncated", Blame::Channel, reason)
}

fn no_base(base: &Url) -> Fault {
    let reason = format!("nothing can lie below {base}: give a URL that ends with a slash");
    Fault::new("store-address", Blame::Configuration, reason)
}
