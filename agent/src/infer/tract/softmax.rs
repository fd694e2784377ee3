//! Softmax over any one axis, by the kernel of the house: tract's own goes through a strided axis position by position and
//! takes more than half the time of a network that ends in one.
use sund_kernels::softmax;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{
    DimLike, EvalContext, EvalOp, Op, StaticName, TypedOp, args_1, as_op, op_as_typed_op, op_out_of_plan,
};
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};

/// Softmax of 32-bit reals over `axis`, which holds at most 256 values.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
struct AxisSoftmax {
    axis: usize,
}

/// The network with each softmax that tract would go through position by position replaced.
pub(super) fn replaced(mut model: TypedModel) -> TractResult<TypedModel> {
    let slow: Vec<(usize, usize)> = model
        .nodes()
        .iter()
        .filter_map(|node| Some((node.id, slow_axis(node.op_as()?, model.outlet_fact(*node.inputs.first()?).ok()?)?)))
        .collect();
    for (node, axis) in slow {
        let node = model.node(node);
        let patch = TypedModelPatch::replace_single_op(&model, node, &node.inputs, AxisSoftmax { axis })?;
        patch.apply(&mut model)?;
    }
    Ok(model)
}

/// The one axis of a softmax over 32-bit reals whose values do not lie side by side.
fn slow_axis(op: &Softmax, fact: &TypedFact) -> Option<usize> {
    let [axis] = op.axes[..] else { return None };
    let values = fact.shape.get(axis)?.to_usize().ok()?;
    let plain = op.kind == SoftmaxKind::Softmax && fact.datum_type == f32::datum_type();
    (plain && axis + 1 < fact.rank() && (1..=256).contains(&values)).then_some(axis)
}

impl Op for AxisSoftmax {
    fn name(&self) -> StaticName {
        "AxisSoftmax".into()
    }

    op_as_typed_op!();
}

impl EvalOp for AxisSoftmax {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut values = args_1!(inputs).into_tensor();
        let channels = values.shape()[self.axis];
        let block = channels * values.shape()[self.axis + 1..].iter().product::<usize>();
        if block > 0 {
            let mut plain = values.try_as_plain_ram_mut()?;
            for logits in plain.as_slice_mut::<f32>()?.chunks_exact_mut(block) {
                softmax(logits, channels)?;
            }
        }
        Ok(tvec!(values.into_tvalue()))
    }
}

impl TypedOp for AxisSoftmax {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs[0].shape.clone())))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::internal::Approximation;

    #[test]
    fn agrees_with_the_one_that_it_replaces_on_every_axis() -> TractResult<()> {
        let shape = [2, 3, 5, 7];
        let input = Tensor::from_shape(&shape, &(0..210).map(|i| (i * 37 % 101) as f32 / 9.0).collect::<Vec<_>>())?;
        for axis in 0..shape.len() {
            let mut model = TypedModel::default();
            let source = model.add_source("in", f32::fact(shape))?;
            let op = Softmax { axes: tvec!(axis), ..Softmax::default() };
            let wires = model.wire_node("softmax", op, &[source])?;
            model.select_output_outlets(&wires)?;
            let ours = replaced(model.clone())?;
            let taken = ours.nodes().iter().any(Node::op_is::<AxisSoftmax>);
            assert_eq!(taken, axis != 3, "axis {axis}");
            let run = |model: TypedModel| model.into_runnable()?.run(tvec!(input.clone().into()));
            run(ours)?[0].close_enough(&run(model)?[0], Approximation::Close)?;
        }
        Ok(())
    }
}
