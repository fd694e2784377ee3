//! What a network's file says of itself. The file is read, nothing in it is run.
use std::collections::BTreeSet;
use tract_onnx::onnx;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{GraphProto, TypeProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::Framework as _;

/// What goes into a network's graph and what comes out of it.
#[derive(Debug)]
pub(super) struct Graph {
    /// What has to be given.
    pub inputs: Vec<Port>,
    /// What is answered.
    pub outputs: Vec<Port>,
}

/// A tensor at the edge of a graph.
#[derive(Debug)]
pub(super) struct Port {
    pub name: String,
    /// `float32`, `uint8`.
    pub element: String,
    /// Its axes, `None` where the file does not say; each a length, or what the file calls a free one.
    pub shape: Option<Vec<Result<usize, String>>>,
}

impl Graph {
    /// Reads a file; a sentence where it is no network that can be run from this file alone.
    pub fn read(mut file: &[u8]) -> Result<Self, String> {
        let model = onnx().proto_model_for_read(&mut file).map_err(|_| "is not an ONNX file".to_owned())?;
        let graph = model.graph.ok_or("is not an ONNX file: it holds no graph")?;
        let is_outside = |location: i32| location == DataLocation::External as i32;
        if let Some(weights) = graph.initializer.iter().find(|weights| weights.data_location.is_some_and(is_outside)) {
            return Err(format!("keeps its weights in another file (`{}`): save it as one", weights.name));
        }
        Ok(Self { inputs: inputs(&graph), outputs: graph.output.iter().map(port).collect() })
    }
}

/// Up to IR version 3 weights were listed among the inputs.
fn inputs(graph: &GraphProto) -> Vec<Port> {
    let weights: BTreeSet<&str> = graph.initializer.iter().map(|weights| weights.name.as_str()).collect();
    graph.input.iter().filter(|input| !weights.contains(input.name.as_str())).map(port).collect()
}

fn port(info: &ValueInfoProto) -> Port {
    let name = info.name.clone();
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &info.r#type else {
        return Port { name, element: "no tensor".to_owned(), shape: None };
    };
    let element = match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float) => "float32".to_owned(),
        Ok(other) => other.as_str_name().to_lowercase(),
        Err(_) => format!("type {}", tensor.elem_type),
    };
    let shape = tensor.shape.as_ref().map(|shape| {
        let axes = shape.dim.iter().enumerate().map(|(n, dim)| match &dim.value {
            Some(dimension::Value::DimValue(length)) if *length > 0 => Ok(*length as usize),
            Some(dimension::Value::DimParam(name)) if !name.is_empty() => Err(name.clone()),
            _ => Err(format!("axis{n}")),
        });
        axes.collect()
    });
    Port { name, element, shape }
}
