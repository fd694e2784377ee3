//! What a network's file says of its edges. The file is read once, from front to back, and its weights are passed over: a network of
//! 2 GiB costs no memory. Nothing in it is run.
use crate::limits::model::{MAX_PORT, MAX_PORTS, MAX_WEIGHTS};
use prost::Message as _;
use std::collections::BTreeSet;
use std::io::{self, Read};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{TypeProto, ValueInfoProto, type_proto};

/// What goes into a network's graph and what comes out of it.
#[derive(Debug, Default)]
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
    pub fn read(file: &mut dyn Read) -> Result<Self, String> {
        let mut wire = Wire { file, at: 0 };
        let mut graph = None;
        // onnx.proto3, ModelProto: field 7 is the graph.
        while let Some((field, kind)) = wire.key(None)? {
            match (field, kind) {
                (7, Kind::Bytes(length)) if graph.is_none() => graph = Some(read_graph(&mut wire, length)?),
                (7, _) => return Err("is not an ONNX file: it holds more than one graph".to_owned()),
                (_, kind) => wire.pass_over(kind)?,
            }
        }
        graph.ok_or_else(|| "is not an ONNX file: it holds no graph".to_owned())
    }
}

/// GraphProto: field 5 is a constant, 11 an input, 12 an output.
fn read_graph(wire: &mut Wire<'_>, length: u64) -> Result<Graph, String> {
    let end = wire.end(length)?;
    let mut graph = Graph::default();
    let mut weights = BTreeSet::new();
    while let Some((field, kind)) = wire.key(Some(end))? {
        match (field, kind) {
            (5, Kind::Bytes(length)) => {
                weights.insert(read_weights(wire, length)?);
                if weights.len() > MAX_WEIGHTS {
                    return Err(format!("has more than {MAX_WEIGHTS} constants"));
                }
            }
            (11 | 12, Kind::Bytes(length)) => {
                let port = ValueInfoProto::decode(wire.bytes(length)?.as_slice()).map_err(|_| broken())?;
                let ports = if field == 11 { &mut graph.inputs } else { &mut graph.outputs };
                ports.push(read_port(&port));
                if ports.len() > MAX_PORTS {
                    return Err(format!("has more than {MAX_PORTS} inputs or outputs"));
                }
            }
            (_, kind) => wire.pass_over(kind)?,
        }
    }
    // Up to IR version 3 weights were listed among the inputs.
    graph.inputs.retain(|input| !weights.contains(&input.name));
    Ok(graph)
}

/// TensorProto: field 8 is its name, 14 says where its values lie. Gives the name.
fn read_weights(wire: &mut Wire<'_>, length: u64) -> Result<String, String> {
    let end = wire.end(length)?;
    let (mut name, mut is_outside) = (String::new(), false);
    while let Some((field, kind)) = wire.key(Some(end))? {
        match (field, kind) {
            (8, Kind::Bytes(length)) => name = String::from_utf8(wire.bytes(length)?).map_err(|_| broken())?,
            (14, Kind::Number(location)) => is_outside = location == DataLocation::External as u64,
            (_, kind) => wire.pass_over(kind)?,
        }
    }
    if is_outside {
        return Err(format!("keeps its weights in another file (`{name}`): save it as one"));
    }
    Ok(name)
}

fn read_port(info: &ValueInfoProto) -> Port {
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

/// Protobuf's encoding of messages, as it is read.
struct Wire<'r> {
    file: &'r mut dyn Read,
    /// Bytes that were read.
    at: u64,
}

/// What stands behind a field's number.
#[derive(Clone, Copy)]
enum Kind {
    /// This number.
    Number(u64),
    /// So many bytes, which come next and mean nothing here.
    Fixed(u64),
    /// So many bytes, which come next: a text, or a message.
    Bytes(u64),
}

impl Wire<'_> {
    /// The next field of a message that ends at `end`, or with the file; `None` at its end.
    fn key(&mut self, end: Option<u64>) -> Result<Option<(u64, Kind)>, String> {
        if end.is_some_and(|end| self.at >= end) {
            return if Some(self.at) == end { Ok(None) } else { Err(broken()) };
        }
        let Some(key) = self.varint(end.is_none())? else { return Ok(None) };
        let number = |wire: &mut Self| wire.varint(false)?.ok_or_else(broken);
        let kind = match key & 7 {
            0 => Kind::Number(number(self)?),
            1 => Kind::Fixed(8),
            2 => Kind::Bytes(number(self)?),
            5 => Kind::Fixed(4),
            _ => return Err(broken()),
        };
        Ok(Some((key >> 3, kind)))
    }

    /// Seven bits in each byte, the lowest first; `None` where the file ends, and may.
    fn varint(&mut self, may_end: bool) -> Result<Option<u64>, String> {
        let mut value = 0;
        for n in 0..10 {
            let mut byte = [0];
            if self.file.read(&mut byte).map_err(unreadable)? == 0 {
                return if may_end && n == 0 { Ok(None) } else { Err(broken()) };
            }
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f).checked_shl(7 * n).unwrap_or_default();
            if byte[0] < 0x80 {
                return Ok(Some(value));
            }
        }
        Err(broken())
    }

    /// Where a message of this length ends that begins here.
    fn end(&self, length: u64) -> Result<u64, String> {
        self.at.checked_add(length).ok_or_else(broken)
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, String> {
        if length > MAX_PORT {
            return Err(format!("has a name or a shape of {length} bytes, at most {MAX_PORT} are taken"));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes).map_err(unreadable)?;
        self.at += length;
        Ok(bytes)
    }

    fn pass_over(&mut self, kind: Kind) -> Result<(), String> {
        let (Kind::Fixed(length) | Kind::Bytes(length)) = kind else { return Ok(()) };
        let passed = io::copy(&mut Read::take(&mut *self.file, length), &mut io::sink()).map_err(unreadable)?;
        self.at = self.end(length)?;
        if passed == length { Ok(()) } else { Err(broken()) }
    }
}

fn unreadable(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => broken(),
        _ => format!("cannot be read: {error}"),
    }
}

fn broken() -> String {
    "is not an ONNX file".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(bytes: &[u8]) -> Result<Graph, String> {
        Graph::read(&mut { bytes })
    }

    #[test]
    fn what_is_read_is_what_the_whole_message_says() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models");
        for file in ["text-detection/detect.onnx", "brain-extraction/locate.onnx"] {
            let bytes = std::fs::read(models.join(file)).unwrap();
            let ours = read(&bytes).unwrap();
            let whole = tract_onnx::pb::ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
            let names = |ports: &[ValueInfoProto]| ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
            let read = |ports: &[Port]| ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
            assert_eq!((read(&ours.inputs), read(&ours.outputs)), (names(&whole.input), names(&whole.output)));
        }
    }

    #[test]
    fn no_cut_and_no_claimed_length_is_taken_for_a_network() {
        // field 7, 4 bytes: field 12, 2 bytes: field 1, no bytes.
        let whole = [0x3a, 4, 0x62, 2, 0x0a, 0];
        assert_eq!(read(&whole).unwrap().outputs.len(), 1);
        for length in 1..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes of it");
        }
        assert!(read(&[]).unwrap_err().contains("no graph"));
        assert!(read(&[whole, whole].concat()).unwrap_err().contains("more than one"));
        let endless = [0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(read(&endless).is_err());
        let long_name = [&[0x3a, 0xff, 0xff, 0xff, 0x7f, 0x62, 0xff, 0xff, 0xff, 0x7f][..], &[0; 64]].concat();
        assert!(read(&long_name).unwrap_err().contains("at most"));
        assert!(read(&[0xff; 32]).is_err() && read(b"hello").is_err());
    }
}
