//! Small networks, written as ONNX (protobuf, onnx.proto3) by hand.

/// A node of one operator from its inputs to one output, without attributes.
pub struct Node(pub &'static str, pub &'static [&'static str], pub &'static str);

/// A network from `x` to `y`, both 32-bit reals; an axis of length 0 is dynamic.
pub fn network(shape: &[u64], nodes: &[Node]) -> Vec<u8> {
    let mut graph = Vec::new();
    for Node(operator, inputs, output) in nodes {
        let mut node = Vec::new();
        inputs.iter().for_each(|input| field(&mut node, 1, input.as_bytes()));
        field(&mut node, 2, output.as_bytes());
        field(&mut node, 4, operator.as_bytes());
        field(&mut graph, 1, &node);
    }
    field(&mut graph, 2, b"small");
    field(&mut graph, 11, &value("x", shape));
    field(&mut graph, 12, &value("y", shape));
    let mut opset = Vec::new();
    number(&mut opset, 2, 17);
    let mut model = Vec::new();
    number(&mut model, 1, 8); // IR version
    field(&mut model, 7, &graph);
    field(&mut model, 8, &opset);
    model
}

/// `y = max(x, 0)`, with weights beside it that lie in another file.
pub fn with_weights_in(file: &str, bytes: u64) -> Vec<u8> {
    let mut place = Vec::new();
    field(&mut place, 1, b"location");
    field(&mut place, 2, file.as_bytes());
    let mut tensor = Vec::new();
    number(&mut tensor, 1, bytes); // dims
    number(&mut tensor, 2, 2); // UINT8
    field(&mut tensor, 8, b"w");
    field(&mut tensor, 13, &place);
    number(&mut tensor, 14, 1); // EXTERNAL
    let mut graph = Vec::new();
    field(&mut graph, 5, &tensor);
    let mut model = network(&[4], &[Node("Relu", &["x"], "y")]);
    // A message that is given twice is merged: the graph gains the weights.
    field(&mut model, 7, &graph);
    model
}

fn value(name: &str, shape: &[u64]) -> Vec<u8> {
    let mut dims = Vec::new();
    for length in shape {
        let mut dim = Vec::new();
        if *length == 0 {
            field(&mut dim, 2, b"batch");
        } else {
            number(&mut dim, 1, *length);
        }
        field(&mut dims, 1, &dim);
    }
    let mut tensor = Vec::new();
    number(&mut tensor, 1, 1); // FLOAT
    field(&mut tensor, 2, &dims);
    let (mut kind, mut value) = (Vec::new(), Vec::new());
    field(&mut kind, 1, &tensor);
    field(&mut value, 1, name.as_bytes());
    field(&mut value, 2, &kind);
    value
}

fn field(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(message, number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn number(message: &mut Vec<u8>, field: u64, value: u64) {
    varint(message, field << 3);
    varint(message, value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
