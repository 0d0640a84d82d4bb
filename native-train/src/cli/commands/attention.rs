//! `rmae attention`: the paper's figure 3 for any photo.

use std::path::Path;

use image::imageops::FilterType;
use image::{RgbImage, imageops};
use rmae_core::config::ModelConfig;
use rmae_core::exec::{Precision, Tensors};
use rmae_core::model;
use rmae_core::tensor::HostTensor;
use rmae_train::TrainError;
use rmae_train::checkpoint::load_model;
use rmae_train::data::{Crop, decode, resample};
use rmae_train::device::{DeviceRequest, select_device};
use rmae_train::picture::{attention_overlay, save_png};

use crate::cli::args::{AttentionArgs, Head};

/// Short side of the picture where the photo is smaller, so that patches can be told apart.
const MIN_SIDE: u32 = 448;

pub(crate) fn run(args: &AttentionArgs, device: &DeviceRequest) -> anyhow::Result<()> {
    let (model, weights) = load_model(&args.model.model)?;
    let layer = args.layer.unwrap_or(model.depth.saturating_sub(1));
    let photo = decode(&args.image)?;
    let patch = patch_at(args.query, &photo, model.grid(), &args.image)?;
    let device = select_device(device, Precision::F32)?;
    let graph = model::attention_graph(&model, layer)?;
    let mut program = pollster::block_on(device.compile(&graph, &["qkv"], false))?;
    let mut params = pollster::block_on(device.params(&weights))?;
    // The whole photo, whatever its aspect: every pixel of it can be the query.
    let whole = Crop::whole(photo.width(), photo.height());
    let image =
        HostTensor::f32(&[1, 3, model.img_size, model.img_size], resample(&photo, &whole, model.img_size))?;
    let inputs = Tensors::from([("image".into(), image)]);
    let outputs = pollster::block_on(program.run(&mut params, &inputs))?;
    let qkv =
        outputs.get("qkv").ok_or_else(|| TrainError::Config("the attention graph gave no `qkv`".into()))?;
    let attention = model::attention_probabilities(&model, qkv)?;
    let row = query_row(&attention, &model, patch.1 * model.grid() + patch.0, args.head)?;
    save_png(&attention_overlay(&enlarged(photo), &row, model.grid(), patch), &args.out)?;
    complain!("wrote {}", args.out.display());
    Ok(())
}

/// Column and row of the patch under a pixel of the photo.
fn patch_at(
    (x, y): (u32, u32), photo: &RgbImage, grid: usize, path: &Path,
) -> anyhow::Result<(usize, usize)> {
    let (width, height) = photo.dimensions();
    if x >= width || y >= height {
        let problem =
            format!("query = {x},{y}: lies outside {}, which is {width}x{height} pixels", path.display());
        return Err(TrainError::Config(problem).into());
    }
    let place = |at: u32, len: u32| at as usize * grid / len as usize;
    Ok((place(x, width), place(y, height)))
}

/// Attention from one patch to all patches, `[L]`; the class token is left out.
fn query_row(
    attention: &HostTensor, model: &ModelConfig, patch: usize, head: Head,
) -> anyhow::Result<Vec<f32>> {
    let tokens = model.num_patches() + 1;
    let values = attention.to_f32();
    let heads = match head {
        Head::Mean => 0..model.num_heads,
        Head::One(head) if head < model.num_heads => head..head + 1,
        Head::One(head) => {
            let problem = format!("head = {head}: the encoder has {} heads, counted from 0", model.num_heads);
            return Err(TrainError::Config(problem).into());
        }
    };
    let mut row = vec![0.0; tokens - 1];
    for head in heads {
        let from = (head * tokens + patch + 1) * tokens;
        row.iter_mut().zip(&values[from + 1..from + tokens]).for_each(|(sum, v)| *sum += v);
    }
    Ok(row)
}

fn enlarged(photo: RgbImage) -> RgbImage {
    let short = photo.width().min(photo.height());
    if short >= MIN_SIDE {
        return photo;
    }
    let scaled = |side: u32| (u64::from(side) * u64::from(MIN_SIDE) / u64::from(short.max(1))) as u32;
    imageops::resize(&photo, scaled(photo.width()), scaled(photo.height()), FilterType::CatmullRom)
}
