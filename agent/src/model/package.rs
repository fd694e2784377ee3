//! Opens and checks a package: a folder, or a packed file.
use super::check;
use super::compiled::{self, Compiled};
use super::contents::Contents;
use super::golden;
use super::manifest::{Golden, Manifest};
use super::onnx::Graph;
use super::packed::List;
use super::place::Manuscript;
use super::signed::{Envelope, Verifier, statement};
use super::tensors;
use crate::config::Problem;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::inference::PackageRef;
use crate::limits::model::{MAX_DOCUMENT, MAX_MANIFEST, MAX_MASK, MAX_NETWORK};
use ring::digest::{SHA256, digest};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The manifest's file in the folder of a package.
pub const MANIFEST: &str = "model.toml";
/// Formats that are read here.
pub const FORMATS: &[u32] = &[1];
const INVALID: &str = "package-invalid";
/// Problems that a fault names; `sund model check` tells the rest.
const MAX_TOLD: usize = 8;

/// A package whose manifest holds and whose networks have the digests that it names.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its files.
    pub contents: Contents,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its files with their digests.
    pub list: List,
    /// `sha256:` over that list.
    pub digest: String,
    /// The key of its vendor that has signed it, where one that the configuration names has.
    pub signed_by: Option<Verifier>,
}

/// What is wrong with a package, in the order of the manifest's lines.
#[derive(Clone, Debug)]
pub struct Defects {
    /// Each with its place in the manifest.
    pub problems: Vec<Problem>,
    /// What they come to: `package-invalid`; `package-altered` where the only thing wrong is that files are not those that the
    /// manifest names; `package-format-unknown`.
    pub code: &'static str,
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
        Fault::new(defects.code, Blame::Package, told.join("; "))
    }
}

impl Package {
    /// Opens a folder or a packed file. A fault names what is wrong with the manifest, each with its line.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Self::read(Contents::open(path)?, false).map_err(Fault::from)
    }

    /// Opens what a descriptor is of.
    pub fn of_descriptor(descriptor: &OwnedFd) -> Result<Self, Fault> {
        Self::read(Contents::of_descriptor(descriptor)?, false).map_err(Fault::from)
    }

    /// Opens a package as its vendor does: there must be golden cases, and each must have its files.
    pub fn inspect(path: &Path) -> Result<Self, Defects> {
        let contents = Contents::open(path).map_err(|fault| whole(fault.reason, ""))?;
        Self::read(contents, true)
    }

    fn read(contents: Contents, with_golden: bool) -> Result<Self, Defects> {
        let bytes = contents
            .read(MANIFEST, MAX_MANIFEST)
            .map_err(|reason| whole(reason, "a package is a folder with a model.toml; see: sund model new"))?;
        let text = String::from_utf8(bytes).map_err(|_| whole("is not UTF-8".to_owned(), "save it as UTF-8"))?;
        let first = |problem| Defects { problems: vec![problem], code: INVALID };
        let mut script = Manuscript::parse(&text).map_err(first)?;
        // MODELS.md 1, "Formats": what another format says is not looked at.
        if !script.is_of_format(FORMATS) {
            return Err(Defects { problems: script.into_problems(), code: "package-format-unknown" });
        }
        script.check_keys();
        let refused = |script: Manuscript<'_>| Defects { problems: script.into_problems(), code: INVALID };
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
        let read = compare_networks(&contents, &manifest, &mut script);
        let mut is_altered = is_whole && read.all_read && read.altered;
        let mut package = Self { contents, manifest, list: List::default(), digest: String::new(), signed_by: None };
        package.sum(&mut script);
        let was_whole = script.holds();
        is_altered |= compiled::compare(&package.manifest, &package.list, &mut script) && was_whole;
        if with_golden {
            package.inspect_golden(&mut script);
        }
        let code = if is_altered { "package-altered" } else { INVALID };
        if script.holds() { Ok(package) } else { Err(Defects { problems: script.into_problems(), code }) }
    }

    /// Sums its files, where nothing is wrong with them so far.
    fn sum(&mut self, script: &mut Manuscript<'_>) {
        let mut names = vec![MANIFEST.to_owned()];
        names.extend(self.manifest.networks.iter().map(|network| network.file.clone()));
        for (n, compiled) in self.manifest.compiled.iter().enumerate() {
            match self.contents.length(&compiled.file) {
                Some(length) if length <= MAX_NETWORK => names.push(compiled.file.clone()),
                Some(length) => {
                    let message = format!("{} has {length} bytes, at most {MAX_NETWORK} are taken", compiled.file);
                    script.complain(&format!("compiled.{n}.file"), message, "");
                }
                None => {
                    let message = format!("{} cannot be read", compiled.file);
                    script.complain(&format!("compiled.{n}.file"), message, "make it: sund model compile");
                }
            }
        }
        if let Some(documents) = &self.manifest.documents {
            for (key, name) in [("card", &documents.card), ("licence", &documents.licence), ("sbom", &documents.sbom)] {
                match self.contents.read(name, MAX_DOCUMENT) {
                    Ok(_) => names.push(name.clone()),
                    Err(reason) => script.complain(&format!("documents.{key}"), reason, ""),
                }
            }
        }
        for (n, case) in self.manifest.golden.iter().enumerate() {
            match self.contents.dicom_files(&case.folder) {
                Ok(files) => names.extend(files),
                Err(reason) => script.complain(&format!("golden.{n}.folder"), reason, ""),
            }
            if let Some(mask) = &case.mask {
                match self.contents.read(mask, MAX_MASK) {
                    Ok(_) => names.push(mask.clone()),
                    Err(reason) => script.complain(&format!("golden.{n}.mask"), reason, ""),
                }
            }
        }
        if !script.holds() {
            return;
        }
        match self.contents.list(names.into_iter()) {
            Ok(list) => {
                self.digest = list.digest();
                self.list = list;
            }
            Err(reason) => script.complain("", reason, ""),
        }
    }

    fn inspect_golden(&self, script: &mut Manuscript<'_>) {
        if self.manifest.golden.is_empty() {
            let help = "add [[golden]]: a de-identified case, and the answer that an engine must give to it";
            script.complain("golden", "there is no golden case: without one no engine can prove itself", help);
        }
        for (n, case) in self.manifest.golden.iter().enumerate() {
            let path = format!("golden.{n}.folder");
            match self.contents.dicom_files(&case.folder) {
                // Told above.
                Err(_) => {}
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

    /// The signatures of a packed package, which are of this one; `None` where there are none.
    pub fn envelope(&self) -> Result<Option<Envelope>, Fault> {
        match &self.contents {
            Contents::Packed(archive, _) => {
                archive.envelope().map(|json| Envelope::read(json, &statement(self))).transpose()
            }
            Contents::Folder(_) => Ok(None),
        }
    }

    /// The bytes of a network, which are those that the manifest names.
    pub fn network(&self, name: &str) -> Result<Vec<u8>, Fault> {
        let network = self.manifest.networks.iter().find(|known| known.name == name);
        let network = network.ok_or_else(|| broken(format!("there is no network `{name}`")))?;
        let bytes = self.contents.read(&network.file, MAX_NETWORK).map_err(broken)?;
        if hex(digest(&SHA256, &bytes).as_ref()) == network.sha256 {
            return Ok(bytes);
        }
        let reason = format!("{} is not the file that was activated", network.file);
        Err(Fault::new("package-altered", Blame::Package, reason))
    }

    /// What was compiled of a network by this version of a library, for a GPU of this architecture.
    pub fn plan(
        &self,
        network: &str,
        engine: (&str, &str),
        version: &str,
        architecture: &str,
    ) -> Result<Vec<u8>, Fault> {
        let fits = |one: &&Compiled| {
            one.network == network
                && (one.class.as_str(), one.precision.as_str()) == engine
                && one.version == version
                && one.architectures.iter().any(|name| name == architecture)
        };
        let compiled = self.manifest.compiled.iter().find(fits).ok_or_else(|| {
            broken(format!("no engine of network `{network}` is for {} {version} and {architecture}", engine.0))
        })?;
        let bytes = self.contents.read(&compiled.file, MAX_NETWORK).map_err(broken)?;
        if hex(digest(&SHA256, &bytes).as_ref()) == compiled.sha256 {
            return Ok(bytes);
        }
        let reason = format!("{} is not the file that was activated", compiled.file);
        Err(Fault::new("package-altered", Blame::Package, reason))
    }

    /// The mask that a golden case asks for, a bit for each voxel; `None` where it asks for none.
    pub fn mask(&self, case: &Golden) -> Result<Option<Vec<u8>>, Fault> {
        case.mask.as_ref().map(|name| self.contents.read(name, MAX_MASK).map_err(broken)).transpose()
    }

    /// The files that opening has compared with their digests.
    pub fn compared(&self) -> Vec<&str> {
        self.manifest.networks.iter().map(|network| network.file.as_str()).collect()
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
}

/// What came of comparing the networks with the manifest.
struct Compared {
    /// Each could be read.
    all_read: bool,
    /// One is another file than the manifest names.
    altered: bool,
}

fn compare_networks(contents: &Contents, manifest: &Manifest, script: &mut Manuscript<'_>) -> Compared {
    let mut compared = Compared { all_read: true, altered: false };
    for (n, network) in manifest.networks.iter().enumerate() {
        let mut graph = None;
        let summed = contents.sum(&network.file, MAX_NETWORK, &mut |file| graph = Some(Graph::read(file)));
        match (summed, graph) {
            (Err(reason), _) => {
                compared.all_read = false;
                script.complain(&format!("networks.{n}.file"), reason, "");
            }
            (Ok(found), graph) => {
                let found = hex(&found);
                if found == network.sha256 {
                    if let Some(graph) = graph {
                        tensors::compare(n, network, graph, script);
                    }
                } else {
                    compared.altered = true;
                    let help = format!("if this is the network that you mean, write sha256 = \"{found}\"");
                    let message = format!("is not the SHA-256 of {}", network.file);
                    script.complain(&format!("networks.{n}.sha256"), message, help);
                }
            }
        }
    }
    compared
}

/// A defect of the package as a whole.
fn whole(message: String, help: &str) -> Defects {
    let problem = Problem { line: 1, column: 1, key: String::new(), message, help: help.to_owned() };
    Defects { problems: vec![problem], code: INVALID }
}

fn broken(reason: String) -> Fault {
    Fault::new("package-invalid", Blame::Package, reason)
}
