//! What `cargo xtask bench train`, `encode` and `gpu` measured: kept, and shown as a table and a plot.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::marked;

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// `train` or `encode`, or an adapter and `matmul` or `train`.
    pub(crate) kind: String,
    /// The preset.
    pub(crate) size: String,
    /// The other implementation.
    pub(crate) peer: String,
    /// Images of a run.
    pub(crate) batch: u32,
    /// Median seconds of this project.
    pub(crate) ours: f64,
    /// Median seconds of the other.
    pub(crate) theirs: f64,
    /// Median of the rounds' ratios.
    pub(crate) ratio: f64,
    /// The ratio that is wanted.
    pub(crate) target: f64,
}

impl Row {
    /// What was compared, for people.
    pub(crate) fn title(&self) -> String {
        format!("{} {}, {} / ours", self.kind, self.size, self.peer)
    }

    fn json(&self) -> Value {
        json!({
            "kind": self.kind, "size": self.size, "peer": self.peer, "batch": self.batch,
            "ours": self.ours, "theirs": self.theirs, "ratio": self.ratio, "target": self.target,
        })
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = |key: &str| Some(value[key].as_str()?.to_string());
        let number = |key: &str| value[key].as_f64();
        Some(Self {
            kind: text("kind")?,
            size: text("size")?,
            peer: text("peer")?,
            batch: value["batch"].as_u64()?.try_into().ok()?,
            ours: number("ours")?,
            theirs: number("theirs")?,
            ratio: number("ratio")?,
            target: number("target")?,
        })
    }

    /// The CPU before adapters, training before encoding, small before large.
    fn order(&self) -> (usize, String, usize, bool) {
        let kind = ["train", "encode"].iter().position(|kind| *kind == self.kind);
        let size = ["ti", "s", "b"].iter().position(|size| *size == self.size);
        let last = usize::MAX;
        (kind.unwrap_or(last), self.kind.clone(), size.unwrap_or(last), self.peer != "PyTorch")
    }
}

const KEPT: &str = "docs/performance.json";
const TABLE: &str = "docs/performance.md";
const PLOT: &str = "docs/performance.svg";

/// What is kept so far; nothing where there is no such file.
fn kept(root: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(root.join(KEPT)).unwrap_or_default();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    rows.iter().filter_map(Row::parse).collect()
}

/// Keeps a result, in place of an earlier one of the same comparison.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn keep(root: &Path, row: Row) -> Result<()> {
    let mut rows = kept(root);
    rows.retain(|have| have.title() != row.title());
    rows.push(row);
    rows.sort_by_key(Row::order);
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    std::fs::write(root.join(KEPT), serde_json::to_string_pretty(&rows)?)
        .with_context(|| format!("cannot write {KEPT}"))
}

/// Writes table and plot of all that is kept.
///
/// # Errors
/// When a file cannot be read or written, or the table's place is gone.
pub(crate) fn write(root: &Path) -> Result<()> {
    let rows = kept(root);
    marked::replace(root, TABLE, "bench", &table(&rows))?;
    std::fs::write(root.join(PLOT), plot(&rows)).with_context(|| format!("cannot write {PLOT}"))
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | images | other | ours | theirs | theirs / ours | wanted |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let (ours, theirs) = (time(row.ours), time(row.theirs));
        let (kind, size, batch, peer) = (&row.kind, &row.size, row.batch, &row.peer);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {kind} {size} | {batch} | {peer} | {ours} | {theirs} | {:.2} | {:.1} |",
            row.ratio, row.target
        );
    }
    text
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", 1e3 * seconds) } else { format!("{seconds:.2} s") }
}

/// Pixels of the plot: of all, of what is left of the bars, of one bar, and of one time.
const WIDTH: f64 = 640.0;
const LEFT: f64 = 200.0;
const BAR: f64 = 26.0;

/// Bars of the ratios, with a mark at what is wanted and a line where both are equal.
fn plot(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.ratio.max(row.target)).fold(1.0, f64::max);
    let unit = (WIDTH - LEFT - 60.0) / most;
    let height = BAR * rows.len() as f64 + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Time of others, as a multiple of ours</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (i, row) in rows.iter().enumerate() {
        let top = 8.0 + BAR * i as f64;
        let colour = if row.ratio >= row.target { "#3a7d44" } else { "#b7791f" };
        let (end, mark) = (LEFT + unit * row.ratio, LEFT + unit * row.target);
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{} {}, {}</text>\
             <rect x=\"{LEFT}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>\
             <path d=\"M{mark:.1} {top:.0}v{:.0}\" stroke=\"#000\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{:.2}</text>",
            LEFT - 8.0,
            top + 15.0,
            row.kind,
            row.size,
            row.peer,
            end - LEFT,
            BAR - 6.0,
            BAR - 6.0,
            end.max(mark) + 6.0,
            top + 15.0,
            row.ratio
        );
    }
    let one = LEFT + unit;
    let _ = writeln!(
        svg,
        "<path d=\"M{one:.1} 4V{:.0}\" stroke=\"#555\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#555\">time of others / ours; dashed: equal, black: wanted</text>\n</svg>",
        height - 30.0,
        height - 10.0
    );
    svg
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(kind: &str, size: &str, ratio: f64) -> Row {
        let (kind, size, peer) = (kind.into(), size.into(), "PyTorch".into());
        Row { kind, size, peer, batch: 8, ours: 0.5, theirs: 0.5 * ratio, ratio, target: 1.5 }
    }

    #[test]
    fn results_replace_earlier_ones_and_stand_in_order() {
        let root = std::env::temp_dir().join(format!("xtask-report-{}", std::process::id()));
        std::fs::create_dir_all(root.join("docs")).unwrap();
        let (begin, end) = ("<!-- cargo xtask bench: begin -->", "<!-- cargo xtask bench: end -->");
        std::fs::write(root.join(TABLE), format!("a\n{begin}\nold\n{end}\nz\n")).unwrap();
        for row in [row("encode", "ti", 1.0), row("train", "s", 2.0), row("encode", "ti", 3.0)] {
            keep(&root, row).unwrap();
        }
        assert_eq!(kept(&root), [row("train", "s", 2.0), row("encode", "ti", 3.0)]);
        write(&root).unwrap();
        let page = std::fs::read_to_string(root.join(TABLE)).unwrap();
        assert!(page.starts_with(&format!("a\n{begin}\n| what")) && page.ends_with(&format!("{end}\nz\n")));
        assert!(
            !page.contains("old")
                && page.contains("| train s | 8 | PyTorch | 500.0 ms | 1.00 s | 2.00 | 1.5 |")
        );
        assert!(std::fs::read_to_string(root.join(PLOT)).unwrap().contains(">3.00</text>"));
        std::fs::write(root.join(TABLE), "no place").unwrap();
        assert!(write(&root).is_err());
        std::fs::remove_dir_all(root).unwrap();
    }
}
