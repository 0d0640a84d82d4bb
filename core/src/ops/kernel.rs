//! How an op says which compute shaders evaluate it: plain data, no device.

use std::sync::Arc;

use super::variant::Choices;

/// A compute shader: one WGSL file with one entry point `main`.
///
/// Binding 0 of group 0 is the uniform `Params`; bindings 1, 2, … are storage buffers in the order
/// of [`Dispatch::bindings`]. Elements of type `S1`, `S2`, … may be stored as f32 or as f16, whichever
/// [`Kernel::text`] is asked for; all arithmetic is in f32.
#[derive(Debug)]
pub struct Kernel {
    /// Its name, that of the file without `.wgsl`.
    pub name: &'static str,
    /// What stands in its file, or files.
    pub source: &'static str,
}

impl Kernel {
    /// Whether the elements of a storage binding, counted from 1, may be f16.
    #[must_use]
    pub fn takes_half(&self, binding: usize) -> bool {
        self.source.contains(&format!("<S{binding}>"))
    }

    /// The whole shader, whose elements are f16 in the bindings of `half`, with constants for its `sizes`.
    #[must_use]
    pub fn text(&self, half: Halves, sizes: Sizes) -> String {
        let (enabled, rest): (Vec<&str>, Vec<&str>) =
            self.source.split_inclusive('\n').partition(|line| line.starts_with("enable "));
        let (enabled, rest) = (enabled.concat(), rest.concat());
        let f16 = if half.any() { "enable f16;\n" } else { "" };
        // Browsers insist on the word, naga knows subgroups without it and refuses it.
        let told = cfg!(target_arch = "wasm32") && self.source.contains("subgroup");
        let subgroups = if told { "enable subgroups;\n" } else { "" };
        let typed = (1..=MAX_BINDINGS).filter(|&binding| self.takes_half(binding));
        let alias = |at| format!("alias S{at} = {};\n", if half.has(at) { "f16" } else { "f32" });
        let aliases: String = typed.map(alias).collect();
        let sizes: String = sizes.iter().map(|(name, value)| value.declaration(name)).collect();
        format!("{f16}{subgroups}{enabled}{aliases}{sizes}{rest}")
    }
}

/// Constants and types that a kernel's file leaves open, by name. Unlike WGSL's overrides they may size
/// arrays in workgroup memory on every implementation, and compilers see which branches never run.
pub type Sizes = &'static [(&'static str, Open)];

/// What a kernel's file leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Open {
    /// A constant.
    Size(u32),
    /// A type, as WGSL writes it.
    Type(&'static str),
}

impl Open {
    fn declaration(self, name: &str) -> String {
        match self {
            Self::Size(value) => format!("const {name}: u32 = {value}u;\n"),
            Self::Type(text) => format!("alias {name} = {text};\n"),
        }
    }
}

/// Most storage buffers of a kernel: what every WebGPU device binds.
pub const MAX_BINDINGS: usize = 8;

/// The storage bindings of a kernel, counted from 1, whose elements are f16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Halves(u16);

impl Halves {
    /// These and one more.
    #[must_use]
    pub fn with(self, binding: usize) -> Self {
        Self(self.0 | 1 << binding)
    }

    /// Whether a binding is one of them.
    #[must_use]
    pub fn has(self, binding: usize) -> bool {
        self.0 >> binding & 1 == 1
    }

    /// Whether there are any.
    #[must_use]
    pub fn any(self) -> bool {
        self.0 != 0
    }
}

/// Writes a kernel's text without what only its readers need, comments and indentation, as far as `bare`
/// has room, and returns its length. Lines stay lines, so that compilers' messages fit the file.
pub(crate) const fn bare(text: &str, bare: &mut [u8]) -> usize {
    let text = text.as_bytes();
    let (mut at, mut len, mut first, mut comment) = (0, 0, true, false);
    while at < text.len() {
        let byte = text[at];
        if byte == b'\n' {
            (first, comment) = (true, false);
        } else if byte == b'/' && at + 1 < text.len() && text[at + 1] == b'/' {
            comment = true;
        }
        first &= byte == b' ' || byte == b'\n';
        if byte == b'\n' || !(first || comment) {
            if len < bare.len() {
                bare[len] = byte;
            }
            len += 1;
        }
        at += 1;
    }
    len
}

/// The kernel of a name, its text taken from the file `<name>.wgsl` beside the caller, after that of others
/// that it shares. Comments stay behind: they would be a third of what visitors of a page load.
macro_rules! kernel {
    ($name:literal $(after $($shared:literal),+)?) => {{
        const TEXT: &str = concat!(
            $($(include_str!(concat!($shared, ".wgsl")), "\n",)+)?
            include_str!(concat!($name, ".wgsl"))
        );
        const LEN: usize = $crate::ops::kernel::bare(TEXT, &mut []);
        const BARE: [u8; LEN] = {
            let mut bare = [0; LEN];
            $crate::ops::kernel::bare(TEXT, &mut bare);
            bare
        };
        // Cut out of text between characters: it is text.
        const SOURCE: &str = match std::str::from_utf8(&BARE) {
            Ok(text) => text,
            Err(_) => panic!("a kernel's text is cut within a character"),
        };
        $crate::ops::kernel::Kernel { name: $name, source: SOURCE }
    }};
}
pub(crate) use kernel;

/// One field of a kernel's `Params`, 4 bytes each, in the order of the struct.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// An unsigned integer.
    U32(u32),
    /// A 32-bit real.
    F32(f32),
}

impl Scalar {
    /// Its bytes in a uniform buffer.
    #[must_use]
    pub fn bytes(self) -> [u8; 4] {
        match self {
            Self::U32(x) => x.to_le_bytes(),
            Self::F32(x) => x.to_le_bytes(),
        }
    }
}

impl From<usize> for Scalar {
    /// Sizes fit 32 bits: a buffer of more elements is over every device's limit, which is checked
    /// before anything runs; a larger number saturates.
    fn from(x: usize) -> Self {
        Self::U32(u32::try_from(x).unwrap_or(u32::MAX))
    }
}

impl From<f64> for Scalar {
    fn from(x: f64) -> Self {
        Self::F32(x as f32)
    }
}

/// The fields of a kernel's `Params` from sizes and reals.
macro_rules! fields {
    ($($field:expr),* $(,)?) => {
        vec![$($crate::ops::kernel::Scalar::from($field)),*]
    };
}
pub(crate) use fields;

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
    /// Constants of its text, part of the shader's identity.
    pub sizes: Sizes,
    /// The fields of `Params`.
    pub params: Vec<Scalar>,
    /// The storage buffers.
    pub bindings: Vec<Slot>,
    /// Number of workgroups in each dimension.
    pub workgroups: [u32; 3],
}

impl Dispatch {
    /// A dispatch of `groups` workgroups that number themselves by `y * count_x + x`.
    #[must_use]
    pub fn new(kernel: &'static Kernel, params: Vec<Scalar>, bindings: &[Slot], groups: usize) -> Self {
        let (constants, bindings) = (vec![], bindings.to_vec());
        Self { kernel, constants, sizes: &[], params, bindings, workgroups: grid(groups) }
    }

    /// One thread for each of `len` elements, in workgroups of [`ELEMENTS_A_GROUP`].
    #[must_use]
    pub fn elements(kernel: &'static Kernel, params: Vec<Scalar>, bindings: &[Slot], len: usize) -> Self {
        Self::new(kernel, params, bindings, len.div_ceil(ELEMENTS_A_GROUP))
    }

    /// The same with pipeline-overridable constants.
    #[must_use]
    pub fn with_constants(self, constants: &[(&'static str, f64)]) -> Self {
        Self { constants: constants.to_vec(), ..self }
    }

    /// The same with constants in the kernel's text.
    #[must_use]
    pub fn with_sizes(self, sizes: Sizes) -> Self {
        Self { sizes, ..self }
    }
}

/// What an op knows when it states its dispatches.
#[derive(Clone, Debug)]
pub struct Lowering {
    /// Shapes of the inputs.
    pub inputs: Vec<Vec<usize>>,
    /// Shape of the result.
    pub output: Vec<usize>,
    /// What the dispatches are for.
    pub machine: Machine,
    /// Which variants of the products' kernels to take.
    pub choices: Arc<Choices>,
}

/// What a device computes with: kernels differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A GPU.
    Gpu,
    /// A GPU with units for products of small matrices of f16.
    Cooperative(MatrixUnits),
    /// The processor: no workgroup memory worth the name, and barriers that cost more than they save.
    Processor {
        /// Threads of a subgroup, where they are known and can hand values to each other.
        lanes: Option<u32>,
    },
}

/// Units for products of small matrices of f16, summed in f32, which the threads of a subgroup hold together
/// ("cooperative matrices").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixUnits {
    /// Rows and columns, 8 or 16.
    pub side: u32,
    /// Threads of a subgroup.
    pub lanes: u32,
}

impl Machine {
    /// Whether it is a processor.
    #[must_use]
    pub fn is_processor(self) -> bool {
        matches!(self, Self::Processor { .. })
    }

    /// Threads of a subgroup of a processor.
    #[must_use]
    pub fn lanes(self) -> Option<u32> {
        match self {
            Self::Gpu | Self::Cooperative(_) => None,
            Self::Processor { lanes } => lanes,
        }
    }
}

/// Threads in a workgroup of the kernels with a thread for each element.
pub const ELEMENTS_A_GROUP: usize = 256;

/// Threads in a workgroup of the kernels with a thread for each column of a chunk of rows.
pub const COLUMNS_A_GROUP: usize = 64;

/// Most workgroups in one dimension that every WebGPU device takes.
pub const MAX_GROUPS: usize = 65_535;

/// Workgroups in two dimensions, at least `groups` together, none above [`MAX_GROUPS`].
#[must_use]
pub fn grid(groups: usize) -> [u32; 3] {
    let y = groups.div_ceil(MAX_GROUPS).max(1);
    [groups.div_ceil(y) as u32, y as u32, 1]
}

/// Every kernel of the ops. A WGSL file that is missing here fails a test.
#[must_use]
pub fn all() -> Vec<&'static Kernel> {
    use super::{
        attention, attention_products, boundary, dice, direct, elementwise, layer_norm, linear, losses,
        patches, reduce, tiled, tokens,
    };
    vec![
        &elementwise::FILL,
        &elementwise::ADD,
        &elementwise::SCALE,
        &elementwise::GELU,
        &elementwise::GELU_GRAD,
        &linear::MATMUL,
        &linear::MATMUL_FOURS,
        &linear::MATMUL_COOPERATIVE,
        &direct::MATMUL_DIRECT,
        &direct::MATMUL_LANES,
        &direct::MATMUL_QUADS,
        &tiled::MATMUL_TILED,
        &reduce::SUM_AXIS,
        &reduce::BROADCAST_AXIS,
        &reduce::OUTER_ADD,
        &reduce::SWAP_AXES,
        &layer_norm::LAYER_NORM,
        &layer_norm::LAYER_NORM_DIRECT,
        &layer_norm::LAYER_NORM_GRAD_INPUT,
        &layer_norm::LAYER_NORM_GRAD_INPUT_DIRECT,
        &layer_norm::LAYER_NORM_STATS,
        &layer_norm::LAYER_NORM_STATS_DIRECT,
        &layer_norm::LAYER_NORM_GRAD_GAMMA,
        &attention::ATTENTION,
        &attention_products::SOFTMAX_ROWS,
        &attention_products::SOFTMAX_ROWS_GRAD,
        &attention::ATTENTION_STATS,
        &attention::ATTENTION_GRAD_Q,
        &attention::ATTENTION_GRAD_K,
        &attention::ATTENTION_GRAD_V,
        &tokens::GATHER_TOKENS,
        &tokens::RESTORE_TOKENS,
        &tokens::RESTORE_FILL_GRAD,
        &tokens::PREPEND_TOKEN,
        &tokens::SLICE_TOKENS,
        &tokens::PAD_TOKENS,
        &patches::PATCHIFY,
        &patches::PATCH_NORM,
        &losses::MASKED_MSE,
        &losses::MASKED_MSE_GRAD,
        &losses::REGION_BCE,
        &losses::REGION_BCE_GRAD,
        &dice::REGION_DICE,
        &dice::REGION_DICE_GRAD,
        &boundary::REGION_BOUNDARY,
        &boundary::REGION_BOUNDARY_GRAD,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_comments_and_indentation_but_no_lines() {
        let text = "// é\n    a = b / c; // half\n\n  // d\n  e\n    f // g // h";
        let mut room = [0; 80];
        let len = bare(text, &mut room);
        assert_eq!(std::str::from_utf8(&room[..len]), Ok("\na = b / c; \n\n\ne\nf "));
        assert_eq!(bare(text, &mut [0; 3]), len, "a length is that of all of it");
        assert_eq!(bare("", &mut []), 0);
    }

    #[test]
    fn grids_cover_all_groups_within_the_limit() {
        for groups in [1, 2, 65_535, 65_536, 1_000_003, 400_000_000] {
            let [x, y, z] = grid(groups);
            assert!(x as usize <= MAX_GROUPS && y as usize <= MAX_GROUPS && z == 1);
            assert!(x as usize * y as usize >= groups);
            assert!((x as usize - 1) * (y as usize) < groups);
        }
    }

    #[test]
    fn a_text_says_how_each_binding_is_stored() {
        let kernel = Kernel { name: "k", source: "var<storage> x: array<S1>; array<vec4<S3>>; array<f32>" };
        assert!(kernel.takes_half(1) && !kernel.takes_half(2) && kernel.takes_half(3));
        assert_eq!(
            kernel.text(Halves::default(), &[]),
            format!("alias S1 = f32;\nalias S3 = f32;\n{}", kernel.source)
        );
        let half = kernel
            .text(Halves::default().with(3), &[("STEP", Open::Size(8)), ("Sums", Open::Type("vec4<f32>"))]);
        let before =
            "enable f16;\nalias S1 = f32;\nalias S3 = f16;\nconst STEP: u32 = 8u;\nalias Sums = vec4<f32>;\n";
        assert_eq!(half, format!("{before}{}", kernel.source));
        let enabling = Kernel { name: "k", source: "enable other;\n\nvar<storage> x: array<S1>;" };
        let text = enabling.text(Halves::default(), &[]);
        assert_eq!(text, "enable other;\nalias S1 = f32;\n\nvar<storage> x: array<S1>;");
    }

    #[test]
    fn fields_take_sizes_and_reals() {
        assert_eq!(fields![3usize, 0.5f64], vec![Scalar::U32(3), Scalar::F32(0.5)]);
    }
}
