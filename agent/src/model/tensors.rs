//! What a network takes and gives: as the manifest declares it, as the network's file says, and as a run does it.
use super::manifest::{Input, Manifest, Network};
use super::onnx::{Graph, Port};
use super::place::Manuscript;
use super::step::Step;
use crate::counted::counted;
use crate::fault::{Blame, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A tensor that a network takes or gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// What the file calls it.
    pub name: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub element: Element,
    /// Its axes, the last one fastest.
    pub shape: Vec<Axis>,
}

/// What the values of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Element {
    /// 32-bit reals.
    Float32,
}

/// An axis of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "neither a length nor the name of a free axis")]
pub enum Axis {
    /// Of this length.
    Fixed(usize),
    /// Of any length; those of one name are equally long.
    Free(String),
}

/// The lengths that the free axes of a network have in one run, by name.
pub type Lengths<'a> = BTreeMap<&'a str, usize>;

impl TensorSpec {
    /// True where a tensor of this shape may be given or answered. Free axes take their lengths from it.
    pub fn admits<'a>(&'a self, shape: &[usize], lengths: &mut Lengths<'a>) -> bool {
        let fits = |(axis, length): (&'a Axis, &usize)| match axis {
            Axis::Fixed(fixed) => fixed == length,
            Axis::Free(name) => lengths.entry(name).or_insert(*length) == length,
        };
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits)
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        write!(f, "[{}]", axes.join(", "))
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Axis::Fixed(length) => length.fmt(f),
            Axis::Free(name) => name.fmt(f),
        }
    }
}

/// Why a tensor is not the one that was declared.
pub fn wrong_shape(network: &Network, verb: &str, declared: &TensorSpec, found: &[usize]) -> Fault {
    let reason = format!("network {} {verb} {declared} as `{}`, not {found:?}", network.name, declared.name);
    Fault::new("network-wrong-shape", Blame::Package, reason)
}

/// Compares what the manifest declares of a network with what its file says.
pub(super) fn compare(n: usize, network: &Network, graph: Result<Graph, String>, script: &mut Manuscript<'_>) {
    let path = format!("networks.{n}");
    let graph = match graph {
        Ok(graph) => graph,
        Err(wrong) => return script.complain(&format!("{path}.file"), format!("{} {wrong}", network.file), ""),
    };
    if let [_, _, ..] = &graph.inputs[..] {
        let names: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
        let wrong = format!("{} has {} inputs: {}", network.file, names.len(), names.join(", "));
        script.complain(&format!("{path}.input"), wrong, "a network takes one tensor");
        return;
    }
    let both = [("input", &network.input, graph.inputs.first()), ("output", &network.output, graph.outputs.first())];
    for (key, declared, found) in both {
        let Some(found) = found else {
            script.complain(&format!("{path}.{key}"), format!("{} has no {key}", network.file), "");
            continue;
        };
        if found.element != "float32" {
            let wrong = format!("`{}` of {} is {}", found.name, network.file, found.element);
            script.complain(
                &format!("{path}.{key}"),
                wrong,
                "float32 is what format 1 gives to networks and takes from them",
            );
        } else if declared.name != found.name || !agree(declared, found) {
            let help = format!("if the file is right, write {key} = {}", written(found, declared));
            script.complain(&format!("{path}.{key}"), format!("is not what {} says", network.file), help);
        }
    }
}

/// An axis that the file fixes is declared as it is; one that it leaves free may be declared with a length.
fn agree(declared: &TensorSpec, found: &Port) -> bool {
    let same = |(declared, found): (&Axis, &Result<usize, String>)| match (declared, found) {
        (Axis::Fixed(declared), Ok(found)) => declared == found,
        (Axis::Free(_), Ok(_)) => false,
        (_, Err(_)) => true,
    };
    let shape = found.shape.as_ref();
    shape.is_none_or(|shape| shape.len() == declared.shape.len() && declared.shape.iter().zip(shape).all(same))
}

/// What the file says, as a manifest would.
fn written(found: &Port, declared: &TensorSpec) -> String {
    let shape = match &found.shape {
        Some(axes) => {
            axes.iter().map(|axis| axis.as_ref().map_or_else(|name| format!("{name:?}"), usize::to_string)).collect()
        }
        None => declared.shape.iter().map(Axis::to_string).collect::<Vec<_>>(),
    };
    format!("{{ name = {:?}, type = \"float32\", shape = [{}] }}", found.name, shape.join(", "))
}

/// Tells what could never be run: networks whose tensors are not those that steps give them or read, before any file is
/// looked at.
pub(super) fn check(manifest: &Manifest, script: &mut Manuscript<'_>) {
    let (given, taken) = match manifest.input {
        Input::Volume => {
            ([Some(1), Some(1), None, None, None].as_slice(), [Some(1), None, None, None, None].as_slice())
        }
        Input::Images => ([Some(1), Some(3), None, None].as_slice(), [Some(1), Some(1), None, None].as_slice()),
    };
    for (n, network) in manifest.networks.iter().enumerate() {
        for (key, spec, wanted) in [("input", &network.input, given), ("output", &network.output, taken)] {
            let fits = |(axis, wanted): (&Axis, &Option<usize>)| match (axis, wanted) {
                (Axis::Fixed(length), Some(wanted)) => length == wanted,
                _ => true,
            };
            if spec.shape.len() != wanted.len() || !spec.shape.iter().zip(wanted).all(fits) {
                let (message, help) = match (manifest.input, key) {
                    (Input::Volume, "input") => {
                        ("is not of the shape that a volume has", "[1, 1, slices, rows, columns]")
                    }
                    (Input::Volume, _) => ("is no answer for a volume", "[1, channels, slices, rows, columns]"),
                    (Input::Images, "input") => ("is not of the shape that an image has", "[1, 3, rows, columns]"),
                    (Input::Images, _) => ("is no answer for an image", "[1, 1, rows, columns]"),
                };
                script.complain(&format!("networks.{n}.{key}.shape"), message, help);
            }
        }
    }
    for (n, Network { input, output, .. }) in manifest.networks.iter().enumerate() {
        let differ = |(one, other): (&Axis, &Axis)| matches!((one, other), (Axis::Fixed(a), Axis::Fixed(b)) if a != b);
        if manifest.input == Input::Volume && input.shape.iter().zip(&output.shape).skip(2).any(differ) {
            let help = "a network answers for each voxel that it is given";
            script.complain(&format!("networks.{n}.output.shape"), "is not on the grid of the input", help);
        }
    }
    for (n, step) in manifest.steps.iter().enumerate() {
        let earlier = &manifest.steps[..n];
        match step {
            Step::Infer { from, network, .. } => {
                let network = manifest.networks.iter().find(|known| known.name == *network);
                let (Some(network), Some(dims)) = (network, dims(earlier, from)) else { continue };
                let [_, _, axes @ ..] = &network.input.shape[..] else { continue };
                let differs = |(axis, side): (&Axis, usize)| matches!(axis, Axis::Fixed(length) if *length != side);
                if axes.iter().zip(dims).any(differs) {
                    let wrong = format!("`{from}` has {dims:?} voxels; the network takes {}", network.input);
                    script.complain(&format!("steps.{n}.from"), wrong, "");
                }
            }
            Step::Channel { from, channel, .. } => {
                has_channel(manifest, earlier, from, *channel, &format!("steps.{n}.channel"), script);
            }
            Step::Argmax { from, label, .. } => {
                has_channel(manifest, earlier, from, *label, &format!("steps.{n}.label"), script);
            }
            _ => {}
        }
    }
}

fn has_channel(
    manifest: &Manifest,
    earlier: &[Step],
    answer: &str,
    channel: usize,
    path: &str,
    script: &mut Manuscript<'_>,
) {
    if let Some(channels) = channels(manifest, earlier, answer).filter(|channels| channel >= *channels) {
        let help = format!("channels are counted from 0, the last is {}", channels.saturating_sub(1));
        script.complain(path, format!("the answer has {}", counted(channels, "channel", "channels")), help);
    }
}

/// The dimensions of a value, where the steps that made it say them.
fn dims(earlier: &[Step], value: &str) -> Option<[usize; 3]> {
    let at = earlier.iter().rposition(|step| step.values().1 == value)?;
    match &earlier[at] {
        Step::Resize { dims, .. } => Some(*dims),
        Step::Window { from, .. }
        | Step::ClipRange { from, .. }
        | Step::ZScore { from, .. }
        | Step::ScaleOffset { from, .. } => dims(&earlier[..at], from),
        _ => None,
    }
}

/// How many channels an answer has, where the manifest says it.
fn channels(manifest: &Manifest, earlier: &[Step], answer: &str) -> Option<usize> {
    let at = earlier.iter().rposition(|step| step.values().1 == answer)?;
    let network = match &earlier[at] {
        Step::Infer { network, .. } => network,
        Step::Softmax { from, .. } => return channels(manifest, &earlier[..at], from),
        _ => return None,
    };
    let network = manifest.networks.iter().find(|known| known.name == *network)?;
    match network.output.shape.get(1)? {
        Axis::Fixed(channels) => Some(*channels),
        Axis::Free(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &str) -> TensorSpec {
        toml::from_str(&format!("name = 'x'\ntype = 'float32'\nshape = {shape}")).unwrap()
    }

    #[test]
    fn a_free_axis_takes_any_length_and_the_same_one_throughout_a_run() {
        let (input, output) = (spec("[1, 3, 'rows', 'columns']"), spec("[1, 1, 'rows', 'columns']"));
        let mut lengths = Lengths::new();
        assert!(input.admits(&[1, 3, 480, 640], &mut lengths));
        assert!(output.admits(&[1, 1, 480, 640], &mut lengths));
        assert!(!output.admits(&[1, 1, 240, 640], &mut lengths));
        assert!(!input.admits(&[1, 3, 480], &mut Lengths::new()));
        assert!(!input.admits(&[2, 3, 480, 640], &mut Lengths::new()));
        assert_eq!(input.to_string(), "[1, 3, rows, columns]");
    }
}
