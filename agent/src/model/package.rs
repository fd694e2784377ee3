//! Opens and checks a package folder.
use super::check;
use super::golden;
use super::manifest::Manifest;
use super::place::Manuscript;
use super::tensors;
use crate::config::Problem;
use crate::fault::{Blame, Fault};
use crate::inference::PackageRef;
use crate::limits::model::{MAX_FILES, MAX_MANIFEST, MAX_NETWORK};
use crate::study::open::hex;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The manifest's file in the folder of a package.
pub const MANIFEST: &str = "model.toml";
/// Problems that a fault names; `sund model check` tells the rest.
const MAX_TOLD: usize = 8;

/// A package whose manifest holds and whose networks have the digests that it names.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// `sha256:` over the manifest; the networks are fixed by their digests in it.
    pub digest: String,
    /// The networks' bytes, by name.
    pub networks: BTreeMap<String, Vec<u8>>,
}

/// What is wrong with a package, in the order of the manifest's lines.
#[derive(Clone, Debug, Default)]
pub struct Defects {
    /// Each with its place in the manifest.
    pub problems: Vec<Problem>,
    /// True where the only thing wrong is that networks are not those that the manifest names.
    pub is_altered: bool,
}

impl From<Defects> for Fault {
    fn from(defects: Defects) -> Self {
        let told = defects.problems.iter().take(MAX_TOLD).map(|problem| {
            let Problem { line, column, key, message, help } = problem;
            let key = if key.is_empty() { String::new() } else { format!("{key} ") };
            let help = if help.is_empty() { String::new() } else { format!(" ({help})") };
            format!("{MANIFEST}, line {line}, column {column}: {key}{message}{help}")
        });
        let mut told: Vec<String> = told.collect();
        if let Some(more) = defects.problems.len().checked_sub(MAX_TOLD).filter(|more| *more > 0) {
            told.push(format!("and {more} more"));
        }
        let code = if defects.is_altered { "package-altered" } else { "package-invalid" };
        Fault::new(code, Blame::Package, told.join("; "))
    }
}

impl Package {
    /// Opens a folder. A fault names what is wrong with the manifest, each with its line.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        Self::read(folder, false).map_err(Fault::from)
    }

    /// Opens a folder as its vendor does: there must be golden cases, and each must have its files.
    pub fn inspect(folder: &Path) -> Result<Self, Defects> {
        Self::read(folder, true)
    }

    fn read(folder: &Path, with_golden: bool) -> Result<Self, Defects> {
        let whole = |message: String, help: &str| Defects {
            problems: vec![Problem { line: 1, column: 1, key: String::new(), message, help: help.to_owned() }],
            is_altered: false,
        };
        let bytes = read(folder, MANIFEST, MAX_MANIFEST)
            .map_err(|reason| whole(reason, "a package is a folder with a model.toml; see: sund model new"))?;
        let text = String::from_utf8(bytes).map_err(|_| whole("is not UTF-8".to_owned(), "save it as UTF-8"))?;
        let first = |problem| Defects { problems: vec![problem], is_altered: false };
        let mut script = Manuscript::parse(&text).map_err(first)?;
        script.check_keys();
        let refused = |script: Manuscript<'_>| Defects { problems: script.into_problems(), is_altered: false };
        // Where keys are wrong, serde would tell the first of them again.
        if !script.holds() {
            return Err(refused(script));
        }
        let manifest: Manifest = match toml::from_str(&text) {
            Ok(manifest) => manifest,
            Err(error) => {
                script.complain_of(&error);
                return Err(refused(script));
            }
        };
        check::check(&manifest, &mut script);
        let is_whole = script.holds();
        let mut is_altered = false;
        let mut networks = BTreeMap::new();
        for (n, network) in manifest.networks.iter().enumerate() {
            match read(folder, &network.file, MAX_NETWORK) {
                Err(reason) => script.complain(&format!("networks.{n}.file"), reason, ""),
                Ok(bytes) => {
                    let found = hex(digest(&SHA256, &bytes).as_ref());
                    if found == network.sha256 {
                        tensors::compare(n, network, &bytes, &mut script);
                    } else {
                        is_altered = true;
                        let help = format!("if this is the network that you mean, write sha256 = \"{found}\"");
                        let message = format!("is not the SHA-256 of {}", network.file);
                        script.complain(&format!("networks.{n}.sha256"), message, help);
                    }
                    networks.insert(network.name.clone(), bytes);
                }
            }
        }
        is_altered &= is_whole && networks.len() == manifest.networks.len();
        let digest = format!("sha256:{}", hex(digest(&SHA256, text.as_bytes()).as_ref()));
        let package = Self { folder: folder.to_owned(), manifest, digest, networks };
        if with_golden {
            package.inspect_golden(&mut script);
        }
        if script.holds() { Ok(package) } else { Err(Defects { problems: script.into_problems(), is_altered }) }
    }

    fn inspect_golden(&self, script: &mut Manuscript<'_>) {
        if self.manifest.golden.is_empty() {
            let help = "add [[golden]]: a de-identified case, and the answer that an engine must give to it";
            script.complain("golden", "there is no golden case: without one no engine can prove itself", help);
        }
        for (n, case) in self.manifest.golden.iter().enumerate() {
            let path = format!("golden.{n}.folder");
            match self.golden_files(&case.folder) {
                Err(fault) => script.complain(&path, fault.reason, ""),
                Ok(files) if files.is_empty() => {
                    let help = "put a de-identified DICOM series there, files ending in .dcm";
                    script.complain(&path, format!("{} has no file that ends in .dcm", case.folder), help);
                }
                Ok(_) => {
                    if let Err(fault) = golden::series(self, case) {
                        script.complain(&path, fault.reason, "");
                    }
                }
            }
        }
    }

    /// Its folder, open: a worker needs no right on the path.
    pub fn open_folder(&self) -> Result<std::fs::File, Fault> {
        std::fs::File::open(&self.folder)
            .map_err(|error| broken(format!("the package's folder cannot be opened: {error}")))
    }

    /// How results name it.
    pub fn reference(&self) -> PackageRef {
        PackageRef {
            name: self.manifest.name.clone(),
            title: self.manifest.title.clone(),
            version: self.manifest.version.clone(),
            vendor: self.manifest.vendor.clone(),
            digest: self.digest.clone(),
        }
    }

    /// The files of a golden case.
    pub fn golden_files(&self, folder: &str) -> Result<Vec<PathBuf>, Fault> {
        let path = inside(&self.folder, folder).map_err(broken)?;
        let unreadable = |error: std::io::Error| broken(format!("{folder} cannot be read: {error}"));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "dcm") {
                files.push(path);
            }
            if files.len() > MAX_FILES {
                return Err(broken(format!("{folder} has more than {MAX_FILES} files")));
            }
        }
        files.sort();
        Ok(files)
    }
}

fn broken(reason: String) -> Fault {
    Fault::new("package-invalid", Blame::Package, reason)
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

fn read(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let path = inside(folder, name)?;
    let unreadable = |error: std::io::Error| format!("{name} cannot be read: {error}");
    let length = std::fs::metadata(&path).map_err(unreadable)?.len();
    if length > limit {
        return Err(format!("{name} has {length} bytes, at most {limit} are taken"));
    }
    std::fs::read(&path).map_err(unreadable)
}
