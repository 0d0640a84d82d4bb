//! Looking into the model on the image that is set: attention (R-MAE, Figure 3), masking and
//! completion (Figure 5).

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::options::Fit;
use super::predictor::{Predictor, no_image, output};
use super::view::View;
use super::{Rect, WorkingImage};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::exec::Tensors;
use crate::graph::Source;
use crate::model::{attention_graph, attention_row, forward_graph, shuffle_ids};
use crate::reconstruct::{Reconstruction, Reconstructor};
use crate::regions::{Felzenszwalb, FelzenszwalbParams, LabelMap, RegionPolicy, RegionSet, SamplingOptions};
use crate::resample::{Window, each_pixel};
use crate::tensor::HostTensor;

/// Scales of the regions that are shown, as in training on photos of COCO's size.
const SCALES: [u32; 3] = [500, 1000, 1500];
/// Short side at which photos are segmented: the scales are tuned to it.
const SEGMENTED_SIDE: usize = 480;

/// Where the encoder looks from one place of the image.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMap {
    /// Patches along a side of the square.
    pub grid: usize,
    /// Attention to each patch, `[grid, grid]`; the class token has the rest to 1.
    pub values: Vec<f32>,
    /// Column and row of the patch that looks.
    pub from: (usize, usize),
    /// Where the square lies in the image, pixels.
    pub area: Rect,
    /// The block, from 0.
    pub layer: usize,
    /// Blocks of the encoder.
    pub layers: usize,
    /// Heads of a block.
    pub heads: usize,
}

/// Queries, keys and values of one block on the image.
#[derive(Debug)]
pub(super) struct Looked {
    layer: usize,
    qkv: HostTensor,
}

fn wrong(prompt: &str, problem: String) -> Error {
    Error::Prompt { prompt: prompt.into(), problem }
}

impl Predictor {
    /// Attention of a block from the patch at `x`, `y` (pixels of the image) to all patches, by one
    /// head or as the mean of all. Further places of the same block cost next to nothing.
    ///
    /// # Errors
    /// [`Error::Image`] without an image; [`Error::Prompt`] for a place outside it, or a block or head
    /// that there is none of; the device's.
    pub async fn attention(
        &mut self, layer: usize, head: Option<usize>, x: f32, y: f32,
    ) -> Result<AttentionMap> {
        let (layers, heads) = (self.config.depth, self.config.num_heads);
        let counted = |what: &str, at: usize, count: usize| match at < count {
            true => Ok(()),
            false => Err(wrong(what, format!("{at}: there are {count}, counted from 0"))),
        };
        counted("layer", layer, layers)?;
        counted("head", head.unwrap_or(0), heads)?;
        let (column, row) = self.patch_under(x, y)?;
        let grid = self.config.grid();
        if self.looked.as_ref().is_none_or(|known| known.layer != layer) {
            self.looked = Some(Looked { layer, qkv: self.qkv(layer).await? });
        }
        let Some(looked) = &self.looked else { return Err(no_image()) };
        let rows = attention_row(&self.config, &looked.qkv, 1 + row * grid + column)?;
        let chosen = head.map_or(0..heads, |head| head..head + 1);
        let share = 1.0 / chosen.len() as f32;
        let mut values = vec![0.0; grid * grid];
        for head in rows.chunks_exact(grid * grid + 1).skip(chosen.start).take(chosen.len()) {
            values.iter_mut().zip(&head[1..]).for_each(|(sum, v)| *sum += share * v);
        }
        let area = self.full_area()?;
        Ok(AttentionMap { grid, values, from: (column, row), area, layer, layers, heads })
    }

    async fn qkv(&mut self, layer: usize) -> Result<HostTensor> {
        let side = self.config.img_size;
        let image = HostTensor::f32(&[1, 3, side, side], self.input()?)?;
        let graph = attention_graph(&self.config, layer)?;
        let mut program = self.device.compile(&graph, &["qkv"], false).await?;
        let inputs = Tensors::from([("image".into(), image)]);
        output(&mut program.run(&mut self.params, &inputs).await?, "qkv")
    }

    /// Column and row of the patch under a pixel of the image.
    fn patch_under(&self, x: f32, y: f32) -> Result<(usize, usize)> {
        let (width, height) = self.working_image().ok_or_else(no_image)?.full_size();
        if !(0.0..=width as f32).contains(&x) || !(0.0..=height as f32).contains(&y) {
            let problem = format!("{x},{y} lies outside the image, which is {width}x{height} pixels");
            return Err(wrong("place", problem));
        }
        let (area, grid) = (self.full_area()?, self.config.grid());
        let place = |at: f32, start: f32, len: f32| ((at - start) / len * grid as f32) as usize;
        let column = place(x, area.x0, area.width()).min(grid - 1);
        Ok((column, place(y, area.y0, area.height()).min(grid - 1)))
    }

    /// Masks a share of the patches, drawn by `seed`, and shows what the model makes of the image and
    /// of Felzenszwalb-Huttenlocher regions of it. The share is brought to where at least one patch is
    /// visible and one is not; regions are masked as in training. The image is stretched to a square.
    ///
    /// # Errors
    /// [`Error::Image`] without an image, [`Error::Prompt`] for a share that is no number,
    /// [`Error::Unsupported`] for an encoder alone, and the device's.
    pub async fn reconstruct(&mut self, mask_ratio: f64, seed: u64) -> Result<Reconstruction> {
        if mask_ratio.is_nan() {
            return Err(wrong("mask ratio", "is no number; give one between 0 and 1".into()));
        }
        let patches = self.config.num_patches() as f64;
        // Half a patch beyond, so that rounding does not matter.
        let mask_ratio = mask_ratio.clamp(0.5 / patches, 1.0 - 1.5 / patches);
        let config = ModelConfig { mask_ratio, ..self.config.clone() };
        self.check_decoders(&config)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let ids = shuffle_ids(config.num_patches(), &mut rng);
        let image = self.working_image().ok_or_else(no_image)?;
        let pixels = View::whole(image, config.img_size, Fit::Stretch).sample(image);
        let regions = match config.num_region {
            0 => vec![],
            _ => drawn_regions(&config, image, &ids, &mut rng)?,
        };
        let mut model = Reconstructor::new(&config, &self.device, 1).await?;
        let mut made = model.run(&mut self.params, &pixels, &regions, &ids).await?;
        let mut made = made.pop().ok_or_else(no_image)?;
        // An image of few regions has some of them drawn twice.
        let mut seen: Vec<Vec<f32>> = vec![];
        made.regions.retain(|region| {
            let new = !seen.contains(&region.map);
            seen.push(region.map.clone());
            new
        });
        Ok(made)
    }

    fn check_decoders(&self, config: &ModelConfig) -> Result<()> {
        let graph = forward_graph(config, 1)?;
        for node in graph.nodes() {
            if let Source::Param { name, .. } = &node.source
                && !self.weights.contains(name)
            {
                let problem = format!("it has no `{name}` (an encoder alone?) and reconstructs nothing");
                return Err(Error::Unsupported(problem));
            }
        }
        Ok(())
    }
}

/// Maps of regions as a training sample has them, `[k, S, S]`.
fn drawn_regions(
    config: &ModelConfig, image: &WorkingImage, ids: &[u32], rng: &mut ChaCha8Rng,
) -> Result<Vec<f32>> {
    let failed = |e: crate::regions::RegionError| Error::Image(e.to_string());
    let mut set = RegionSet::new(config.img_size).map_err(failed)?;
    for map in partitions(image).map_err(failed)? {
        let area = (0.0, 0.0, map.width() as f32, map.height() as f32);
        set.push_labels(map.crop_resize(area, config.img_size, false).map_err(failed)?).map_err(failed)?;
    }
    let options = SamplingOptions {
        regions: config.num_region,
        patch_size: config.patch_size,
        mask_ratio: config.region_mask_ratio,
        policy: RegionPolicy::RandomForeground,
        min_patches: 2,
    };
    let maps = set.draw(&options, ids, rng).map_err(failed)?;
    Ok(maps.into_iter().map(f32::from).collect())
}

fn partitions(image: &WorkingImage) -> std::result::Result<Vec<LabelMap>, crate::regions::RegionError> {
    let (width, height) = (image.width(), image.height());
    let short = width.min(height);
    let params = SCALES.map(FelzenszwalbParams::at_scale);
    if short <= SEGMENTED_SIDE {
        return Felzenszwalb::new().segment_scales(image.data(), width, height, &params);
    }
    let scaled = |side: usize| ((side * SEGMENTED_SIDE + short / 2) / short).max(1);
    let (w, h) = (scaled(width), scaled(height));
    let mut rgb = Vec::with_capacity(3 * w * h);
    let window = Window { rgb: image.data(), image_width: width, x: 0, y: 0, width, height };
    each_pixel(&window, (w, h), |_, _, pixel| rgb.extend(pixel.map(|v| (v + 0.5) as u8)));
    Felzenszwalb::new().segment_scales(&rgb, w, h, &params)
}
