//! `rmae reconstruct`: the paper's figure 5 for any photo.

use anyhow::Context;
use rmae_core::config::Objective;
use rmae_core::exec::Precision;
use rmae_core::model::check_params;
use rmae_train::TrainError;
use rmae_train::checkpoint::load_model;
use rmae_train::data::{LoaderConfig, RegionSource, load_eval};
use rmae_train::device::{DeviceRequest, select_device};
use rmae_train::picture::{panel, save_png};
use rmae_train::predict::Predictor;

use crate::cli::args::ReconstructArgs;

pub(crate) fn run(args: &ReconstructArgs, device: &DeviceRequest) -> anyhow::Result<()> {
    let (mut model, mut weights) = load_model(&args.model.model)?;
    let wants_regions = args.regions.is_some() || model.objective() == Objective::Rae;
    if wants_regions && model.num_region == 0 {
        let problem = "--regions: this model was trained on pixels only and has no region branch";
        return Err(TrainError::Config(problem.into()).into());
    }
    check_params(&model, &weights).context(args.model.model.display().to_string())?;
    if let Some(ratio) = args.mask_ratio {
        model.mask_ratio = ratio;
    }
    if !wants_regions {
        model = model.with_objective(Objective::Mae);
        weights.retain(|name, _| !name.starts_with("region"));
    }
    model.validate()?;
    let device = select_device(device, Precision::F32)?;
    let source = if wants_regions { RegionSource::fh_coco() } else { RegionSource::None };
    let loader = LoaderConfig {
        image_side: model.img_size,
        patch: model.patch_size,
        num_regions: model.num_region,
        region_mask_ratio: model.region_mask_ratio,
        region_source: source,
        seed: args.seed,
        ..LoaderConfig::default()
    };
    let batch = load_eval(&args.images, &loader)?;
    for image in &batch.skipped {
        complain!("skipped {}: {}", image.path.display(), image.reason);
    }
    let mut predictor = Predictor::new(&model, &device, batch.names.len())?;
    let mut params = pollster::block_on(device.params(&weights))?;
    save_png(&panel(&predictor.run(&mut params, &batch)?), &args.out)?;
    complain!("wrote {}", args.out.display());
    Ok(())
}
