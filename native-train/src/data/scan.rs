//! Finding the images of a data set.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::DataError;

/// File name extensions taken for images, in any case.
pub const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"];

/// All image files below `dirs`, sorted and without duplicates.
///
/// Symbolic links are followed, each real folder is read once (so links that
/// form a loop do no harm); names that begin with a dot are left out.
///
/// # Errors
/// A folder that is missing, unreadable or not a folder (`dirs` themselves and
/// any below them), or no image at all.
pub fn scan(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    let mut visited = HashSet::new();
    for dir in dirs {
        let kind = fs::metadata(dir).map_err(|e| DataError::io(dir, e))?;
        if !kind.is_dir() {
            return Err(DataError::NotAFolder(dir.clone()));
        }
        walk(dir, &mut visited, &mut found)?;
    }
    if found.is_empty() {
        return Err(DataError::NoImages(dirs.to_vec()));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn walk(dir: &Path, visited: &mut HashSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let real = fs::canonicalize(dir).map_err(|e| DataError::io(dir, e))?;
    if !visited.insert(real) {
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| DataError::io(dir, e))? {
        entries.push(entry.map_err(|e| DataError::io(dir, e))?);
    }
    // Sorted here too: which of two links to one folder is taken must not
    // depend on the file system's order.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        // A dangling link has no metadata; with an image's name it is kept,
        // to be skipped and named by the loader like any unreadable image.
        match fs::metadata(&path) {
            Ok(kind) if kind.is_dir() => walk(&path, visited, found)?,
            Ok(kind) if !kind.is_file() => {}
            _ if has_image_extension(&path) => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

fn has_image_extension(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }

    #[test]
    fn finds_images_recursively_sorted_without_hidden_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in [
            "b.JPG",
            "a.png",
            "sub/deep/c.TiFf",
            "sub/d.webp",
            "e.txt",
            "jpg",
            ".f.png",
            ".hidden/g.png",
            "sub/h.bmp",
            "i.jpeg",
            "j.tif",
        ] {
            touch(&root.join(name));
        }
        let found = scan(&[root.to_path_buf(), root.join("sub")]).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.strip_prefix(root).unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["a.png", "b.JPG", "i.jpeg", "j.tif", "sub/d.webp", "sub/deep/c.TiFf", "sub/h.bmp"]
        );
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_path_buf();
        let empty = scan(std::slice::from_ref(&root)).unwrap_err();
        assert!(matches!(&empty, DataError::NoImages(_)));
        assert!(empty.to_string().contains(&*root.to_string_lossy()), "{empty}");

        let file = root.join("picture.png");
        touch(&file);
        let not_a_folder = scan(std::slice::from_ref(&file)).unwrap_err();
        assert!(matches!(&not_a_folder, DataError::NotAFolder(p) if *p == file));
        assert!(not_a_folder.to_string().contains("picture.png"));

        let missing = scan(&[root.join("nowhere")]).unwrap_err();
        assert!(matches!(&missing, DataError::Missing(p) if p.ends_with("nowhere")));
    }

    #[cfg(unix)]
    #[test]
    fn link_loops_end_and_dangling_links_are_kept_for_the_loader_to_name() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        touch(&root.join("sub/a.png"));
        symlink(root, root.join("sub/loop")).unwrap();
        symlink(root.join("sub"), root.join("zlink")).unwrap();
        symlink(root.join("gone"), root.join("dangling.jpg")).unwrap();
        let found = scan(&[root.to_path_buf()]).unwrap();
        assert_eq!(found, [root.join("dangling.jpg"), root.join("sub/a.png")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_without_permission_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        touch(&closed.join("a.png"));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let result = scan(&[dir.path().to_path_buf()]);
        let can_read_anyway = fs::read_dir(&closed).is_ok();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
        if can_read_anyway {
            println!("skipped: this user may read every folder (root)");
            // What root cannot show, the mapping of the system's error does.
            let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            assert!(matches!(DataError::io(&closed, denied), DataError::NoPermission(_)));
            return;
        }
        assert!(matches!(result, Err(DataError::NoPermission(p)) if p == closed));
    }
}
