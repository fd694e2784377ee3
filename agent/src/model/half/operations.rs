//! What each operation of ONNX does in 16 bits, and of what type its outputs are.
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

/// How a node is to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// In 16 bits, but for these inputs.
    Half {
        /// Inputs that the operation has in 32 bits in every form.
        kept: &'static [usize],
    },
    /// In 32 bits.
    Single,
    /// It makes 32 bits of another type.
    CastToFloat,
}

/// Their values stay of the size of their inputs, or are sums that engines keep in 32 bits by themselves.
const HALF: [&str; 43] = [
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Elu",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Relu",
    "Reshape",
    "Selu",
    "Sigmoid",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
];
/// Many values are summed, or exponentials taken: what 16 bits lose here does not come back.
const SENSITIVE: [&str; 26] = [
    "Ceil",
    "Erf",
    "Exp",
    "Floor",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Pow",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Round",
    "Softmax",
    "Softplus",
    "Sqrt",
];
const BOOLEAN: [&str; 9] = ["And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"];
const INTEGER: [&str; 5] = ["ArgMax", "ArgMin", "NonZero", "Shape", "Size"];

/// How a node works, and the type of what it makes; a sentence where nobody knows.
pub(super) fn work(node: &NodeProto, type_of: &dyn Fn(&String) -> Option<i32>) -> Result<(Work, i32), String> {
    let operation = node.op_type.as_str();
    let input = |n: usize| node.input.get(n).and_then(type_of).unwrap_or_default();
    let float = DataType::Float as i32;
    let half = |kept| Work::Half { kept };
    Ok(match operation {
        "Cast" => {
            let to = node.attribute.iter().find(|attribute| attribute.name == "to").map(|attribute| attribute.i as i32);
            let to = to.ok_or("has a Cast to nothing")?;
            let is_from_half = input(0) == DataType::Float16 as i32;
            (if to == float && is_from_half { Work::CastToFloat } else { Work::Single }, to)
        }
        // Regions and scales are of 32 bits in every form.
        "Resize" | "Upsample" => (half(&[1, 2]), input(0)),
        "Where" => (half(&[]), input(1)),
        "ConstantOfShape" => {
            let value = node.attribute.iter().find_map(|attribute| attribute.t.as_ref());
            (Work::Single, value.map_or(float, |tensor| tensor.data_type))
        }
        "Range" => (Work::Single, input(0)),
        _ if HALF.contains(&operation) => (half(&[]), input(0)),
        _ if SENSITIVE.contains(&operation) => (Work::Single, input(0)),
        _ if BOOLEAN.contains(&operation) => (Work::Single, DataType::Bool as i32),
        _ if INTEGER.contains(&operation) => (Work::Single, DataType::Int64 as i32),
        _ => return Err(format!("has an operation {operation}, which is not known here")),
    })
}
