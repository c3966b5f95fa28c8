//! Pictures of a bench: latency over the load, and CPU per delivery over the number of clients and of symbols.
//!
//! Owns which figures are shown over what. Never computes more than medians: readings come from the works, files go beside
//! `results.json`.

use super::table::{Readings, median};
use crate::plot::{Axes, BLUE, GREEN, GREY, Line, ORANGE, PURPLE, RED, Scale, draw};
use plotters::style::RGBColor;
use std::collections::BTreeMap;
use std::path::Path;

/// A picture: its file, the work, which of its cases, what is shown over what.
struct Picture {
    file: &'static str,
    work: &'static str,
    /// Figures that are the same in all cases that are shown.
    fixed: &'static [(&'static str, f64)],
    over: &'static str,
    shown: &'static str,
    axes: Axes,
}

/// Every picture of which there may be readings.
fn all() -> [Picture; 4] {
    let latency = |file, shown, y| {
        let axes = Axes { x: "updates/s", y, scale: Scale::Log, window: None, name_x: thousands };
        Picture { file, work: "latency", fixed: &[], over: "rate", shown, axes }
    };
    let slope = |file, fixed, over, x| {
        let axes = Axes { x, y: "us of CPU per delivery", scale: Scale::Linear, window: None, name_x: power };
        Picture { file, work: "slopes", fixed, over, shown: "us_per_delivery", axes }
    };
    [
        latency("latency-p50.svg", "p50_us", "p50, us"),
        latency("latency-p99.svg", "p99_us", "p99, us"),
        slope("slope-clients.svg", &[("symbols", 100.0), ("per_client", 10.0)], "clients", "clients"),
        slope("slope-symbols.svg", &[("clients", 1_000.0)], "symbols", "symbols"),
    ]
}

fn thousands(rate: f64) -> String {
    format!("{:.0}k", rate / 1e3)
}

fn power(exponent: f64) -> String {
    format!("{:.0}", 10_f64.powf(exponent))
}

/// Writes the pictures that there are at least two points for. Returns their files.
pub(super) fn write(readings: &Readings, folder: &Path) -> Result<Vec<&'static str>, String> {
    let mut written = Vec::new();
    for picture in all() {
        let lines = picture.lines(readings);
        if lines.values().all(|points| points.len() < 2) {
            continue;
        }
        let named =
            lines.iter().map(|(&name, points)| Line { name, colour: colour(name), points: points.clone() });
        let svg = draw(&picture.axes, named.collect())?;
        let path = folder.join(picture.file);
        std::fs::write(&path, svg).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        written.push(picture.file);
    }
    Ok(written)
}

const fn colour(server: &str) -> RGBColor {
    match server.as_bytes() {
        b"gateway" => GREEN,
        b"floor-each" => GREY,
        b"floor-batch" => BLUE,
        b"uws" => ORANGE,
        b"bun" => RED,
        _ => PURPLE,
    }
}

impl Picture {
    /// The medians of each server, from left to right.
    fn lines<'a>(&self, readings: &'a Readings) -> BTreeMap<&'a str, Vec<(f64, f64)>> {
        let is_fixed = |values: &BTreeMap<String, f64>| {
            self.fixed.iter().all(|(name, value)| values.get(*name) == Some(value))
        };
        let mut cases: BTreeMap<(&str, u64), Vec<f64>> = BTreeMap::new();
        for reading in readings.0.iter().filter(|one| one.work == self.work && is_fixed(&one.values)) {
            if let (Some(&over), Some(&shown)) =
                (reading.values.get(self.over), reading.values.get(self.shown))
            {
                cases.entry((&reading.server, over as u64)).or_default().push(shown);
            }
        }
        let is_power = self.work == "slopes";
        let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for ((server, over), shown) in cases {
            let over = if is_power { (over as f64).log10() } else { over as f64 };
            lines.entry(server).or_default().extend(median(&shown).map(|shown| (over, shown)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Reading;
    use super::*;

    fn reading(server: &str, round: u32, rate: f64, p50: f64) -> Reading {
        let values = [("rate", rate), ("p50_us", p50)].map(|(name, value)| (name.to_owned(), value));
        Reading {
            work: "latency".to_owned(),
            case: format!("{rate}"),
            server: server.to_owned(),
            round,
            values: values.into(),
            error: None,
        }
    }

    #[test]
    fn medians_are_drawn_over_the_load_and_what_was_not_measured_is_not() {
        let readings =
            [(1, 90.0), (2, 100.0), (3, 400.0)].map(|(round, p50)| reading("gateway", round, 2e4, p50));
        let readings = Readings(readings.into_iter().chain([reading("gateway", 1, 1e5, 900.0)]).collect());
        let lines = all()[0].lines(&readings);
        assert_eq!(lines["gateway"], [(2e4, 100.0), (1e5, 900.0)]);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write(&readings, folder.path()), Ok(vec!["latency-p50.svg"]));
        let svg = std::fs::read_to_string(folder.path().join("latency-p50.svg")).unwrap();
        assert!(svg.contains("<svg") && svg.contains("updates/s"));
    }
}
