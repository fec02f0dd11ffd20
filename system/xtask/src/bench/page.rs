//! A page with a bar for each row, and each row's history over commits.

use super::table::Summary;
use serde_json::Value;
use std::fmt::Write as _;

/// Pixels of a ratio of 1.
const UNIT: f64 = 400.0;
/// Ratios beyond are cut off.
const MOST: f64 = 1.5;
/// Size of a row's history in pixels.
const HISTORY: (f64, f64) = (160.0, 20.0);

/// The page, of the newest comparison and all that are on record (each as [`super::table::Comparison::json`] has it, the
/// newest last).
pub fn page(title: &str, summaries: &[Summary], history: &[Value]) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:14px sans-serif;margin:2em}}td,th{{padding:2px 8px;text-align:right}}td:first-child{{text-align:left}}</style>\n\
         <h1>{title}</h1>\n\
         <p>Each bar is our share of the same load on bare QEMU (the line at 1; above it is better). A mark is libvmm 0.2.0 with sDDF 0.7.0 \
         on release seL4, where it was measured. The small curve is the ratio over the runs on record.</p>\n\
         <table><tr><th>row<th>bare QEMU<th>ours<th>unit<th>ratio<th><th>history</tr>\n"
    );
    for summary in summaries {
        let Summary {
            row,
            limit,
            ours,
            ratio,
            ..
        } = summary;
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{limit:.2}<td>{ours:.2}<td>{}<td>{ratio:.2}<td>{}<td>{}</tr>",
            row.name,
            row.unit,
            bar(*ratio, row.peer),
            curve(&ratios(history, row.name))
        );
    }
    text.push_str("</table></html>\n");
    text
}

/// A bar with the limit's line and the peer's mark.
fn bar(ratio: f64, peer: Option<f64>) -> String {
    let x = |ratio: f64| ratio.clamp(0.0, MOST) * UNIT;
    let mut svg = format!(
        "<svg width=\"{:.0}\" height=\"20\"><rect y=\"3\" width=\"{:.0}\" height=\"14\" fill=\"#4878a8\"/>\
         <line x1=\"{UNIT}\" x2=\"{UNIT}\" y2=\"20\" stroke=\"#000\"/>",
        x(MOST),
        x(ratio)
    );
    if let Some(peer) = peer {
        let _ = write!(
            svg,
            "<line x1=\"{0:.0}\" x2=\"{0:.0}\" y2=\"20\" stroke=\"#d04040\" stroke-width=\"3\"/>",
            x(peer)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A curve through `values`.
fn curve(values: &[f64]) -> String {
    let (width, height) = HISTORY;
    #[expect(clippy::cast_precision_loss, reason = "few values")]
    let step = width / values.len().saturating_sub(1).max(1) as f64;
    let points: Vec<String> = std::iter::successors(Some(0.0), |x| Some(x + step))
        .zip(values)
        .map(|(x, value)| {
            let y = height * (1.0 - value.clamp(0.0, MOST) / MOST);
            format!("{x:.0},{y:.1}")
        })
        .collect();
    format!(
        "<svg width=\"{width}\" height=\"{height}\"><polyline points=\"{}\" fill=\"none\" stroke=\"#4878a8\"/></svg>",
        points.join(" ")
    )
}

/// The ratios of the row called `name` on record.
fn ratios(history: &[Value], name: &str) -> Vec<f64> {
    let of = |run: &Value| {
        let rows = run.get("rows")?.as_array()?;
        let row = rows
            .iter()
            .find(|row| row.get("name").and_then(Value::as_str) == Some(name))?;
        row.get("ratio")?.as_f64()
    };
    history.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::Row;
    use serde_json::json;

    #[test]
    fn a_page_has_a_bar_a_mark_and_a_history_for_a_row() {
        let summary = Summary {
            row: Row::named("tcp-tx").unwrap(),
            limit: 300.0,
            ours: 150.0,
            ratio: 0.5,
            min: 140.0,
            max: 160.0,
        };
        let run = |ratio: f64| json!({"rows": [{"name": "tcp-tx", "ratio": ratio}]});
        let text = page("a title", &[summary], &[run(0.25), run(0.5)]);
        for part in [
            "a title",
            "tcp-tx",
            "width=\"200\"",
            "stroke=\"#d04040\"",
            "0,16.7 160,13.3",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
