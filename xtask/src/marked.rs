//! Pages that a person writes, with a part that a command writes.

use std::path::Path;

use anyhow::{Context, Result};

/// Replaces what stands between `<!-- cargo xtask COMMAND: begin -->` and the line of its end.
///
/// # Errors
/// When the page cannot be read or written, or has lost one of the two lines.
pub(crate) fn replace(root: &Path, page: &str, command: &str, content: &str) -> Result<()> {
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- cargo xtask {command}: {which} -->"));
    let file = root.join(page);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {page}"))?;
    let (before, rest) = text.split_once(&begin).with_context(|| format!("{page} has lost its `{begin}`"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("{page} has lost its `{end}`"))?;
    let text = format!("{before}{begin}\n{content}{end}{after}");
    std::fs::write(file, text).with_context(|| format!("cannot write {page}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_marked_changes_and_lost_marks_are_named() {
        let root = std::env::temp_dir().join(format!("xtask-marked-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let page = root.join("page.md");
        let with = |inner: &str| {
            format!("a\n<!-- cargo xtask it: begin -->\n{inner}<!-- cargo xtask it: end -->\nz\n")
        };
        std::fs::write(&page, with("old\n")).unwrap();
        replace(&root, "page.md", "it", "new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&page).unwrap(), with("new\n"));
        assert!(replace(&root, "page.md", "other", "").unwrap_err().to_string().contains("other: begin"));
        std::fs::write(&page, "a\n<!-- cargo xtask it: begin -->\n").unwrap();
        assert!(replace(&root, "page.md", "it", "").unwrap_err().to_string().contains("it: end"));
        assert!(replace(&root, "none.md", "it", "").unwrap_err().to_string().contains("none.md"));
        std::fs::remove_dir_all(root).unwrap();
    }
}
