//! The values of a graph while it is rewritten: in which form each of them is there, and the casts between the two.
use super::constants;
use std::collections::{BTreeMap, BTreeSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, type_proto};

/// The bits of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// 16.
    Half,
    /// 32.
    Single,
}

/// The values, and the nodes so far.
pub(super) struct Values {
    /// Constants by name, as they came.
    constants: BTreeMap<String, TensorProto>,
    /// Constants that nodes take in 32 bits or whatever else they came in, and those in 16 bits.
    taken: BTreeSet<(String, Form)>,
    /// The form in which other values were made.
    made: BTreeMap<String, Form>,
    /// Casts that are there.
    casts: BTreeSet<String>,
    nodes: Vec<NodeProto>,
}

impl Values {
    /// The constants of a graph.
    pub fn new(constants: Vec<TensorProto>) -> Self {
        let constants = constants.into_iter().map(|weights| (weights.name.clone(), weights)).collect();
        let (taken, made) = (BTreeSet::new(), BTreeMap::new());
        Self { constants, taken, made, casts: BTreeSet::new(), nodes: Vec::new() }
    }

    /// A value is there in a form from now on.
    pub fn give(&mut self, name: &str, form: Form) {
        self.made.insert(name.to_owned(), form);
    }

    /// False for a constant that 16 bits cannot hold.
    pub fn fits_half(&self, name: &str) -> bool {
        self.constants.get(name).is_none_or(constants::fits_half)
    }

    /// The name of a value of 32-bit reals in a form.
    pub fn take(&mut self, name: &str, form: Form) -> String {
        if self.constants.contains_key(name) {
            self.taken.insert((name.to_owned(), form));
            return if form == Form::Half { half_name(name) } else { name.to_owned() };
        }
        match (self.made.get(name).copied().unwrap_or(Form::Single), form) {
            (made, wanted) if made == wanted => name.to_owned(),
            (_, Form::Half) => self.cast(name, half_name(name), DataType::Float16),
            (_, Form::Single) => self.cast(name, format!("{name}::fp32"), DataType::Float),
        }
    }

    /// Puts a node behind those that are there. What it takes that is of no 32-bit reals stays as it is.
    pub fn push(&mut self, node: NodeProto) {
        for input in node.input.iter().filter(|input| self.constants.contains_key(*input)) {
            self.taken.insert((input.clone(), Form::Single));
        }
        self.nodes.push(node);
    }

    /// A value is an output of the graph: it keeps its name, and its form.
    pub fn end(&mut self, name: &str, is_float: bool) {
        if is_float && self.made.get(name) == Some(&Form::Half) {
            let inner = half_name(name);
            for node in &mut self.nodes {
                for known in node.output.iter_mut().chain(&mut node.input).filter(|known| *known == name) {
                    known.clone_from(&inner);
                }
            }
            self.cast(&inner, name.to_owned(), DataType::Float);
        }
    }

    /// The nodes, and the constants that they take.
    pub fn into_parts(self) -> (Vec<NodeProto>, Vec<TensorProto>) {
        let constants = self.taken.iter().filter_map(|(name, form)| {
            let constant = self.constants.get(name)?;
            Some(match form {
                Form::Single => constant.clone(),
                Form::Half => constants::halved(constant, half_name(name)),
            })
        });
        let constants = constants.collect();
        (self.nodes, constants)
    }

    fn cast(&mut self, from: &str, into: String, to: DataType) -> String {
        if self.casts.insert(into.clone()) {
            let to = AttributeProto {
                name: "to".to_owned(),
                r#type: AttributeType::Int as i32,
                i: to as i64,
                ..AttributeProto::default()
            };
            self.nodes.push(NodeProto {
                input: vec![from.to_owned()],
                output: vec![into.clone()],
                name: format!("{into}::cast"),
                op_type: "Cast".to_owned(),
                attribute: vec![to],
                ..NodeProto::default()
            });
        }
        into
    }
}

fn half_name(name: &str) -> String {
    format!("{name}::fp16")
}

/// The type of a graph's input.
pub(super) fn element(info: &ValueInfoProto) -> i32 {
    match &info.r#type {
        Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) => tensor.elem_type,
        _ => 0,
    }
}
