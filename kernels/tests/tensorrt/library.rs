//! Which libraries are taken for TensorRT.
use super::stand_in::{Source, stand_in};
use super::{path, rtx};
use std::path::Path;
use sund_kernels::tensorrt::{Kind, Library, TensorRtError};

fn refused(kind: Kind, path: &Path) -> TensorRtError {
    Library::open(kind, path).map(|library| format!("{library:?}")).expect_err("it is refused")
}

/// Of C: a library that every process has open.
fn libc() -> &'static Path {
    let places = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
    places.map(Path::new).into_iter().find(|path| path.exists()).expect("a C library")
}

#[test]
fn tensorrt_rtx_is_taken_for_what_it_is() {
    let library = rtx();
    assert_eq!(library.kind(), Kind::Rtx);
    assert_eq!(library.version().major, Kind::Rtx.built_for().major);
    assert!(library.version() >= Kind::Rtx.built_for());
    assert_eq!(library.path(), path().canonicalize().unwrap());
}

#[test]
fn the_two_halves_are_of_two_versions() {
    assert!(Kind::Rtx.built_for().major < Kind::Enterprise.built_for().major);
    assert_eq!((Kind::Rtx.class(), Kind::Enterprise.class()), ("tensorrt-rtx", "tensorrt"));
}

#[test]
fn tensorrt_rtx_is_no_enterprise_tensorrt() {
    let error = refused(Kind::Enterprise, &path());
    assert!(matches!(&error, TensorRtError::Version { found, .. } if *found == rtx().version()), "{error}");
}

#[test]
fn a_library_that_is_no_tensorrt_is_refused() {
    for kind in [Kind::Rtx, Kind::Enterprise] {
        let error = refused(kind, libc());
        assert!(matches!(error, TensorRtError::NotTensorRt { symbol: "getInferLibMajorVersion", .. }), "{error}");
    }
}

#[test]
fn no_library_and_no_file_of_code_are_refused() {
    for kind in [Kind::Rtx, Kind::Enterprise] {
        for path in ["/no/such/library.so", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "/", ""] {
            let error = refused(kind, Path::new(path));
            assert!(matches!(error, TensorRtError::Open { .. }), "{error}");
        }
    }
}

#[test]
fn another_version_is_refused_before_its_first_call() {
    let needed = Kind::Enterprise.built_for();
    let (before, after) = ([needed.major - 1, 9, 9], [needed.major + 1, 0, 0]);
    for version in [before, after, [needed.major, needed.minor - 1, 9], [0, 0, 0], [-1, -1, -1]] {
        let library = stand_in(&format!("version-{version:?}"), &Source { version, ..Source::of(needed) });
        let error = refused(Kind::Enterprise, &library);
        assert!(matches!(error, TensorRtError::Version { .. }), "{error}");
    }
}

#[test]
fn a_later_minor_version_is_taken() {
    let needed = Kind::Enterprise.built_for();
    let version = [needed.major, needed.minor + 1, 0];
    let library = stand_in("later", &Source { version, ..Source::of(needed) });
    assert_eq!(Library::open(Kind::Enterprise, &library).unwrap().version().minor, needed.minor + 1);
}

#[test]
fn a_library_that_lacks_an_entry_is_refused() {
    let needed = Kind::Enterprise.built_for();
    let library = stand_in("lacking", &Source { runtime: None, ..Source::of(needed) });
    let error = refused(Kind::Enterprise, &library);
    assert!(matches!(error, TensorRtError::NotTensorRt { symbol: "createInferRuntime_INTERNAL", .. }), "{error}");
}
