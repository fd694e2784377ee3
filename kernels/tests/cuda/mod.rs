//! The CUDA kernels on the processor: their very sources, compiled for the host with sanitizers, behind the very launchers.
mod ending;
pub mod host;
#[cfg(feature = "fatbin")]
mod image;
mod parity;
mod sources;
mod steps;

use host::{Host, Sanitizer};

/// Every operation against its reference, with steps beyond an array, undefined behaviour and leaks caught.
#[test]
fn every_operation_is_its_reference_under_address_and_undefined_behaviour_sanitizers() {
    let mut host = Host::start(Sanitizer::AddressAndUndefined);
    for operation in parity::OPERATIONS {
        operation.check(&mut host, 24);
        let is_named_so = |kernel: &String| kernel.starts_with(operation.name());
        assert!(host.launched().iter().any(is_named_so), "no kernel is named after {}", operation.name());
    }
    assert_eq!(host.launched(), sund_kernels::cuda::sources::kernels().into_iter().collect());
    host.end();
}

/// The steps of a cascade, what one makes being what the next reads.
#[test]
fn a_cascade_that_stays_in_memory_makes_each_value_that_its_references_make() {
    let mut host = Host::start(Sanitizer::AddressAndUndefined);
    for seed in 0..24 {
        steps::cascade(&mut host, seed);
    }
    host.end();
}

/// Every operation again, blocks or threads at once, with unordered access to the same memory caught.
#[test]
fn every_operation_is_its_reference_under_the_thread_sanitizer() {
    let mut host = Host::start(Sanitizer::Thread);
    for operation in parity::OPERATIONS {
        operation.check(&mut host, 4);
    }
    host.end();
}
