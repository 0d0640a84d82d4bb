//! The one error type of the crate.

use thiserror::Error;

/// Everything that can go wrong in `rmae-core`, told apart so that a caller can act on it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyper-parameter, or a combination of them, that no model can have.
    #[error("configuration: {field} = {value}: {problem}")]
    Config {
        /// Name of the field of [`crate::config::ModelConfig`].
        field: &'static str,
        /// The value found there.
        value: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// An op was applied to tensors whose shapes do not fit it.
    #[error("op {op} at {at}: {problem} (input shapes {shapes:?})")]
    Shape {
        /// Name of the op.
        op: &'static str,
        /// Where in the model, e.g. `blocks.3.attn`.
        at: String,
        /// Shapes of the inputs.
        shapes: Vec<Vec<usize>>,
        /// What disagrees.
        problem: String,
    },
    /// A tensor handed in (input, weight, checkpoint entry) is missing or of another shape or type.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong, with the expected and the found shape or type.
        problem: String,
    },
    /// An op has no gradient with respect to something that was asked for.
    #[error("op {op} at {at} has no gradient with respect to input {input}")]
    NoGradient {
        /// Name of the op.
        op: &'static str,
        /// Where in the model.
        at: String,
        /// Index of the input.
        input: usize,
    },
    /// A name that the graph does not have.
    #[error("the graph has no {kind} named `{name}`; it has: {known}")]
    UnknownName {
        /// `output`, `input` or `parameter`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A checkpoint or fixture that cannot be understood.
    #[error("checkpoint {what}: {problem}")]
    Checkpoint {
        /// File or tensor.
        what: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A prompt that means nothing on its image: outside it, not a number, empty.
    #[error("{prompt}: {problem}")]
    Prompt {
        /// Which one, e.g. `click 2 of object 1`.
        prompt: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// An image or mask whose size, length or order of rows cannot be, or that is missing.
    #[error("image: {0}")]
    Image(String),
    /// Something that this model was not trained to do.
    #[error("the model cannot do this: {0}")]
    Unsupported(String),
    /// The CPU executor failed inside candle.
    #[error("CPU executor: {0}")]
    Candle(#[from] candle_core::Error),
    /// No adapter that fits the request.
    #[error("no GPU adapter: {0}")]
    NoAdapter(String),
    /// The device has not enough memory, or a single buffer is over its limit.
    #[error("GPU out of memory: {what} needs {need_bytes} bytes, the limit is {limit_bytes} bytes; {advice}")]
    OutOfMemory {
        /// Which buffer or plan.
        what: String,
        /// Bytes needed.
        need_bytes: u64,
        /// Bytes available; 0 where the driver does not say.
        limit_bytes: u64,
        /// What reduces the need.
        advice: String,
    },
    /// The driver rejected a command: a defect of this crate.
    #[error("GPU validation: {0}")]
    Validation(String),
    /// The device was lost (driver reset, unplugged, tab suspended); build a new one and load again.
    #[error("GPU device lost: {0}")]
    DeviceLost(String),
}

/// Result with the crate's error.
pub type Result<T> = std::result::Result<T, Error>;
