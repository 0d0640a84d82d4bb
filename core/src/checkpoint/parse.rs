//! The bytes of a safetensors file, and what is wrong with those that are none.

use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError, TensorView};

use crate::exec::Tensors;
use crate::tensor::{HostData, HostTensor};

/// A safetensors file in memory.
#[derive(Debug)]
pub struct Contents {
    /// `__metadata__`.
    pub metadata: HashMap<String, String>,
    /// Every tensor.
    pub tensors: Tensors,
}

/// Reads the bytes of a safetensors file; half precision becomes f32.
///
/// # Errors
/// What is wrong with them, as the end of a sentence that begins with the file's name.
pub fn parse(bytes: &[u8]) -> std::result::Result<Contents, String> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 0x02]) {
        return Err("is a PyTorch file (.pth); convert it once with: python -c \"import torch, safetensors.torch as s; \
                    d = torch.load('IN.pth', map_location='cpu', weights_only=False); \
                    s.save_file({k: v.contiguous() for k, v in d.get('model', d).items()}, 'OUT.safetensors')\""
            .into());
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| describe(&e, bytes))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| describe(&e, bytes))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let tensor = host_tensor(&view).map_err(|problem| format!("tensor {name}: {problem}"))?;
        tensors.insert(name.to_string(), tensor);
    }
    Ok(Contents { metadata: header.metadata().clone().unwrap_or_default(), tensors })
}

fn describe(error: &SafeTensorError, bytes: &[u8]) -> String {
    let header_len = bytes.first_chunk::<8>().map_or(u64::MAX, |b| u64::from_le_bytes(*b));
    let plausible = header_len < 100_000_000 && bytes.get(8).is_none_or(|&b| b == b'{');
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "is truncated: its header promises more bytes than there are".into()
        }
        SafeTensorError::InvalidHeaderLength if plausible => "is truncated within its header".into(),
        _ if bytes.is_empty() => "is empty".into(),
        SafeTensorError::HeaderTooSmall => {
            "is truncated, or no safetensors file: it is too short to have a header".into()
        }
        other => format!("is no safetensors file ({other})"),
    }
}

fn host_tensor(view: &TensorView<'_>) -> std::result::Result<HostTensor, String> {
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => HostData::F32(chunks(bytes, f32::from_le_bytes)),
        Dtype::F64 => HostData::F64(chunks(bytes, f64::from_le_bytes)),
        Dtype::F16 => HostData::F32(chunks(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => HostData::F32(chunks(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::U32 => HostData::U32(chunks(bytes, u32::from_le_bytes)),
        other => return Err(format!("elements of type {other:?} are not supported")),
    };
    HostTensor::new(view.shape(), data).map_err(|e| e.to_string())
}

fn chunks<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&b| convert(b)).collect()
}
