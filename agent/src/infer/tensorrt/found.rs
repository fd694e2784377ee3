//! Looks for a GPU and for libraries of TensorRT, and opens both: only in a process that may be lost.
use super::compiler::kind;
use crate::infer::{Gpu, TensorRtLibrary};
use crate::model::compiled::CLASSES;
use std::path::PathBuf;
use sund_kernels::tensorrt::{Gpu as Device, Kind, Library, TensorRtError};

/// The first GPU that the process may see, and the libraries among these that can be opened; each trouble with them in a sentence.
pub fn found(named: &dyn Fn(&str) -> Option<PathBuf>) -> (Option<Gpu>, Vec<TensorRtLibrary>, Vec<String>) {
    let (mut libraries, mut troubles) = (Vec::new(), Vec::new());
    for class in CLASSES {
        let Some(path) = named(class) else { continue };
        match Library::open(kind(class), &path) {
            Ok(library) => {
                let version = library.version().to_string();
                libraries.push(TensorRtLibrary { class: class.to_owned(), path, version });
            }
            Err(error) => troubles.push(error.to_string()),
        }
    }
    // Nothing would run on it.
    if libraries.is_empty() {
        return (None, libraries, troubles);
    }
    match gpu() {
        Ok(gpu) => (Some(gpu), libraries, troubles),
        Err(error) => {
            troubles.push(error.to_string());
            (None, libraries, troubles)
        }
    }
}

fn gpu() -> Result<Gpu, TensorRtError> {
    // The class is named in an error alone.
    let kind = Kind::Rtx;
    let device = Device::open(kind, 0)?;
    let capability = device.capability(kind)?;
    Ok(Gpu {
        name: device.name(kind)?,
        capability: (capability / 10, capability % 10),
        memory: device.memory(kind)?,
        driver: driver(&std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default()),
    })
}

/// The version in what the kernel module says of itself: `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05 ...`.
fn driver(told: &str) -> String {
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    told.split_whitespace().find(is_version).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_version_is_the_first_number_with_dots() {
        let told = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: gcc 12.2.0";
        assert_eq!(driver(told), "580.95.05");
        assert_eq!(driver(""), "unknown");
    }

    #[test]
    fn a_library_that_is_none_is_a_trouble_and_no_gpu_is_looked_for() {
        let (gpu, libraries, troubles) = found(&|class| (class == "tensorrt").then(|| "/no/such/library.so".into()));
        assert!(gpu.is_none() && libraries.is_empty());
        assert!(troubles.len() == 1 && troubles[0].contains("/no/such/library.so"), "{troubles:?}");
    }
}
