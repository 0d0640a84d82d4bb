//! `rmae info`.

use std::path::Path;

use rmae_core::config::{ModelConfig, Preset};
use rmae_core::graph::{Cost, Graph, NodeId, Recompute};
use rmae_core::model;
use rmae_train::checkpoint;
use rmae_train::config::{ModelOptions, model_config};

use crate::cli::args::InfoArgs;

pub(crate) fn run(args: &InfoArgs) -> anyhow::Result<()> {
    let (name, mut config) = find(&args.model)?;
    if let Some(objective) = args.objective {
        config = config.with_objective(objective.into());
        config.validate()?;
    }
    let graph = model::training_graph(&config, args.batch, Recompute::Nothing)?;
    if args.graph {
        say!("{}", graph.to_string().trim_end());
        return Ok(());
    }
    say!("{name}");
    print_config(&config);
    print_parameters(&config)?;
    print_costs(&config, args.batch, &graph)
}

/// A preset by name, unless a file of that name exists.
fn find(model: &str) -> anyhow::Result<(String, ModelConfig)> {
    if !Path::new(model).exists()
        && let Some(preset) = Preset::from_name(model)
    {
        return Ok((
            format!("preset {}", preset.name()),
            model_config(preset, None, &ModelOptions::default())?,
        ));
    }
    let (config, _) = checkpoint::load_model(Path::new(model))?;
    Ok((model.to_string(), config))
}

fn print_config(c: &ModelConfig) {
    say!("  objective      {:?}", c.objective());
    say!(
        "  encoder        {} wide, {} blocks, {} heads; {} px images, {} px patches, {} of {} visible",
        c.embed_dim,
        c.depth,
        c.num_heads,
        c.img_size,
        c.patch_size,
        c.visible_patches(),
        c.num_patches()
    );
    if c.use_mae_loss {
        say!(
            "  pixel decoder  {} wide, {} blocks, {} heads",
            c.decoder_embed_dim,
            c.decoder_depth,
            c.decoder_num_heads
        );
    }
    if c.num_region > 0 {
        say!(
            "  regions        {} an image; encoder {} x {}, neck {} x {}, {:?} decoder {} x {}",
            c.num_region,
            c.region_enc_dim,
            c.region_enc_depth,
            c.region_dec_dim,
            c.region_cross_layer,
            c.region_decoder,
            c.region_dec_dim,
            c.region_dec_depth
        );
    }
}

fn print_parameters(config: &ModelConfig) -> anyhow::Result<()> {
    let (mut encoder, mut pixels, mut regions) = (0usize, 0usize, 0usize);
    for spec in model::param_specs(config)?.into_iter().filter(|s| s.trainable) {
        let count: usize = spec.shape.iter().product();
        match spec.name.as_str() {
            name if name.starts_with("region") => regions += count,
            name if name.starts_with("decoder") || name == "mask_token" => pixels += count,
            _ => encoder += count,
        }
    }
    say!(
        "  parameters     {} (encoder {}, pixel decoder {}, region branch {})",
        millions(encoder + pixels + regions),
        millions(encoder),
        millions(pixels),
        millions(regions)
    );
    Ok(())
}

fn print_costs(config: &ModelConfig, batch: usize, training: &Graph) -> anyhow::Result<()> {
    let forward = model::forward_graph(config, batch)?;
    let segments = model::training_graph(config, batch, Recompute::Segments)?;
    say!("  at batch {batch}    {:>12} {:>12} {:>14} {:>6}", "FLOPs", "moved", "peak memory", "ops");
    let all = |graph: &Graph| -> Vec<NodeId> {
        let loss = graph.outputs().get("loss").copied();
        loss.into_iter().chain(graph.gradients().values().copied()).collect()
    };
    let trained = model::param_specs(config)?.into_iter().filter(|s| s.trainable);
    let weights: u64 = trained.map(|s| 4 * s.shape.iter().product::<usize>() as u64).sum();
    for (name, graph) in [("forward", &forward), ("training", training), ("recompute", &segments)] {
        print_cost(name, graph.cost(&all(graph)));
    }
    say!(
        "    peak memory: activations and gradients; weights take {} more, and three times that in training",
        bytes(weights)
    );
    Ok(())
}

fn print_cost(name: &str, cost: Cost) {
    say!(
        "    {name:<12} {:>12} {:>12} {:>14} {:>6}",
        unit(cost.flops as f64, "FLOP"),
        bytes(cost.bytes),
        bytes(cost.peak_bytes),
        cost.ops
    );
}

fn millions(count: usize) -> String {
    format!("{:.2} M", count as f64 / 1e6)
}

fn bytes(count: u64) -> String {
    unit(count as f64, "B")
}

fn unit(value: f64, name: &str) -> String {
    let scales = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, prefix) = scales.into_iter().find(|(s, _)| value >= *s).unwrap_or((1.0, ""));
    format!("{:.2} {prefix}{name}", value / scale)
}
