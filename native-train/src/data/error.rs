//! What can go wrong with a person's pictures, and what the message says.

use std::path::{Path, PathBuf};

/// An image that the run goes on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedImage {
    /// The file, as the scan found it.
    pub path: PathBuf,
    /// Why it could not be used, in words.
    pub reason: String,
}

/// Errors of scanning, decoding and loading images. Every message names the
/// file or folder and says what to do where that is not plain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A folder that does not exist.
    #[error("{}: no such folder", .0.display())]
    Missing(PathBuf),
    /// A file (or something else) where a folder of images is meant.
    #[error("{}: not a folder; name the folder that holds the images", .0.display())]
    NotAFolder(PathBuf),
    /// A file or folder that may not be read.
    #[error("{}: no permission to read it", .0.display())]
    NoPermission(PathBuf),
    /// Any other failure of the file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Folders without a single image file.
    #[error("no images ({}) in {}", super::scan::EXTENSIONS.join(", "), list(.0))]
    NoImages(Vec<PathBuf>),
    /// A file that is no image, or a damaged one.
    #[error("{}: {reason}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An image that would take too much memory.
    #[error("{}: {width}x{height} pixels is more than the {limit} allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Largest number of pixels decoded.
        limit: u64,
    },
    /// Settings of the loader that do not fit together.
    #[error("{0}")]
    Config(String),
    /// A folder of label maps that cannot serve.
    #[error("label maps in {}: {reason}", dir.display())]
    LabelMaps {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A set of photos with known masks that cannot serve.
    #[error(
        "{}: {reason}; a set is a folder with images/ and masks/ of equal stems (0 background, other \
         values one object each, 128 not judged), a COCO instances or panoptic JSON or a folder that has one, \
         images/SPLIT/ and labels/SPLIT/ as in BSDS, or a folder of folders of the first form",
        path.display()
    )]
    Set {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More than half of the images looked at could not be read.
    #[error(
        "{} of the {looked_at} images looked at could not be read, which is too many to go on; {}",
        skipped.len(), reasons(skipped)
    )]
    TooManySkipped {
        /// Distinct files looked at.
        looked_at: usize,
        /// Those that could not be read; the message names the first three.
        skipped: Vec<SkippedImage>,
    },
    /// A loader thread ended without being asked to: a bug, said aloud.
    #[error("a data loading thread ended unexpectedly (a bug in rmae: please report it)")]
    WorkerDied,
}

impl DataError {
    /// The variant for an I/O error at `path`.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path),
            std::io::ErrorKind::PermissionDenied => Self::NoPermission(path),
            _ => Self::Io { path, source },
        }
    }

    /// What is wrong, without the path (for [`SkippedImage::reason`]).
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Missing(_) => "no such file".into(),
            Self::NoPermission(_) => "no permission to read it".into(),
            Self::Io { source, .. } => source.to_string(),
            Self::Decode { reason, .. } | Self::Set { reason, .. } => reason.clone(),
            Self::TooLarge { width, height, limit, .. } => {
                format!("{width}x{height} pixels is more than the {limit} allowed")
            }
            other => other.to_string(),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}

fn reasons(skipped: &[SkippedImage]) -> String {
    let lines: Vec<_> =
        skipped.iter().take(3).map(|s| format!("{}: {}", s.path.display(), s.reason)).collect();
    lines.join("; ")
}
