//! How an op says which compute shaders evaluate it: plain data, no device.

/// A compute shader: one WGSL file with one entry point `main`.
///
/// Binding 0 of group 0 is the uniform `Params`; bindings 1, 2, … are storage buffers in the order
/// of [`Dispatch::bindings`].
#[derive(Debug)]
pub struct Kernel {
    /// Its name, that of the file without `.wgsl`.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
}

/// One field of a kernel's `Params`, 4 bytes each, in the order of the struct.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// An unsigned integer.
    U32(u32),
    /// A 32-bit real.
    F32(f32),
}

/// A buffer that a dispatch binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Input `i` of the op.
    Input(usize),
    /// Its result.
    Output,
    /// A buffer that lives only during the op: an index, and its length in 4-byte elements.
    Scratch(usize, usize),
}

/// One run of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// What to run.
    pub kernel: &'static Kernel,
    /// Values of pipeline-overridable constants, part of the pipeline's identity.
    pub constants: Vec<(&'static str, f64)>,
    /// The fields of `Params`.
    pub params: Vec<Scalar>,
    /// The storage buffers.
    pub bindings: Vec<Slot>,
    /// Number of workgroups in each dimension.
    pub workgroups: [u32; 3],
}

/// What an op knows when it states its dispatches.
#[derive(Clone, Debug)]
pub struct Lowering {
    /// Shapes of the inputs.
    pub inputs: Vec<Vec<usize>>,
    /// Shape of the result.
    pub output: Vec<usize>,
}
