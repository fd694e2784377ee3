//! Constants of a network: weights, and what nodes of the kind Constant give.
use half::f16;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

/// Makes weights of the nodes of the kind Constant.
pub(super) fn hoist(graph: &mut GraphProto) -> Result<(), String> {
    let (constants, nodes) = std::mem::take(&mut graph.node).into_iter().partition(|node| node.op_type == "Constant");
    graph.node = nodes;
    for mut node in constants {
        let name = node.output.pop().unwrap_or_default();
        let attribute = node.attribute.pop();
        let tensor = attribute.and_then(|attribute| match attribute.name.as_str() {
            "value" => attribute.t,
            "value_float" => Some(floats(&[attribute.f], Vec::new())),
            "value_floats" => Some(floats(&attribute.floats, vec![attribute.floats.len() as i64])),
            "value_int" => Some(integers(&[attribute.i], Vec::new())),
            "value_ints" => Some(integers(&attribute.ints, vec![attribute.ints.len() as i64])),
            _ => None,
        });
        let tensor = tensor.ok_or_else(|| format!("has a constant `{name}` of a kind that is not known here"))?;
        graph.initializer.push(TensorProto { name, ..tensor });
    }
    Ok(())
}

fn floats(values: &[f32], dims: Vec<i64>) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { dims, data_type: DataType::Float as i32, raw_data, ..TensorProto::default() }
}

fn integers(values: &[i64], dims: Vec<i64>) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { dims, data_type: DataType::Int64 as i32, raw_data, ..TensorProto::default() }
}

/// False for 32-bit reals of which one is too large for 16 bits.
pub(super) fn fits_half(constant: &TensorProto) -> bool {
    constant.data_type != DataType::Float as i32
        || reals(constant).all(|value| value.abs() <= f16::MAX.to_f32() || value.is_nan())
}

/// 32-bit reals in 16 bits, rounded to the nearest, halves to even.
pub(super) fn halved(constant: &TensorProto, name: String) -> TensorProto {
    let raw_data = reals(constant).flat_map(|value| f16::from_f32(value).to_le_bytes()).collect();
    let dims = constant.dims.clone();
    TensorProto { dims, data_type: DataType::Float16 as i32, raw_data, name, ..TensorProto::default() }
}

/// The values of 32-bit reals, which lie in one of two places.
fn reals(constant: &TensorProto) -> impl Iterator<Item = f32> {
    let raw = constant.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    raw.chain(constant.float_data.iter().copied())
}
