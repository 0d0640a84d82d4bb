//! Rounds of correction: in some batches the prompts go on where the model, as it is now, goes wrong.

use rand::Rng;
use rmae_core::exec::{Device, Params, Program, Tensors};
use rmae_core::graph::Graph;

use super::prompts::Shown;
use crate::error::{Result, TrainError};

/// Most clicks that are added to a batch, each after a look at the answer to those before.
const MOST_ROUNDS: usize = 3;
/// What a look reads.
const LOGITS: &str = "pred_region_logits";

/// The tuning graph's forward part.
#[derive(Debug)]
pub(super) struct Corrector {
    share: f64,
    program: Program,
}

impl Corrector {
    /// Of `share` of the batches.
    pub(super) fn new(share: f64, graph: &Graph, device: &Device) -> Result<Self> {
        Ok(Self { share, program: pollster::block_on(device.compile(graph, &[LOGITS], false))? })
    }

    /// Where it is this batch's turn, adds clicks on the errors of `params` to what is shown, and to the
    /// inputs.
    pub(super) fn go_on(
        &mut self, shown: &mut Shown<'_>, params: &mut Params, inputs: &mut Tensors,
    ) -> Result<()> {
        let mut rng = shown.generator();
        if !rng.random_bool(self.share) {
            return Ok(());
        }
        for _ in 0..rng.random_range(1..=MOST_ROUNDS) {
            let mut outputs = pollster::block_on(self.program.run(params, inputs))?;
            let logits = outputs
                .remove(LOGITS)
                .ok_or_else(|| TrainError::Config(format!("the tuning graph lacks its output {LOGITS}")))?;
            shown.correct(&logits.to_f32());
            inputs.extend(shown.inputs()?);
        }
        Ok(())
    }
}
