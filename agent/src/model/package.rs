//! Opens and checks a package folder.
use super::manifest::{Manifest, Runtime};
use crate::config::meant;
use crate::fault::{Blame, Fault};
use crate::inference::PackageRef;
use crate::limits::model::{MAX_FILES, MAX_MANIFEST, MAX_NETWORK, MAX_STEPS};
use crate::study::open::hex;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

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

impl Package {
    /// Opens a folder. All problems of the manifest are given, each with its line where it has one.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        let bytes = read(folder, "model.toml", MAX_MANIFEST)?;
        let text = String::from_utf8(bytes).map_err(|_| broken("model.toml is not UTF-8".into()))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            broken(format!("model.toml, line {line}: {}", with_suggestion(error.message())))
        })?;
        let problems = problems(&manifest);
        if !problems.is_empty() {
            return Err(broken(format!("model.toml: {}", problems.join("; "))));
        }
        let mut networks = BTreeMap::new();
        for network in &manifest.networks {
            let bytes = read(folder, &network.file, MAX_NETWORK)?;
            let found = hex(digest(&SHA256, &bytes).as_ref());
            if found != network.sha256 {
                let reason = format!("{} has SHA-256 {found}, the manifest says {}", network.file, network.sha256);
                return Err(Fault::new("package-altered", Blame::Package, reason));
            }
            networks.insert(network.name.clone(), bytes);
        }
        let digest = format!("sha256:{}", hex(digest(&SHA256, text.as_bytes()).as_ref()));
        Ok(Self { folder: folder.to_owned(), manifest, digest, networks })
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
        let path = inside(&self.folder, folder)?;
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

/// serde names an unknown key and those that it knows; the one that was probably meant is put first.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match quoted.next().filter(|_| is_unknown).and_then(|written| meant(written, quoted)) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message.to_owned(),
    }
}

fn broken(reason: String) -> Fault {
    Fault::new("package-invalid", Blame::Package, reason)
}

/// A path in the package, which neither leaves it nor follows a link.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, Fault> {
    let relative = Path::new(name);
    if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(broken(format!("`{name}` is not a path inside the package")));
    }
    let path = folder.join(relative);
    let link = relative
        .ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .any(|part| folder.join(part).symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink()));
    if link { Err(broken(format!("`{name}` is a symbolic link"))) } else { Ok(path) }
}

fn read(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, Fault> {
    let path = inside(folder, name)?;
    let unreadable = |error: std::io::Error| broken(format!("{name} cannot be read: {error}"));
    let length = std::fs::metadata(&path).map_err(unreadable)?.len();
    if length > limit {
        return Err(broken(format!("{name} has {length} bytes, at most {limit} are taken")));
    }
    std::fs::read(&path).map_err(unreadable)
}

/// What is wrong with a manifest that can be read.
pub fn problems(manifest: &Manifest) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    must(manifest.format == 1, format!("format {} is not known here, 1 is", manifest.format));
    must(
        manifest.runtime == Runtime::Declared,
        "runtime `external` is reserved for a later format and cannot be run yet".into(),
    );
    let is_name = |text: &str| {
        !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    must(is_name(&manifest.name), format!("name `{}` is not of lower-case letters, digits and hyphens", manifest.name));
    let is_version =
        manifest.version.split('.').count() == 3 && manifest.version.split('.').all(|part| part.parse::<u32>().is_ok());
    must(is_version, format!("version `{}` is not of the form 1.2.3", manifest.version));
    for (name, text) in [
        ("title", &manifest.title),
        ("vendor", &manifest.vendor),
        ("intended_use", &manifest.intended_use),
        ("regulatory_status", &manifest.regulatory_status),
        ("licence", &manifest.licence),
    ] {
        must(!text.trim().is_empty() && text.len() <= 1000, format!("{name} is empty or longer than 1,000 bytes"));
    }
    must(!manifest.engines.is_empty(), "engines names no engine that the model is validated for".into());
    must(manifest.steps.len() <= MAX_STEPS, format!("there are more than {MAX_STEPS} steps"));
    let mut known = vec!["input"];
    for (n, step) in manifest.steps.iter().enumerate() {
        let (reads, makes) = step.values();
        for value in reads {
            must(known.contains(&value), format!("step {} reads `{value}`, which no earlier step makes", n + 1));
        }
        if let super::step::Step::Infer { network, .. } = step {
            let is_known = manifest.networks.iter().any(|known| known.name == *network);
            must(is_known, format!("step {} runs `{network}`, which is not among the networks", n + 1));
        }
        known.push(makes);
    }
    let given = manifest.segments.iter().map(|s| &s.from).chain(manifest.boxes.iter().map(|b| &b.from));
    for value in given {
        must(known.contains(&value.as_str()), format!("`{value}` is given as a result, but no step makes it"));
    }
    must(!manifest.segments.is_empty() || manifest.boxes.is_some(), "neither segments nor boxes are given".into());
    problems
}
