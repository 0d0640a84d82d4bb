//! The model taken apart for prompts: the image once, then a small pass for every prompt.
//!
//! Training runs `image, region maps -> logits` in one graph. Here the same functions make three:
//! [`image_graph`] (encoder and neck over the whole image, nothing masked), [`query_graph`] (one
//! object's visible patches to its query) and [`decoder_graph`] (queries and memory to logits).

use super::region::{self, Seen};
use super::{decoders, pixel};
use crate::config::{ModelConfig, RegionDecoder};
use crate::error::{Error, Result};
use crate::graph::Graph;

/// Whole image `image [1,3,S,S]`, normalised, to `latent [1, L+1, D]` and, where the model has
/// regions, `pixel_memory [1, L+1, D_r]`. Place 0 is the class token, the rest in image order.
///
/// # Errors
/// [`Error::Config`] for a configuration that cannot be.
pub fn image_graph(config: &ModelConfig) -> Result<Graph> {
    config.validate()?;
    let mut g = Graph::new();
    let image = g.input("image", &[1, 3, config.img_size, config.img_size]);
    let latent = pixel::whole_image_encoder(&mut g, config, image)?;
    g.set_output("latent", latent);
    if config.num_region > 0 {
        let memory = region::whole_image_neck(&mut g, config, 1, latent)?;
        g.set_output("pixel_memory", memory);
    }
    Ok(g)
}

/// One object's map `regions [1,1,S,S]` of 0 and 1, of which the encoder sees the first `visible`
/// patches of `ids_shuffle [1,L]` (`ids_restore [1,L]` is its inverse), to `query [1,1,D_r]`.
///
/// # Errors
/// [`Error::Unsupported`] for a model without regions or with the channel decoder, whose encoder
/// sees all regions of a picture together; [`Error::Config`] for no or too many visible patches.
pub fn query_graph(config: &ModelConfig, visible: usize) -> Result<Graph> {
    check_prompts(config)?;
    let l = config.num_patches();
    if visible == 0 || visible > l {
        let problem = format!("must lie between 1 and the {l} patches of the image");
        return Err(Error::Config { field: "visible", value: visible.to_string(), problem });
    }
    let one = ModelConfig { num_region: 1, ..config.clone() };
    let mut g = Graph::new();
    let regions = g.input("regions", &[1, 1, config.img_size, config.img_size]);
    let shuffle = g.index_input("ids_shuffle", &[1, l]);
    let restore = g.index_input("ids_restore", &[1, l]);
    let seen = Seen { batch: 1, keep: visible, shuffle, restore };
    let query = region::encoder(&mut g, &one, &seen, regions)?;
    g.set_output("query", query);
    Ok(g)
}

/// `queries [1,k,D_r]` and `pixel_memory [1,L+1,D_r]` to `logits [1,k,L,p²]`.
///
/// # Errors
/// [`Error::Unsupported`] as [`query_graph`]; [`Error::Config`] for no query.
pub fn decoder_graph(config: &ModelConfig, queries: usize) -> Result<Graph> {
    check_prompts(config)?;
    if queries == 0 {
        let problem = "at least one is needed".into();
        return Err(Error::Config { field: "queries", value: "0".into(), problem });
    }
    let (l, d) = (config.num_patches(), config.region_dec_dim);
    let mut g = Graph::new();
    let queries = g.input("queries", &[1, queries, d]);
    let memory = g.input("pixel_memory", &[1, l + 1, d]);
    let logits = decoders::decode(&mut g, config, queries, memory)?;
    g.set_output("logits", logits);
    Ok(g)
}

/// Whether a model can complete the region of one prompt.
pub(super) fn check_prompts(config: &ModelConfig) -> Result<()> {
    config.validate()?;
    if config.num_region == 0 {
        let problem = "it has no region branch (trained on pixels only, or an encoder alone); use a whole model of R-MAE or RAE";
        return Err(Error::Unsupported(problem.into()));
    }
    if config.region_decoder == RegionDecoder::Channel {
        let problem = "its region decoder is the channel variant, which completes exactly the regions of one \
                       training sample together and no single object; use the length or the batch variant";
        return Err(Error::Unsupported(problem.into()));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;

    use super::super::{Inputs, init_params, restore_ids, shuffle_ids};
    use super::*;
    use crate::config::Preset;
    use crate::exec::{Device, Precision, Tensors};
    use crate::tensor::HostTensor;

    fn small() -> ModelConfig {
        ModelConfig {
            img_size: 16,
            patch_size: 4,
            embed_dim: 24,
            depth: 2,
            num_heads: 2,
            decoder_embed_dim: 16,
            decoder_depth: 1,
            decoder_num_heads: 2,
            region_enc_dim: 16,
            region_enc_num_heads: 2,
            region_dec_dim: 16,
            region_dec_num_heads: 2,
            region_cross_layer: 2,
            num_region: 3,
            ..ModelConfig::preset(Preset::Ti)
        }
    }

    fn run(graph: &Graph, weights: &Tensors, inputs: &Tensors, output: &str) -> HostTensor {
        let device = Device::cpu(Precision::F64);
        let mut params = pollster::block_on(device.params(weights)).unwrap();
        let mut program = pollster::block_on(device.compile(graph, &[output], false)).unwrap();
        pollster::block_on(program.run(&mut params, inputs)).unwrap().remove(output).unwrap()
    }

    /// The training code with nothing masked and the patches in a random order: encoder and neck are
    /// equivariant, so the memory, which is in image order, is the same.
    #[test]
    fn the_whole_image_is_training_with_nothing_masked() {
        let config = small();
        let weights = init_params(&config, 3).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let ids = shuffle_ids(16, &mut rng);
        let image = (0..3 * 256).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let inputs = Tensors::from([
            ("image".into(), HostTensor::f32(&[1, 3, 16, 16], image).unwrap()),
            ("ids_restore".into(), HostTensor::u32(&[1, 16], restore_ids(&ids, 16)).unwrap()),
            ("ids_shuffle".into(), HostTensor::u32(&[1, 16], ids).unwrap()),
        ]);
        let have = run(&image_graph(&config).unwrap(), &weights, &inputs, "pixel_memory");

        let all = ModelConfig { mask_ratio: 0.0, ..config };
        let mut g = Graph::new();
        let nodes = Inputs::new(&mut g, &all, 1);
        let latent = pixel::encoder(&mut g, &all, &nodes).unwrap();
        region::branch(&mut g, &all, &nodes, latent).unwrap();
        let want = run(&g, &weights, &inputs, "pixel_memory");
        let error = have.relative_error(&want);
        assert!(error < 1e-9, "{error}");
    }

    #[test]
    fn models_that_take_no_prompt_say_why() {
        let channel = ModelConfig { region_decoder: RegionDecoder::Channel, ..small() };
        let message = query_graph(&channel, 4).unwrap_err().to_string();
        assert!(message.contains("channel"), "{message}");
        let pixels = ModelConfig { num_region: 0, ..small() };
        let message = decoder_graph(&pixels, 1).unwrap_err().to_string();
        assert!(message.contains("pixels only"), "{message}");
        assert!(image_graph(&pixels).is_ok() && image_graph(&channel).is_ok());
        assert!(query_graph(&small(), 0).is_err() && query_graph(&small(), 17).is_err());
        assert!(decoder_graph(&small(), 0).is_err());
    }
}
