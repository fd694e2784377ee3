//! What a package declares of its networks is compared with their files, and no network runs on anything else.
use crate::model::onnxruntime;
use ring::digest::{SHA256, digest};
use std::fs;
use std::path::Path;
use sund_agent::fault::Fault;
use sund_agent::hex::hex;
use sund_agent::infer::{Engine, OnnxRuntimeEngine, TractEngine};
use sund_agent::model::{Package, golden};

const FLOAT: u64 = 1;
const UINT8: u64 = 2;

/// A network that answers what it is given, as ONNX writes it (onnx.proto3), of inputs and outputs by name, type and shape.
fn onnx(inputs: &[(&str, u64, &[u64])], outputs: &[(&str, u64, &[u64])], weights_outside: bool) -> Vec<u8> {
    let node = [bytes(1, inputs[0].0), bytes(2, outputs[0].0), bytes(4, "Identity")].concat();
    let mut graph = [bytes(1, node), bytes(2, "graph")].concat();
    if weights_outside {
        graph.extend(bytes(5, [number(2, FLOAT), bytes(8, "w"), number(14, 1)].concat()));
    }
    graph.extend(inputs.iter().flat_map(|one| bytes(11, value_info(one))));
    graph.extend(outputs.iter().flat_map(|one| bytes(12, value_info(one))));
    [number(1, 8), bytes(7, graph), bytes(8, number(2, 13))].concat()
}

/// Axes of length 0 are free.
fn value_info((name, element, shape): &(&str, u64, &[u64])) -> Vec<u8> {
    let axes = shape.iter().flat_map(|side| bytes(1, if *side == 0 { bytes(2, "n") } else { number(1, *side) }));
    let tensor = [number(1, *element), bytes(2, axes.collect::<Vec<u8>>())].concat();
    [bytes(1, *name), bytes(2, bytes(1, tensor))].concat()
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.as_ref().len() as u64), value.as_ref().to_vec()].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A package around a network, with the series of the brain model as its golden case: 20 slices of 256 rows and columns.
fn package(folder: &Path, network: &[u8], input: &str, output: &str, steps: &str) -> Result<Package, Fault> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/brain-extraction");
    fs::create_dir_all(folder.join("golden/brain")).unwrap();
    for entry in fs::read_dir(models.join("golden/brain")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join("golden/brain").join(entry.file_name())).unwrap();
    }
    fs::write(folder.join("n.onnx"), network).unwrap();
    let sha256 = hex(digest(&SHA256, network).as_ref());
    let manifest = fs::read_to_string(models.join("model.toml")).unwrap();
    let head = manifest.split("[[networks]]").next().unwrap();
    let (begin, end) = (head.find("[documents]").unwrap(), head.find("[selection]").unwrap());
    let head = [&head[..begin], &head[end..]].concat();
    let tail = manifest[manifest.find("[[segments]]").unwrap()..].split("mask = ").next().unwrap();
    let text = format!(
        "{head}[[networks]]\nname = 'n'\nfile = 'n.onnx'\nsha256 = '{sha256}'\ninput = {input}\noutput = {output}\n{steps}\
         [[steps]]\ndo = 'infer'\nfrom = 'given'\ninto = 'answer'\nnetwork = 'n'\n\
         [[steps]]\ndo = 'channel'\nfrom = 'answer'\ninto = 'score'\nchannel = 0\n\
         [[steps]]\ndo = 'threshold'\nfrom = 'score'\ninto = 'found'\nabove = 0.5\n\
         [[steps]]\ndo = 'onto'\nfrom = 'found'\ninto = 'brain'\ngrid = 'input'\nhow = 'nearest'\n{tail}"
    );
    fs::write(folder.join("model.toml"), text).unwrap();
    Package::open(folder)
}

const AS_IT_CAME: &str = "[[steps]]\ndo = 'scale-offset'\nfrom = 'input'\ninto = 'given'\nscale = 0.01\noffset = 0.0\n";

fn spec(name: &str, shape: &str) -> String {
    format!("{{ name = '{name}', type = 'float32', shape = {shape} }}")
}

#[test]
fn a_declaration_that_the_file_contradicts_is_refused_before_anything_runs() {
    const CUBE: &[u64] = &[1, 1, 64, 64, 64];
    let (x, y) = (("x", FLOAT, CUBE), ("y", FLOAT, CUBE));
    let (takes, gives) = (spec("x", "[1, 1, 64, 64, 64]"), spec("y", "[1, 1, 64, 64, 64]"));
    let folder = tempfile::tempdir().unwrap();
    let refused = |network: &[u8], input: &str, output: &str, expected: &[&str]| {
        let fault = package(folder.path(), network, input, output, AS_IT_CAME).unwrap_err();
        assert_eq!(fault.code, "package-invalid");
        assert!(expected.iter().all(|part| fault.reason.contains(part)), "{fault}");
    };
    let cube = onnx(&[x], &[y], false);
    assert!(package(folder.path(), &cube, &takes, &gives, AS_IT_CAME).is_ok());
    refused(
        &cube,
        &spec("image", "[1, 1, 64, 64, 64]"),
        &gives,
        &["networks.input is not what n.onnx says", "name = \"x\""],
    );
    refused(&cube, &spec("x", "[1, 1, 20, 64, 64]"), &gives, &["shape = [1, 1, 64, 64, 64]"]);
    refused(&cube, &spec("x", "[1, 1, 'slices', 64, 64]"), &gives, &["shape = [1, 1, 64, 64, 64]"]);
    refused(&cube, &takes, &spec("y", "[1, 2, 64, 64, 64]"), &["networks.output is not what"]);
    refused(&cube, &spec("x", "[1, 1, 64, 64]"), &gives, &["networks.input.shape", "[1, 1, slices, rows, columns]"]);
    refused(&cube, &takes, &spec("y", "[1, 1, 32, 32, 32]"), &["networks.output.shape is not on the grid"]);
    refused(&cube, "{ name = 'x', type = 'uint8', shape = [1] }", &gives, &["`uint8` is not one of the words"]);
    refused(&onnx(&[("x", UINT8, CUBE)], &[y], false), &takes, &gives, &["`x` of n.onnx is uint8"]);
    refused(&onnx(&[x, ("z", FLOAT, CUBE)], &[y], false), &takes, &gives, &["n.onnx has 2 inputs: x, z"]);
    refused(&onnx(&[x], &[y], true), &takes, &gives, &["keeps its weights in another file"]);
    refused(b"hello", &takes, &gives, &["n.onnx is not an ONNX file"]);

    // What the file leaves free may be declared either way.
    let free = onnx(&[("x", FLOAT, &[1, 1, 0, 0, 0])], &[("y", FLOAT, &[1, 1, 0, 0, 0])], false);
    assert!(package(folder.path(), &free, &takes, &gives, AS_IT_CAME).is_ok());
    let any = "[1, 1, 'k', 'j', 'i']";
    assert!(package(folder.path(), &free, &spec("x", any), &spec("y", any), AS_IT_CAME).is_ok());

    // Where the steps say what a network will be given, no series is needed to see that it does not fit.
    let resized = "[[steps]]\ndo = 'resize'\nfrom = 'input'\ninto = 'given'\ndims = [32, 64, 64]\nhow = 'linear'\n";
    let fault = package(folder.path(), &cube, &takes, &gives, resized).unwrap_err();
    assert!(fault.reason.contains("steps.from `given` has [32, 64, 64] voxels"), "{fault}");
}

#[test]
fn a_series_of_another_shape_is_refused_on_every_engine_before_the_network_runs() {
    let mut onnxruntime = OnnxRuntimeEngine::open(&onnxruntime()).expect("ONNX Runtime");
    let mut engines: [&mut dyn Engine; 2] = [&mut TractEngine::default(), &mut onnxruntime];
    let folder = tempfile::tempdir().unwrap();
    let any = onnx(&[("x", FLOAT, &[1, 1, 0, 0, 0])], &[("y", FLOAT, &[1, 1, 0, 0, 0])], false);
    for (shape, fits) in [("[1, 1, 64, 64, 64]", false), ("[1, 1, 20, 'side', 'side']", true)] {
        let package = package(folder.path(), &any, &spec("x", shape), &spec("y", shape), AS_IT_CAME).unwrap();
        for engine in &mut engines {
            engine.unload();
            let fault = golden::check(&package, *engine).unwrap_err();
            if fits {
                assert_eq!(fault.code, "golden-case-missed", "{fault}");
            } else {
                assert_eq!(fault.code, "network-wrong-shape", "{fault}");
                let told = "network n takes [1, 1, 64, 64, 64] as `x`, not [1, 1, 20, 256, 256]";
                assert_eq!(fault.reason, told);
            }
        }
    }
}
