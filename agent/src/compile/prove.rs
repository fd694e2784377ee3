//! Whether the golden cases of a package hold with other networks in the place of its own, on ONNX Runtime.
use super::files::unwritable;
use super::{Proof, entries};
use crate::fault::{Blame, Fault};
use crate::infer::{Engines, ONNXRUNTIME_VARIABLE};
use crate::limits::dataset::MAX_FILE;
use crate::model::{MANIFEST, Package};
use crate::trial::Trials;
use std::collections::BTreeMap;

/// A fault where a golden case does not hold with these networks. They run in a copy of the package, in a worker.
pub fn prove(
    package: &Package,
    networks: &BTreeMap<&str, &[u8]>,
    Proof { here, launcher }: Proof<'_>,
) -> Result<(), Fault> {
    if here.onnxruntime.is_none() {
        let reason = format!(
            "golden cases in fp16 are run on ONNX Runtime: {ONNXRUNTIME_VARIABLE} names its library, libonnxruntime.so"
        );
        return Err(Fault::new("engine-unavailable", Blame::Configuration, reason));
    }
    let scratch = tempfile::tempdir().map_err(|error| unwritable(&std::env::temp_dir(), &error))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        let folder = path.parent().unwrap_or(scratch.path());
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, bytes)).map_err(|e| unwritable(&path, &e))
    };
    let invalid = |reason: String| Fault::new("package-invalid", Blame::Package, reason);
    let manifest = &package.manifest;
    let is_engine = |name: &str| manifest.compiled.iter().any(|compiled| compiled.file == name);
    for (name, _) in package.list.members().filter(|(name, _)| *name != MANIFEST && !is_engine(name)) {
        match manifest.networks.iter().find(|network| network.file == name) {
            Some(network) => {
                let bytes = networks.get(network.name.as_str()).copied();
                put(name, bytes.ok_or_else(|| invalid(format!("there is no network for {name}")))?)?;
            }
            None => put(name, &package.contents.read(name, MAX_FILE).map_err(invalid)?)?,
        }
    }
    put(MANIFEST, entries::on_onnxruntime(package, networks)?.as_bytes())?;
    let trial = Package::inspect(scratch.path())?;
    let here = Engines { onnxruntime: here.onnxruntime.clone(), ..Engines::default() };
    match Trials::run(&trial, &here, launcher, &mut |_, _| ())?.missed() {
        None => Ok(()),
        Some(fault) => {
            let reason = format!("in this precision its golden cases do not hold: {}", fault.reason);
            Err(Fault::new("precision-not-held", Blame::Package, reason))
        }
    }
}
