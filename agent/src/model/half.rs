//! A network in 16-bit floats (IEEE 754 binary16), for engines that compute in them. What the network takes and gives stays in 32
//! bits; so do operations that sum many values or take exponentials, and constants that 16 bits cannot hold. Whether the answers
//! are still good enough is not known here: golden cases say so.
mod constants;
mod operations;
mod values;

use operations::{Work, work};
use prost::Message as _;
use std::collections::BTreeMap;
use tract_onnx::onnx;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::Framework as _;
use values::{Form, Values};

/// IR version from which weights need not be among the inputs of a graph.
const IR_WITH_FREE_WEIGHTS: i64 = 4;

/// The same network in 16-bit floats; a sentence where it has an operation that is not known here.
pub fn converted(network: &[u8]) -> Result<Vec<u8>, String> {
    let mut model = onnx().proto_model_for_read(&mut { network }).map_err(|_| "is not an ONNX file".to_owned())?;
    let graph = model.graph.take().ok_or("is not an ONNX file: it holds no graph")?;
    model.ir_version = model.ir_version.max(IR_WITH_FREE_WEIGHTS);
    model.graph = Some(in_half(graph)?);
    Ok(model.encode_to_vec())
}

fn in_half(mut graph: GraphProto) -> Result<GraphProto, String> {
    constants::hoist(&mut graph)?;
    let constants = graph.initializer.iter().map(|weights| (weights.name.clone(), weights.data_type));
    let mut types: BTreeMap<String, i32> = constants.collect();
    let mut values = Values::new(std::mem::take(&mut graph.initializer));
    graph.input.retain(|input| !types.contains_key(&input.name));
    for input in &graph.input {
        types.insert(input.name.clone(), values::element(input));
        values.give(&input.name, Form::Single);
    }
    for node in std::mem::take(&mut graph.node) {
        convert(node, &mut types, &mut values)?;
    }
    for output in &graph.output {
        values.end(&output.name, types.get(&output.name) == Some(&(DataType::Float as i32)));
    }
    // Types of values between nodes, which are others now.
    graph.value_info.clear();
    (graph.node, graph.initializer) = values.into_parts();
    Ok(graph)
}

/// Puts a node into the graph, in the form that it works in, behind the casts that it needs.
fn convert(mut node: NodeProto, types: &mut BTreeMap<String, i32>, values: &mut Values) -> Result<(), String> {
    let float = DataType::Float as i32;
    let type_of = |name: &String| types.get(name).copied();
    if !node.domain.is_empty() && node.domain != "ai.onnx" {
        return Err(format!("has an operation {} of {}, which is not known here", node.op_type, node.domain));
    }
    let (work, made) = work(&node, &type_of)?;
    for output in node.output.iter().filter(|output| !output.is_empty()) {
        types.insert(output.clone(), made);
    }
    let is_float = |types: &BTreeMap<String, i32>, name: &String| types.get(name) == Some(&float);
    let form = match work {
        Work::Half { .. } if node.input.iter().all(|input| values.fits_half(input)) => Form::Half,
        // A cast to 32 bits of what has 16 is not needed any more.
        Work::CastToFloat => {
            for attribute in node.attribute.iter_mut().filter(|attribute| attribute.name == "to") {
                attribute.i = DataType::Float16 as i64;
            }
            Form::Half
        }
        _ => Form::Single,
    };
    let kept: &[usize] = if let Work::Half { kept } = work { kept } else { &[] };
    for (n, input) in node.input.iter_mut().enumerate() {
        if !input.is_empty() && is_float(types, input) {
            let wanted = if kept.contains(&n) || matches!(work, Work::CastToFloat) { Form::Single } else { form };
            *input = values.take(input, wanted);
        }
    }
    let outputs: Vec<String> = node.output.clone();
    values.push(node);
    for output in outputs.iter().filter(|output| is_float(types, output)) {
        values.give(output, form);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn demo(file: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(file)).unwrap()
    }

    fn graph(network: &[u8]) -> GraphProto {
        onnx().proto_model_for_read(&mut { network }).unwrap().graph.unwrap()
    }

    #[test]
    fn weights_are_halved_and_the_edges_stay_in_32_bits() {
        for file in ["text-detection/detect.onnx", "brain-extraction/locate.onnx"] {
            let before = demo(file);
            let after = converted(&before).unwrap();
            let [old, new] = [&before, &after].map(|network| graph(network));
            assert_eq!((&old.input, &old.output), (&new.input, &new.output), "{file}");
            let bytes = |of: DataType| -> usize {
                let of = new.initializer.iter().filter(|weights| weights.data_type == of as i32);
                of.map(|weights| weights.raw_data.len()).sum()
            };
            assert!(bytes(DataType::Float16) > 100 * bytes(DataType::Float), "{file}");
            // The same twice: what is compiled of it can be compared.
            assert!(after == converted(&before).unwrap(), "{file}");
        }
    }

    #[test]
    fn what_sums_many_values_stays_in_32_bits() {
        let new = graph(&converted(&demo("brain-extraction/locate.onnx")).unwrap());
        let halves: Vec<&str> = new
            .initializer
            .iter()
            .filter(|weights| weights.data_type == DataType::Float16 as i32)
            .map(|weights| weights.name.as_str())
            .collect();
        let mut normalised = 0;
        for node in new.node.iter().filter(|node| node.op_type == "InstanceNormalization") {
            assert!(node.input[1..].iter().all(|input| !halves.contains(&input.as_str())), "{:?}", node.input);
            normalised += 1;
        }
        assert_eq!(normalised, 34);
    }

    #[test]
    fn what_is_no_network_or_has_an_unknown_operation_is_told() {
        assert!(converted(b"hello").is_err());
        let mut model = onnx().proto_model_for_read(&mut demo("text-detection/detect.onnx").as_slice()).unwrap();
        model.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == "Conv").unwrap().op_type =
            "Loop".into();
        assert!(converted(&model.encode_to_vec()).unwrap_err().contains("Loop"));
    }
}
