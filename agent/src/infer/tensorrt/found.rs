//! Looks for a GPU and for libraries of TensorRT, and opens both: only in a process that may be lost.
use super::compiler::kind;
use crate::infer::{Found, Gpu, TensorRtLibrary};
use std::path::PathBuf;
use sund_kernels::tensorrt::{Gpu as Device, Kind, Library, TensorRtError};

/// The first GPU that the process may see, and the libraries among these, by their classes, that can be opened.
pub fn found(named: &[(String, PathBuf)]) -> Found {
    let (mut tensorrt, mut troubles) = (Vec::new(), Vec::new());
    for (class, path) in named {
        match Library::open(kind(class), path) {
            Ok(library) => {
                let version = library.version().to_string();
                tensorrt.push(TensorRtLibrary { class: class.clone(), path: path.clone(), version });
            }
            Err(error) => troubles.push(error.to_string()),
        }
    }
    // Without a library nothing would run on it.
    let gpu = if tensorrt.is_empty() { None } else { gpu().map_err(|error| troubles.push(error.to_string())).ok() };
    Found { gpu, tensorrt, trouble: (!troubles.is_empty()).then(|| troubles.join("; ")) }
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
        let found = found(&[("tensorrt".to_owned(), "/no/such/library.so".into())]);
        assert!(found.gpu.is_none() && found.tensorrt.is_empty());
        assert!(found.trouble.as_ref().is_some_and(|trouble| trouble.contains("/no/such/library.so")), "{found:?}");
    }
}
