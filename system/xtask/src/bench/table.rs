//! What was measured, round by round, and what it comes to.

use super::Side;
use super::row::Row;
use crate::assemble::Kernel;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The figures of both sides, by row, a value for each round.
#[derive(Clone, Debug)]
pub struct Comparison {
    kernel: String,
    rows: Vec<Figures>,
}

/// The figures of one row.
#[derive(Clone, Debug)]
struct Figures {
    row: &'static Row,
    limit: Vec<f64>,
    ours: Vec<f64>,
}

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The row.
    pub row: &'static Row,
    /// Bare QEMU's median, or that of [`Row::beside`] on our side.
    pub limit: f64,
    /// Our median.
    pub ours: f64,
    /// Our share of the limit, from the medians.
    pub ratio: f64,
    /// Our lowest value.
    pub min: f64,
    /// Our highest value.
    pub max: f64,
}

impl Comparison {
    /// No rounds yet, of `rows` on `kernel`.
    pub fn new(kernel: impl Into<String>, rows: &[&'static Row]) -> Self {
        let rows = rows.iter().map(|row| Figures {
            row,
            limit: Vec::new(),
            ours: Vec::new(),
        });
        Self {
            kernel: kernel.into(),
            rows: rows.collect(),
        }
    }

    /// Adds one round of one side: a value for each row.
    pub fn add(&mut self, side: Side, values: &[f64]) {
        for (figures, value) in self.rows.iter_mut().zip(values) {
            match side {
                Side::Bare => figures.limit.push(*value),
                Side::Ours => figures.ours.push(*value),
            }
        }
    }

    /// Rounds that both sides have done.
    pub fn rounds(&self) -> usize {
        self.rows.first().map_or(0, |figures| figures.ours.len())
    }

    /// Our values of a row; none if it was not measured.
    fn ours(&self, row: &Row) -> &[f64] {
        let found = self.rows.iter().find(|figures| figures.row == row);
        found.map_or(&[], |figures| &figures.ours)
    }

    /// What each row comes to.
    pub fn summaries(&self) -> Vec<Summary> {
        let rows = self.rows.iter().map(|figures| {
            let limit = match figures.row.beside() {
                Some(beside) => self.ours(beside),
                None => &figures.limit,
            };
            let (limit, ours) = (median(limit), median(&figures.ours));
            Summary {
                row: figures.row,
                limit,
                ours,
                ratio: figures.row.ratio(limit, ours),
                min: figures.ours.iter().copied().fold(f64::INFINITY, f64::min),
                max: figures.ours.iter().copied().fold(0.0, f64::max),
            }
        });
        rows.collect()
    }

    /// The table for a person.
    pub fn text(&self) -> String {
        let mut text = format!(
            "medians of {} alternating rounds, {}; a ratio above 1 is better than bare QEMU\n",
            self.rounds(),
            self.kernel
        );
        let _ = writeln!(
            text,
            "{:<22} {:>8} {:>11} {:>11} {:>23} {:>6}",
            "row", "unit", "bare QEMU", "ours", "min to max", "ratio"
        );
        for Summary {
            row,
            limit,
            ours,
            ratio,
            min,
            max,
        } in self.summaries()
        {
            let beside = row
                .beside()
                .map_or_else(String::new, |beside| format!("  of our {}", beside.name));
            let range = format!("{} to {}", figure(min), figure(max));
            let [limit, ours, ratio] = [limit, ours, ratio].map(figure);
            let _ = writeln!(
                text,
                "{:<22} {:>8} {limit:>11} {ours:>11} {range:>23} {ratio:>6}{beside}",
                row.name, row.unit
            );
        }
        text
    }

    /// The figures for a program.
    pub fn json(&self, kernel: &Kernel, commit: &str) -> Value {
        let rows = self.summaries().into_iter().map(|summary| {
            json!({
                "name": summary.row.name,
                "unit": summary.row.unit,
                "limit": summary.limit,
                "ours": summary.ours,
                "beside": summary.row.beside().map(|row| row.name),
                "ratio": summary.ratio,
                "min": summary.min,
                "max": summary.max,
            })
        });
        json!({
            "kernel": kernel.name(),
            "config": kernel.config(),
            "commit": commit,
            "rounds": self.rounds(),
            "rows": rows.collect::<Vec<_>>(),
        })
    }
}

/// A figure with two digits after the point, or three where those would say little.
fn figure(value: f64) -> String {
    let digits = if value.abs() < 0.1 { 3 } else { 2 };
    format!("{value:.digits$}")
}

/// The middle value, or the mean of the two in the middle.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Configuration;

    fn comparison() -> Comparison {
        let rows = ["tcp-tx", "ping"].map(|name| Row::named(name).unwrap());
        let mut comparison = Comparison::new("bundled kernel, release", &rows);
        for (bare, ours) in [([100.0, 1.0], [50.0, 2.0]), ([90.0, 1.0], [10.0, 4.0])] {
            comparison.add(Side::Bare, &bare);
            comparison.add(Side::Ours, &ours);
        }
        comparison.add(Side::Bare, &[110.0, 1.0]);
        comparison.add(Side::Ours, &[60.0, 3.0]);
        comparison
    }

    #[test]
    fn medians_decide() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert!(median(&[]).is_nan());
        let [tx, ping] = comparison().summaries().try_into().unwrap();
        assert_eq!((tx.limit, tx.ours, tx.ratio), (100.0, 50.0, 0.5));
        assert_eq!((tx.min, tx.max), (10.0, 60.0));
        assert_eq!(ping.ratio, 1.0 / 3.0);
    }

    #[test]
    fn what_bare_qemu_cannot_do_stands_beside_our_own_row() {
        let rows = ["ping", "vsock-rtt"].map(|name| Row::named(name).unwrap());
        let mut comparison = Comparison::new("bundled kernel, release", &rows);
        comparison.add(Side::Bare, &[1.0, f64::NAN]);
        comparison.add(Side::Ours, &[2.0, 0.5]);
        let [_, rtt] = comparison.summaries().try_into().unwrap();
        assert_eq!((rtt.limit, rtt.ours, rtt.ratio), (2.0, 0.5, 4.0));
        assert!(comparison.text().contains("4.00  of our ping\n"));
        let value = comparison.json(&Kernel::Bundled(Configuration::Release), "abc");
        assert_eq!(value["rows"][1]["beside"], "ping");
        assert_eq!(value["rows"][0]["beside"], Value::Null);
    }

    #[test]
    fn the_table_and_the_file_have_every_row() {
        let comparison = comparison();
        let text = comparison.text();
        assert!(text.contains("medians of 3") && text.contains("tcp-tx") && text.contains("0.33"));
        let value = comparison.json(&Kernel::Bundled(Configuration::Release), "abc");
        assert_eq!(
            (&value["kernel"], &value["config"]),
            (&json!("bundled"), &json!("release"))
        );
        assert_eq!(value["rows"][0]["name"], "tcp-tx");
        assert_eq!(value["rows"][1]["ratio"], 1.0 / 3.0);
    }
}
