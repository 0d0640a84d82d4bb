//! From a folder of photos to batches of the model's inputs.
//!
//! [`scan()`] finds the files, [`Loader`] turns them into [`Batch`]es on its own
//! threads: [`decode()`], [`Crop`], [`resample()`], regions ([`RegionSource`]) and
//! the permutation that masks (paper, sections 3.1 and 3.2). The sequence of
//! batches is a function of the files and the seed alone: it does not depend
//! on the number of threads, and can be entered at any [`LoaderPosition`].
//!
//! ```no_run
//! # fn main() -> Result<(), rmae_train::data::DataError> {
//! use rmae_train::data::{Loader, LoaderConfig, LoaderPosition, RegionSource, scan};
//! let files = scan(&["photos".into()])?;
//! let config = LoaderConfig { region_source: RegionSource::fh_coco(), ..LoaderConfig::default() };
//! let mut loader = Loader::new(files, config, LoaderPosition::default())?;
//! let batch = loader.next_batch()?;
//! assert_eq!(batch.images.len(), 64 * 3 * 224 * 224);
//! # Ok(()) }
//! ```

mod augment;
mod blobs;
mod cache;
mod decode;
mod error;
mod jpeg;
mod loader;
mod photo;
mod regions;
mod resample;
mod sample;
mod scan;
mod sequence;
mod sources;
mod tally;

pub use augment::Crop;
pub(crate) use blobs::blob;
pub use decode::{MAX_PIXELS, decode};
pub use error::{DataError, SkippedImage};
pub use loader::{Batch, Loader, load_eval};
pub use regions::RegionSource;
pub(crate) use regions::read_labels;
pub use resample::{IMAGENET_MEAN, IMAGENET_STD, denormalise, resample, resize};
pub use rmae_core::regions::{FelzenszwalbParams, RegionPolicy};
pub use sample::{Crops, LoaderConfig};
pub use scan::{EXTENSIONS, scan};
pub use sequence::LoaderPosition;
