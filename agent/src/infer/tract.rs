//! tract: ONNX on the CPU, in Rust, on every machine.
mod softmax;

use super::{Engine, Network, Tensor, checked, failed};
use crate::fault::Fault;
use crate::inference::EngineUsed;
use crate::limits::model::MAX_SESSIONS;
use tract_onnx::onnx;
use tract_onnx::prelude::*;

/// The version that is built in.
pub(super) const VERSION: &str = "0.23.9";

type Plan = Arc<TypedRunnableModel>;

/// Networks, optimised for each shape that they were run on, the newest last.
#[derive(Default)]
pub struct TractEngine {
    plans: Vec<((String, Vec<usize>), Plan)>,
}

impl Engine for TractEngine {
    fn used(&self) -> EngineUsed {
        EngineUsed { class: "tract".into(), precision: "fp32".into(), version: VERSION.into() }
    }

    fn unload(&mut self) {
        self.plans.clear();
    }

    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> Result<Tensor, Fault> {
        let failed = |what: &str, error: TractError| failed(name, what, &format!("{error:#}"));
        let key = (name.to_owned(), input.shape.clone());
        let plan = match self.plans.iter().find(|(known, _)| *known == key) {
            Some((_, plan)) => Arc::clone(plan),
            None => {
                let plan = plan(&network()?, &input.shape).map_err(|error| failed("cannot be loaded", error))?;
                if self.plans.len() >= MAX_SESSIONS {
                    self.plans.remove(0);
                }
                self.plans.push((key, Arc::clone(&plan)));
                plan
            }
        };
        let tensor = tract_onnx::prelude::Tensor::from_shape(&input.shape, &input.values)
            .map_err(|error| failed("does not take its input", error))?;
        let outputs = plan.run(tvec!(tensor.into())).map_err(|error| failed("failed", error))?;
        let output = outputs.into_iter().next().ok_or_else(|| super::failed(name, "failed", &"it gives no output"))?;
        let view = output.to_plain_array_view::<f32>().map_err(|error| failed("gives no 32-bit reals", error))?;
        // Outputs lie in order as a rule: one copy of the whole, not of each value.
        let values = view.as_slice().map_or_else(|| view.iter().copied().collect(), <[f32]>::to_vec);
        checked(name, Tensor { shape: view.shape().to_vec(), values })
    }
}

fn plan(network: &[u8], shape: &[usize]) -> TractResult<Plan> {
    let mut bytes = network;
    let model = onnx().model_for_read(&mut bytes)?.with_input_fact(0, f32::fact(shape).into())?;
    let model = softmax::replaced(model.into_typed()?.into_decluttered()?)?;
    model.into_optimized()?.into_runnable()
}
