//! A package that is a little wrong misses its golden cases: an axis that is flipped, a channel that is another, a window or a
//! normalisation that is not the one of the training, weights that are not those that were trained.
use crate::hospital::copy_of;
use crate::model::onnxruntime;
use prost::Message as _;
use ring::digest::{SHA256, digest};
use std::fs;
use std::path::Path;
use sund_agent::hex::hex;
use sund_agent::infer::{Engine, OnnxRuntimeEngine};
use sund_agent::model::{Package, golden};
use tract_onnx::onnx;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::Framework as _;

/// The model with one place of its manifest changed must miss.
fn is_caught(model: &str, from: &str, to: &str) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    copy_of(model, &copy);
    let manifest = fs::read_to_string(copy.join("model.toml")).unwrap();
    assert!(manifest.matches(from).count() == 1, "{from} is not in the manifest, or more than once");
    fs::write(copy.join("model.toml"), manifest.replace(from, to)).unwrap();
    misses(&copy, to);
}

fn misses(folder: &Path, mutant: &str) {
    let package = Package::open(folder).unwrap();
    let mut engine = OnnxRuntimeEngine::open(&onnxruntime()).unwrap();
    engine.unload();
    match golden::check(&package, &mut engine) {
        Ok(_) => panic!("a mutant holds: {mutant}"),
        Err(fault) => assert_eq!(fault.code, "golden-case-missed", "{mutant}: {fault}"),
    }
}

#[test]
fn the_text_model_with_another_channel_order_or_normalisation_is_caught() {
    for (from, to) in [
        ("order = \"bgr\"", "order = \"rgb\""),
        ("mean = 0.5", "mean = 0.45"),
        ("deviation = 0.5", "deviation = 0.45"),
        ("deviation = 0.5", "deviation = 0.25"),
        ("longest = 736", "longest = 512"),
        ("score = 0.5\ngrow", "score = 0.9\ngrow"),
    ] {
        is_caught("text-detection", from, to);
    }
}

#[test]
fn the_brain_model_with_a_flipped_or_swapped_axis_is_caught() {
    // The brain is nearly like its mirror image: its volume alone would not tell the first of these.
    for axes in ["SAL", "SPR", "IAR", "ASR"] {
        is_caught("brain-extraction", "axes = \"SAR\"", &format!("axes = \"{axes}\""));
    }
}

#[test]
fn the_brain_model_with_another_channel_window_or_normalisation_is_caught() {
    for (from, to) in [
        ("into = \"score\"\nchannel = 1", "into = \"score\"\nchannel = 0"),
        ("high = 0.995", "high = 0.95"),
        ("into = \"large-normal\"\nscale = 0.226", "into = \"large-normal\"\nscale = 0.5"),
        (
            "into = \"large-normal\"\nscale = 0.226\noffset = 0.449",
            "into = \"large-normal\"\nscale = 0.226\noffset = 0.0",
        ),
        ("into = \"mask-raw\"\nabove = 0.5", "into = \"mask-raw\"\nabove = 0.8"),
    ] {
        is_caught("brain-extraction", from, to);
    }
}

/// No shape, no name and no step differs.
#[test]
fn weights_that_are_not_those_that_were_trained_are_caught() {
    is_caught_with_network("text-detection", "detect.onnx", |weights, seed| shake(weights, seed, 0.1));
    is_caught_with_network("brain-extraction", "extract.onnx", |weights, seed| shake(weights, seed, 0.1));
    // It only finds the head: by a tenth it still finds it, and the mask is the same within the case's tolerance.
    is_caught_with_network("brain-extraction", "locate.onnx", |weights, seed| shake(weights, seed, 0.5));
}

/// With every kernel mirrored the network sees the mirror image, and answers with it: its manifest has no axis to flip.
#[test]
fn the_text_model_with_a_flipped_axis_is_caught() {
    is_caught_with_network("text-detection", "detect.onnx", |weights, _| {
        if let [.., width] = weights.dims[..]
            && weights.dims.len() == 4
        {
            mirror(weights, width as usize);
        }
    });
}

/// The model with the weights of one network changed, and their digest with them, must miss.
fn is_caught_with_network(model: &str, file: &str, change: fn(&mut TensorProto, &mut u64)) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    copy_of(model, &copy);
    let network = fs::read(copy.join(file)).unwrap();
    let changed = with_weights(&network, change);
    let [before, after] = [&network, &changed].map(|bytes| hex(digest(&SHA256, bytes).as_ref()));
    assert_ne!(before, after, "nothing of {file} was changed");
    let manifest = fs::read_to_string(copy.join("model.toml")).unwrap();
    assert!(manifest.contains(&before));
    fs::write(copy.join("model.toml"), manifest.replace(&before, &after)).unwrap();
    fs::write(copy.join(file), changed).unwrap();
    misses(&copy, file);
}

/// The network with each of its weights of more than one axis changed.
fn with_weights(network: &[u8], change: fn(&mut TensorProto, &mut u64)) -> Vec<u8> {
    let mut model = onnx().proto_model_for_read(&mut { network }).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let mut seed = 1_u64;
    let constants = graph.node.iter_mut().filter(|node| node.op_type == "Constant");
    let constants = constants.flat_map(|node| &mut node.attribute).filter_map(|attribute| attribute.t.as_mut());
    for weights in graph.initializer.iter_mut().chain(constants).filter(|weights| weights.dims.len() > 1) {
        change(weights, &mut seed);
    }
    model.encode_to_vec()
}

/// Each weight times 1 - share to 1 + share.
fn shake(weights: &mut TensorProto, seed: &mut u64, share: f32) {
    let mut factor = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1.0 - share + 2.0 * share * (*seed >> 40) as f32 / (1 << 24) as f32
    };
    match DataType::try_from(weights.data_type).unwrap() {
        DataType::Float => {
            for value in weights.raw_data.chunks_exact_mut(4) {
                let shaken = f32::from_le_bytes((&*value).try_into().unwrap()) * factor();
                value.copy_from_slice(&shaken.to_le_bytes());
            }
            weights.float_data.iter_mut().for_each(|value| *value *= factor());
        }
        DataType::Float16 => {
            for value in weights.raw_data.chunks_exact_mut(2) {
                let shaken = half::f16::from_le_bytes((&*value).try_into().unwrap()).to_f32() * factor();
                value.copy_from_slice(&half::f16::from_f32(shaken).to_le_bytes());
            }
        }
        _ => {}
    }
}

/// Reverses each row of so many weights.
fn mirror(weights: &mut TensorProto, row: usize) {
    let bytes = match DataType::try_from(weights.data_type).unwrap() {
        DataType::Float => 4,
        DataType::Float16 => 2,
        _ => return,
    };
    for row in weights.raw_data.chunks_exact_mut(row * bytes) {
        // Each weight backwards, then the whole row backwards: the weights change places and keep their bytes.
        row.chunks_exact_mut(bytes).for_each(<[u8]>::reverse);
        row.reverse();
    }
    weights.float_data.chunks_exact_mut(row).for_each(<[f32]>::reverse);
}
