//! Which engine serves a package: of those that it is validated for, the first in this order that is here. A compiled engine in
//! the package that fits this GPU; one that was compiled on this box and kept; ONNX Runtime; tract.
use super::plans::{KeptPlan, Plans};
use super::{Engine, OnnxRuntimeEngine, TractEngine, tract};
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::infer::gpu::{Found, Gpu, TensorRtLibrary};
use crate::model::Package;
use crate::model::compiled::{self, Compiled};
use crate::model::manifest::ValidatedEngine;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Names the library of ONNX Runtime where the configuration does not.
pub const ONNXRUNTIME_VARIABLE: &str = "SUND_ONNXRUNTIME";

/// What runs on a GPU, the preferred one first.
pub(super) const COMPILED: [(&str, &str); 4] =
    [("tensorrt-rtx", "fp16"), ("tensorrt-rtx", "fp32"), ("tensorrt", "fp16"), ("tensorrt", "fp32")];

/// What this machine has to run networks with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engines {
    /// The library of ONNX Runtime.
    pub onnxruntime: Option<PathBuf>,
    /// Libraries of TensorRT that are named, by their classes; nothing is known of them yet.
    pub libraries: Vec<(String, PathBuf)>,
    /// The GPU.
    pub gpu: Option<Gpu>,
    /// Why there is none, where somebody looked for it.
    pub gpu_trouble: Option<String>,
    /// Libraries of TensorRT.
    pub tensorrt: Vec<TensorRtLibrary>,
    /// Where engines lie that were compiled on this box.
    pub kept: Option<PathBuf>,
    /// Where workers keep the kernels of TensorRT-RTX from one start to the next; each of them believes what lies there.
    pub kernels: Option<PathBuf>,
}

/// What serves a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The engine.
    pub engine: EngineKind,
    /// Why this one, for people.
    pub explanation: String,
}

/// An engine that might serve a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its class and precision, and where it comes from: `tensorrt-rtx fp16, packaged`.
    pub name: String,
    /// How to open it; or why it does not serve, for people.
    pub engine: Result<EngineKind, String>,
}

/// An engine that a worker is told to use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// In this binary.
    #[default]
    Tract,
    /// A library on this machine.
    OnnxRuntime {
        /// Its path.
        library: PathBuf,
    },
    /// Networks that were compiled for the GPU of this machine.
    TensorRt {
        /// The library that compiled them and runs them.
        library: TensorRtLibrary,
        /// `fp32`, `fp16`.
        precision: String,
        /// The GPU.
        gpu: Gpu,
        /// Where the compiled networks are.
        plans: Plans,
        /// The folder in which TensorRT-RTX's kernels stay from one start to the next.
        kernels: Option<PathBuf>,
    },
}

impl EngineKind {
    /// Class and precision, as packages name them.
    pub fn class_and_precision(&self) -> (&str, &str) {
        match self {
            EngineKind::Tract => ("tract", "fp32"),
            EngineKind::OnnxRuntime { .. } => ("onnxruntime", "fp32"),
            EngineKind::TensorRt { library, precision, .. } => (&library.class, precision),
        }
    }

    /// True where it needs a GPU, which can be lost or full while the machine is well.
    pub fn is_on_gpu(&self) -> bool {
        matches!(self, EngineKind::TensorRt { .. })
    }

    /// How many networks it has that were compiled on this box.
    pub fn kept(&self) -> usize {
        match self {
            EngineKind::TensorRt { plans: Plans::Kept(plans), .. } => plans.len(),
            _ => 0,
        }
    }

    /// The very code that would run: the version that is built in, or the digests of the files, which are read and not
    /// opened. What held on one identity says nothing about another.
    pub fn identity(&self) -> Result<String, Fault> {
        let file = |path: &Path| {
            File::open(path).and_then(digest).map_err(|error| {
                let reason = format!("{} cannot be read: {error}", path.display());
                Fault::new("engine-unavailable", Blame::Configuration, reason)
            })
        };
        match self {
            EngineKind::Tract => Ok(format!("{self} {}", tract::VERSION)),
            EngineKind::OnnxRuntime { library } => Ok(format!("{self} sha256:{}", file(library)?)),
            EngineKind::TensorRt { library, gpu, plans, .. } => {
                let mut identity = format!("{self} sha256:{} on {gpu}", file(&library.path)?);
                if let Plans::Kept(plans) = plans {
                    for plan in plans {
                        let digest = digest(plan.open()?).map_err(|error| plan.unreadable(&error))?;
                        identity = format!("{identity} {} sha256:{digest}", plan.network);
                    }
                }
                Ok(identity)
            }
        }
    }

    /// The files of networks that were compiled on this box, opened, in their order: a worker is given them, and looks for none.
    pub fn files(&self) -> Result<Vec<File>, Fault> {
        let EngineKind::TensorRt { plans: Plans::Kept(plans), .. } = self else { return Ok(Vec::new()) };
        plans.iter().map(KeptPlan::open).collect()
    }

    /// Makes it ready, with the files of [`EngineKind::files`]. Only in a process that may be lost: a library of others is opened.
    pub fn open(&self, files: &[OwnedFd]) -> Result<Box<dyn Engine>, Fault> {
        match self {
            _ if files.len() != self.kept() => Err(not_its_files()),
            EngineKind::Tract => Ok(Box::<TractEngine>::default()),
            EngineKind::OnnxRuntime { library } => Ok(Box::new(OnnxRuntimeEngine::open(library)?)),
            #[cfg(feature = "tensorrt")]
            EngineKind::TensorRt { library, precision, plans, kernels, .. } => {
                super::tensorrt::open(library, precision, plans, files, kernels.as_deref())
            }
            #[cfg(not(feature = "tensorrt"))]
            EngineKind::TensorRt { .. } => Err(super::without_tensorrt()),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, precision) = self.class_and_precision();
        write!(f, "{class} {precision}")
    }
}

fn not_its_files() -> Fault {
    Fault::new("worker-garbled", Blame::Sund, "the task came without the engines that were compiled on this box")
}

fn digest(mut file: File) -> std::io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(context.finish().as_ref())),
            n => context.update(&buffer[..n]),
        }
    }
}

/// Looks for the plans of a package, of a class and precision; a sentence where there are none.
pub(super) type Source = fn(&Engines, &Package, &str, &str) -> Result<Plans, String>;

impl Engines {
    /// tract, and ONNX Runtime where the configuration or [`ONNXRUNTIME_VARIABLE`] names its library.
    pub fn here(configured: Option<&Path>) -> Self {
        let named = std::env::var_os(ONNXRUNTIME_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        Self { onnxruntime: configured.map(Path::to_owned).or(named), ..Self::default() }
    }

    /// The same, with libraries of TensorRT by their classes: those that are configured, else those that environment variables
    /// name. What they can do is not known before somebody has looked.
    #[must_use]
    pub fn with_libraries(self, configured: &[(&'static str, PathBuf)]) -> Self {
        let named = compiled::CLASSES.into_iter().filter_map(|class| {
            let configured = configured.iter().find(|(known, _)| *known == class).map(|(_, path)| path.clone());
            Some((class.to_owned(), configured.or_else(|| compiled::named(class))?))
        });
        Self { libraries: named.collect(), ..self }
    }

    /// The same, with what was found.
    #[must_use]
    pub fn with_found(self, found: Found) -> Self {
        let Found { gpu, tensorrt, trouble } = found;
        Self { gpu, tensorrt, gpu_trouble: trouble, ..self }
    }

    /// Every engine that the package is validated for, and every one that is here: the preferred one first, each with the
    /// reason against it where there is one.
    pub fn candidates(&self, package: &Package) -> Vec<Candidate> {
        let validated = &package.manifest.engines;
        let mut all = Vec::new();
        let sources: [(&str, Source); 2] = [("packaged", Self::packaged), ("compiled here", Self::kept)];
        for (source, plans) in sources {
            for (class, precision) in COMPILED {
                if !is_validated(validated, class, precision) {
                    continue;
                }
                let engine = self.compiled(package, class, precision, plans);
                all.push(Candidate { name: format!("{class} {precision}, {source}"), engine });
            }
        }
        let onnxruntime = self.onnxruntime.clone().map(|library| EngineKind::OnnxRuntime { library });
        let unnamed =
            || format!("no library of ONNX Runtime is named, by [worker] onnxruntime or {ONNXRUNTIME_VARIABLE}");
        for (class, engine) in [("onnxruntime", onnxruntime.ok_or_else(unnamed)), ("tract", Ok(EngineKind::Tract))] {
            let engine = match engine {
                Ok(_) if !is_validated(validated, class, "fp32") => Err(NOT_VALIDATED.to_owned()),
                engine => engine,
            };
            if is_validated(validated, class, "fp32") || engine.as_ref().is_err_and(|reason| reason == NOT_VALIDATED) {
                all.push(Candidate { name: format!("{class} fp32"), engine });
            }
        }
        // What no release of Sund runs, such as tract fp16.
        let is_told = |one: &ValidatedEngine| all.iter().any(|known| known.name.starts_with(&name(one)));
        let untold: Vec<String> = validated.iter().filter(|one| !is_told(one)).map(name).collect();
        all.extend(
            untold.into_iter().map(|name| Candidate { name, engine: Err("no such engine is known here".to_owned()) }),
        );
        all
    }

    /// The engines that may serve a package, the preferred one first; at least one.
    pub fn choices(&self, package: &Package) -> Result<Vec<Choice>, Fault> {
        let mut against: Vec<String> = Vec::new();
        let mut choices = Vec::new();
        for Candidate { name, engine } in self.candidates(package) {
            match engine {
                Ok(engine) => {
                    let explanation = match against.as_slice() {
                        [] => "the package is validated for it, and it is the fastest here".to_owned(),
                        reasons => reasons.join("; "),
                    };
                    choices.push(Choice { engine, explanation });
                }
                Err(reason) => against.push(format!("{name}: {reason}")),
            }
        }
        if choices.is_empty() {
            let validated: Vec<String> = package.manifest.engines.iter().map(name).collect();
            let reason = format!(
                "the package is validated for {}; none of them can serve on this machine ({})",
                validated.join(", "),
                against.join("; ")
            );
            return Err(Fault::new("engine-not-validated", Blame::Package, reason));
        }
        Ok(choices)
    }

    /// The engine for a package.
    pub fn choose(&self, package: &Package) -> Result<Choice, Fault> {
        self.choices(package).map(|mut choices| choices.swap_remove(0))
    }

    /// The engine that runs these plans of a package.
    pub(super) fn compiled(
        &self,
        package: &Package,
        class: &str,
        precision: &str,
        plans: Source,
    ) -> Result<EngineKind, String> {
        let (library, gpu) = self.on_gpu(class, precision)?;
        let plans = plans(self, package, class, precision)?;
        let (library, gpu, precision) = (library.clone(), gpu.clone(), precision.to_owned());
        Ok(EngineKind::TensorRt { library, precision, gpu, plans, kernels: self.kernels.clone() })
    }

    /// What runs compiled networks of a class here.
    pub(super) fn on_gpu(&self, class: &str, precision: &str) -> Result<(&TensorRtLibrary, &Gpu), String> {
        if self.libraries.is_empty() && self.tensorrt.is_empty() {
            let (key, variable) = (compiled::key(class), compiled::variable(class));
            return Err(format!("no library of it is named, by [worker] {key} or {variable}"));
        }
        let gpu = self.gpu.as_ref().ok_or_else(|| {
            self.gpu_trouble.clone().unwrap_or_else(|| "it is not known yet whether there is a GPU".to_owned())
        })?;
        let library = self.tensorrt.iter().find(|library| library.class == class);
        let library = library.ok_or_else(|| {
            let (key, variable) = (compiled::key(class), compiled::variable(class));
            self.gpu_trouble
                .clone()
                .unwrap_or_else(|| format!("no library of it is named, by [worker] {key} or {variable}"))
        })?;
        if precision == "fp16" && gpu.capability < (7, 5) {
            return Err(format!("{gpu} has no fast arithmetic of 16 bits"));
        }
        Ok((library, gpu))
    }

    /// The engines in the package, where there is one for each network that fits this library and GPU.
    pub(super) fn packaged(&self, package: &Package, class: &str, precision: &str) -> Result<Plans, String> {
        let (library, gpu) = self.on_gpu(class, precision)?;
        for network in &package.manifest.networks {
            let of_network =
                |one: &&Compiled| one.network == network.name && one.class == class && one.precision == precision;
            let compiled: Vec<&Compiled> = package.manifest.compiled.iter().filter(of_network).collect();
            let of_version: Vec<&&Compiled> = compiled.iter().filter(|one| one.version == library.version).collect();
            if compiled.is_empty() {
                return Err(format!("the package holds none for network {}", network.name));
            }
            if of_version.is_empty() {
                let versions: Vec<&str> = compiled.iter().map(|one| one.version.as_str()).collect();
                let versions = versions.join(", ");
                return Err(format!(
                    "network {} is compiled by {versions}, the library here is {}",
                    network.name, library.version
                ));
            }
            let architecture = gpu.architecture();
            if !of_version.iter().any(|one| one.architectures.contains(&architecture)) {
                let known: Vec<&str> =
                    of_version.iter().flat_map(|one| &one.architectures).map(String::as_str).collect();
                return Err(format!(
                    "network {} is compiled for {}, the {} here is {architecture}",
                    network.name,
                    known.join(", "),
                    gpu.name
                ));
            }
        }
        Ok(Plans::Packaged)
    }

    /// The engines that were compiled on this box, where there is one for each network.
    pub(super) fn kept(&self, package: &Package, class: &str, precision: &str) -> Result<Plans, String> {
        let (library, gpu) = self.on_gpu(class, precision)?;
        let folder = self.kept.as_deref().ok_or("there is no folder in which such engines are kept")?;
        let mut plans = Vec::new();
        for network in &package.manifest.networks {
            let path = folder.join(kept_name(
                &package.digest,
                &network.name,
                (class, precision),
                &library.version,
                &gpu.architecture(),
            ));
            let plan = KeptPlan::found(&network.name, path);
            plans.push(plan.ok_or_else(|| {
                format!("none was compiled here for network {}: sund model compile --keep", network.name)
            })?);
        }
        Ok(Plans::Kept(plans))
    }
}

const NOT_VALIDATED: &str = "it is here, and the package is not validated for it";

/// The file in which an engine is kept that was compiled on the box. Everything that it depends on is in its name.
pub fn kept_name(
    digest: &str,
    network: &str,
    (class, precision): (&str, &str),
    version: &str,
    architecture: &str,
) -> String {
    let digest = digest.trim_start_matches("sha256:");
    format!("{digest}-{network}-{class}-{version}-{precision}-{architecture}.plan")
}

pub(super) fn is_validated(validated: &[ValidatedEngine], class: &str, precision: &str) -> bool {
    validated.iter().any(|engine| engine.class == class && engine.precision == precision)
}

fn name(engine: &ValidatedEngine) -> String {
    format!("{} {}", engine.class, engine.precision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Lacking;

    const RTX: &str = "tensorrt-rtx";

    /// The text model, validated for these and with engines of its network that are compiled for these GPUs.
    fn package(validated: &[(&str, &str)], compiled: &[(&str, &str, &str, &[&str])]) -> Package {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection");
        let mut package = Package::open(&folder).unwrap();
        let engine = |(class, precision): &(&str, &str)| ValidatedEngine {
            class: (*class).into(),
            precision: (*precision).into(),
        };
        package.manifest.engines = validated.iter().map(engine).collect();
        let compiled = compiled.iter().map(|(class, precision, version, architectures)| Compiled {
            network: "detect".into(),
            class: (*class).into(),
            precision: (*precision).into(),
            version: (*version).into(),
            architectures: architectures.iter().map(|one| (*one).into()).collect(),
            file: "engines/detect.plan".into(),
            sha256: "0".repeat(64),
        });
        package.manifest.compiled = compiled.collect();
        package
    }

    fn library(class: &str, version: &str) -> TensorRtLibrary {
        TensorRtLibrary { class: class.into(), path: "/lib/tensorrt.so".into(), version: version.into() }
    }

    fn gpu(capability: (u32, u32)) -> Gpu {
        Gpu { name: "NVIDIA L4".into(), capability, memory: 24 << 30, driver: "580.1".into() }
    }

    /// A box with everything: an L4, both libraries of TensorRT, ONNX Runtime.
    fn full() -> Engines {
        Engines {
            onnxruntime: Some("/lib/onnx.so".into()),
            libraries: Vec::new(),
            gpu: Some(gpu((8, 9))),
            gpu_trouble: None,
            tensorrt: vec![library(RTX, "1.7.1"), library("tensorrt", "11.4.0")],
            kept: None,
            kernels: None,
        }
    }

    fn chosen(engines: &Engines, package: &Package) -> String {
        engines.choose(package).map_or_else(|fault| fault.code.into_owned(), |choice| choice.engine.to_string())
    }

    fn against(engines: &Engines, package: &Package, name: &str) -> String {
        let all = engines.candidates(package);
        let candidate = all.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no {name} in {all:?}"));
        candidate.engine.clone().expect_err("it serves")
    }

    #[test]
    fn only_an_engine_that_the_package_is_validated_for_serves_it() {
        let both = Engines { onnxruntime: Some("/lib/onnx.so".into()), ..Engines::default() };
        let cpu = [("tract", "fp32"), ("onnxruntime", "fp32")];
        assert_eq!(chosen(&both, &package(&cpu, &[])), "onnxruntime fp32");
        assert_eq!(chosen(&both, &package(&cpu[..1], &[])), "tract fp32");
        assert_eq!(chosen(&Engines::default(), &package(&cpu, &[])), "tract fp32");
        assert!(against(&both, &package(&cpu[..1], &[]), "onnxruntime fp32").contains("not validated"));
        assert!(against(&Engines::default(), &package(&cpu, &[]), "onnxruntime fp32").contains("is named"));
        let nothing_here = package(&[(RTX, "fp32"), ("tract", "fp16")], &[]);
        let fault = Engines::default().choose(&nothing_here).unwrap_err();
        assert!(fault.code == "engine-not-validated" && fault.reason.contains("tensorrt-rtx fp32"), "{fault}");
        // A full box does not serve it either: what is here is not what the package is validated for.
        assert_eq!(chosen(&full(), &package(&[("tract", "fp16")], &[])), "engine-not-validated");
    }

    #[test]
    fn a_packaged_engine_serves_where_version_and_gpu_fit_and_says_why_it_does_not_elsewhere() {
        let validated = [(RTX, "fp16"), (RTX, "fp32"), ("onnxruntime", "fp32"), ("tract", "fp32")];
        let fits = package(&validated, &[(RTX, "fp32", "1.7.1", &["sm86", "sm89"])]);
        assert_eq!(chosen(&full(), &fits), "tensorrt-rtx fp32");
        let name = "tensorrt-rtx fp32, packaged";
        let other = |change: &dyn Fn(&mut Engines)| {
            let mut engines = full();
            change(&mut engines);
            assert_eq!(chosen(&engines, &fits), "onnxruntime fp32", "the next one serves");
            against(&engines, &fits, name)
        };
        assert!(other(&|here| here.gpu = None).contains("not known yet"));
        let trouble = "there is no CUDA driver".to_owned();
        assert!(other(&|here| (here.gpu, here.gpu_trouble) = (None, Some(trouble.clone()))).contains("no CUDA driver"));
        assert!(
            other(&|here| here.gpu = Some(gpu((9, 0)))).contains("compiled for sm86, sm89, the NVIDIA L4 here is sm90")
        );
        assert!(other(&|here| here.tensorrt.clear()).contains("SUND_TENSORRT_RTX"));
        let newer = other(&|here| here.tensorrt = vec![library(RTX, "1.8.0")]);
        assert!(newer.contains("compiled by 1.7.1, the library here is 1.8.0"), "{newer}");
        assert!(against(&full(), &fits, "tensorrt-rtx fp16, packaged").contains("holds none for network detect"));
        // The faster of two that fit.
        let both: &[(&str, &str, &str, &[&str])] =
            &[(RTX, "fp32", "1.7.1", &["sm89"]), (RTX, "fp16", "1.7.1", &["sm89"])];
        assert_eq!(chosen(&full(), &package(&validated, both)), "tensorrt-rtx fp16");
        // What is in the package and not in `engines` counts for nothing.
        assert_eq!(chosen(&full(), &package(&validated[2..], both)), "onnxruntime fp32");
        let enterprise = package(&[("tensorrt", "fp32")], &[("tensorrt", "fp32", "11.4.0", &["sm89"])]);
        assert_eq!(chosen(&full(), &enterprise), "tensorrt fp32");
    }

    #[test]
    fn an_engine_that_was_compiled_here_serves_this_package_library_and_gpu_alone() {
        let folder = tempfile::tempdir().unwrap();
        let package = package(&[("tensorrt", "fp32"), ("tract", "fp32")], &[]);
        let here = Engines { kept: Some(folder.path().to_owned()), ..full() };
        let name = "tensorrt fp32, compiled here";
        assert!(against(&here, &package, name).contains("none was compiled here for network detect"));
        let library = library("tensorrt", "11.4.0");
        let kept =
            folder.path().join(kept_name(&package.digest, "detect", ("tensorrt", "fp32"), &library.version, "sm89"));
        std::fs::write(&kept, "a plan").unwrap();
        let choice = here.choose(&package).unwrap();
        assert_eq!(choice.engine.to_string(), "tensorrt fp32");
        assert!(choice.explanation.contains("packaged: the package holds none"), "{}", choice.explanation);
        let mut text = String::new();
        choice.engine.files().unwrap()[0].read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), choice.engine.kept()), ("a plan", 1));
        let code = |fault: Option<Fault>| fault.unwrap().code.into_owned();
        assert_eq!(code(choice.engine.open(&[]).err()), "worker-garbled", "a worker has no other way to it");
        let others: [Engines; 2] = [
            Engines { gpu: Some(gpu((9, 0))), ..here.clone() },
            Engines { tensorrt: vec![TensorRtLibrary { version: "11.5.0".into(), ..library }], ..here.clone() },
        ];
        for other in others {
            assert_eq!(chosen(&other, &package), "tract fp32");
        }
        // It lacks where these could make it and where none is there; an engine that is there is not made again.
        let lacks =
            |engines: &Engines| engines.lacking(&package, |_| false).iter().map(Lacking::name).collect::<Vec<_>>();
        assert_eq!(lacks(&here), Vec::<String>::new());
        // One that does not hold is in the way of none behind it.
        let both = self::package(&[("tensorrt", "fp16"), ("tensorrt", "fp32")], &[]);
        let fp16 = kept_name(&both.digest, "detect", ("tensorrt", "fp16"), "11.4.0", "sm89");
        std::fs::write(folder.path().join(&fp16), "a plan").unwrap();
        std::fs::rename(&kept, folder.path().join("aside")).unwrap();
        assert_eq!(here.lacking(&both, |_| false), []);
        let missed = here.lacking(&both, |engine| engine.class_and_precision().1 == "fp16");
        assert_eq!(missed.iter().map(Lacking::name).collect::<Vec<_>>(), [name]);
        std::fs::rename(folder.path().join("aside"), &kept).unwrap();
        std::fs::remove_file(folder.path().join(&fp16)).unwrap();
        let newer = Engines { tensorrt: vec![self::library("tensorrt", "11.5.0")], ..here.clone() };
        assert_eq!(lacks(&newer), [name]);
        let lacking = newer.lacking(&package, |_| false).remove(0);
        assert_eq!(
            lacking.files,
            [folder.path().join(kept_name(&package.digest, "detect", ("tensorrt", "fp32"), "11.5.0", "sm89"))]
        );
        for without in [
            Engines { gpu: None, ..newer.clone() },
            Engines { tensorrt: Vec::new(), ..newer.clone() },
            Engines { kept: None, ..newer },
        ] {
            assert_eq!(lacks(&without), Vec::<String>::new());
        }
        std::fs::remove_file(&kept).unwrap();
        assert_eq!(code(choice.engine.files().err()), "engine-unavailable");
        std::fs::write(&kept, "another plan").unwrap();
        assert_eq!(code(choice.engine.files().err()), "engine-unavailable", "golden cases have not held on that one");
        assert_ne!(here.choose(&package).unwrap().engine, choice.engine);
        let mut another = package;
        another.digest = format!("sha256:{}", "1".repeat(64));
        assert_eq!(chosen(&here, &another), "tract fp32");
    }
}
