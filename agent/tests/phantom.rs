//! An asymmetric phantom through the very pipeline: oblique, stored from its far end, 1.3 x 0.7 x 2.5 mm, its instance
//! numbers shuffled. Any flip, shift or exchange of axes on the way shows as voxels that differ.
use ring::digest::{SHA256, digest};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use sund_agent::hex::hex;

const SUND: &str = env!("CARGO_BIN_EXE_sund");
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/phantom");

/// Marks what is bright, and by a cascade, what is very bright: the axes are turned, the second mask is made of a part that
/// was cut out and is put back. All steps that could move a voxel, and none that should.
const MANIFEST: &str = r#"
format = 1
name = "bright"
title = "What is bright"
version = "1.0.0"
vendor = "Sund"
intended_use = "Marks what is above 150 HU."
regulatory_status = "Not a medical device. For tests."
licence = "Apache-2.0"
runtime = "declared"
engines = [{ class = "tract", precision = "fp32" }]
input = "volume"

[selection]
modality = ["CT"]

[[networks]]
name = "same"
file = "same.onnx"
sha256 = "@SHA256@"
input = { name = "x", type = "float32", shape = ["a", "b", "c", "d", "e"] }
output = { name = "y", type = "float32", shape = ["a", "b", "c", "d", "e"] }

[[steps]]
do = "orient"
from = "input"
into = "turned"
axes = "SAR"

[[steps]]
do = "infer"
from = "turned"
into = "answer"
network = "same"

[[steps]]
do = "channel"
from = "answer"
into = "score"
channel = 0

[[steps]]
do = "threshold"
from = "score"
into = "bright-turned"
above = 150.0

[[steps]]
do = "onto"
from = "bright-turned"
into = "bright"
grid = "input"
how = "nearest"

[[steps]]
do = "threshold"
from = "turned"
into = "located"
above = 450.0

[[steps]]
do = "occupied-region"
from = "located"
into = "region"
of = "turned"
occupancy = 0.0
margin = 1.2

[[steps]]
do = "crop"
from = "turned"
into = "cropped"
region = "region"

[[steps]]
do = "infer"
from = "cropped"
into = "answer-cropped"
network = "same"

[[steps]]
do = "channel"
from = "answer-cropped"
into = "score-small"
channel = 0

[[steps]]
do = "onto"
from = "score-small"
into = "score-cropped"
grid = "cropped"
how = "nearest"

[[steps]]
do = "threshold"
from = "score-cropped"
into = "very-bright-cropped"
above = 450.0

[[steps]]
do = "paste"
from = "very-bright-cropped"
into = "very-bright-turned"
region = "region"
onto = "turned"

[[steps]]
do = "onto"
from = "very-bright-turned"
into = "very-bright"
grid = "input"
how = "nearest"

[[segments]]
from = "bright"
label = "Bright"
category = { value = "85756007", scheme = "SCT", meaning = "Tissue" }
property = { value = "85756007", scheme = "SCT", meaning = "Tissue" }
colour = [200, 120, 60]
volume_ml = true

[[segments]]
from = "very-bright"
label = "Very bright"
category = { value = "85756007", scheme = "SCT", meaning = "Tissue" }
property = { value = "85756007", scheme = "SCT", meaning = "Tissue" }
colour = [60, 120, 200]
volume_ml = true
"#;

/// A field of a protobuf message that holds bytes: a text or a message. Its length is a varint: seven bits to a byte.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (low, high) = (bytes.len() & 0x7f, bytes.len() >> 7);
    let length = if high == 0 { vec![low as u8] } else { vec![low as u8 | 0x80, high as u8] };
    [&[number << 3 | 2][..], &length, bytes].concat()
}

/// A field that holds a small number.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// The network whose answer is its input: ONNX's ModelProto with one node, five dimensions that are not fixed.
fn identity() -> Vec<u8> {
    let dims: Vec<u8> = (0..5).flat_map(|n| field(1, &field(2, &[b'a' + n]))).collect();
    let tensor = [number(1, 1), field(2, &dims)].concat();
    let value = |name: &[u8]| [field(1, name), field(2, &field(1, &tensor))].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Identity")].concat();
    let graph = [field(1, &node), field(2, b"same"), field(11, &value(b"x")), field(12, &value(b"y"))].concat();
    [number(1, 8), field(8, &number(2, 13)), field(7, &graph)].concat()
}

pub fn python(script: &str, folder: &Path) {
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).arg(Path::new(TESTS).join(script)).arg(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{python}: {error}; install what .ci/requirements.txt lists"));
    assert!(output.status.success(), "{script}: {}", told(&output));
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn no_voxel_of_an_oblique_reversed_anisotropic_phantom_has_moved() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("bright");
    fs::create_dir(&package).unwrap();
    let network = identity();
    let sha256 = hex(digest(&SHA256, &network).as_ref());
    fs::write(package.join("same.onnx"), network).unwrap();
    fs::write(package.join("model.toml"), MANIFEST.replace("@SHA256@", &sha256)).unwrap();
    python("make.py", folder.path());
    let ran = Command::new(SUND)
        .args(["model", "run", "bright", "--on", "series", "--out", "out"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", told(&ran));
    python("check.py", folder.path());
}
