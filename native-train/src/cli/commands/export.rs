//! `rmae export`: weights for other tools.

use rmae_core::model::check_params;
use rmae_train::checkpoint::{Part, export, load_model};

use crate::cli::args::{Dtype, ExportArgs, PartName};

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let (model, weights) = load_model(&args.model.model)?;
    let part = match args.part {
        PartName::Encoder => Part::Encoder,
        PartName::All => {
            check_params(&model, &weights)?;
            Part::All
        }
    };
    let count = export(&args.out, &model, &weights, part, args.dtype == Dtype::F16)?;
    complain!("wrote {count} tensors to {}", args.out.display());
    Ok(())
}
