//! Plots of the report, each an SVG element that needs nothing but itself.
//!
//! Owns what is drawn and in which colours. Never computes a figure: points come from [`super::Report`]. The page around them is
//! made in [`super::html`].

use super::Report;
use crate::plot::{Axes, BLUE, GREEN, GREY, Line, ORANGE, RED, Scale, draw};
use crate::run::timeline::{GatewayPoint, Point};
use plotters::style::RGBColor;

/// Quantiles up to this many nines are shown.
const NINES_MAX: f64 = 5.0;

/// A plot of the page.
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: &'static str,
    /// How to read it.
    pub(super) note: &'static str,
    /// The element.
    pub(super) svg: String,
}

/// A plot before it is drawn: title, note, axes, lines.
type Described = (&'static str, &'static str, Axes, Vec<Line<'static>>);

/// Every plot that there is something to show in.
pub(super) fn plots(report: &Report) -> Result<Vec<Plot>, String> {
    let run = Run(report);
    let described = run.latency().into_iter().chain(run.load()).chain(run.machine());
    let mut plots = Vec::new();
    for (title, note, axes, lines) in described {
        let lines: Vec<Line<'_>> = lines.into_iter().filter(|line| line.points.len() > 1).collect();
        if !lines.is_empty() {
            plots.push(Plot { title, note, svg: draw(&axes, lines)? });
        }
    }
    Ok(plots)
}

/// What a run has to show.
struct Run<'a>(&'a Report);

impl Run<'_> {
    fn over_time(&self, y: &'static str, scale: Scale) -> Axes {
        let timeline = &self.0.timeline;
        Axes { x: "seconds", y, scale, window: Some((timeline.opened_s, timeline.closed_s)), name_x: seconds }
    }

    fn own(&self, name: &'static str, colour: RGBColor, of: fn(&Point) -> Option<f64>) -> Line<'static> {
        let points = &self.0.timeline.points;
        let points = points.iter().filter_map(|point| Some((point.at_s, of(point)?))).collect();
        Line { name, colour, points }
    }

    fn of_gateway(
        &self,
        name: &'static str,
        colour: RGBColor,
        of: fn(&GatewayPoint) -> f64,
    ) -> Line<'static> {
        let points = &self.0.timeline.points;
        let points =
            points.iter().filter_map(|point| Some((point.at_s, of(point.gateway.as_ref()?)))).collect();
        Line { name, colour, points }
    }

    fn latency(&self) -> [Described; 2] {
        let curve = self.0.latency_curve.iter().map(|&(quantile, us)| (nines(quantile), ms(us)));
        let curve = Line { name: "latency", colour: BLUE, points: curve.collect() };
        let axes =
            Axes { x: "quantile", y: "ms", scale: Scale::Log, window: None, name_x: quantile_of_nines };
        let over_time = vec![
            self.own("max", GREY, |point| point.max_us.map(ms)),
            self.own("p99", ORANGE, |point| point.p99_us.map(ms)),
            self.own("p50", BLUE, |point| point.p50_us.map(ms)),
        ];
        [
            (
                "Latency by quantile",
                "From the feed's event to the receipt, of clients that read at once, within the window.",
                axes,
                vec![curve],
            ),
            (
                "Latency over time",
                "The same in each second. The shaded part is the measured window.",
                self.over_time("ms", Scale::Log),
                over_time,
            ),
        ]
    }

    fn load(&self) -> [Described; 3] {
        let rates = vec![
            self.of_gateway("written by the gateway", GREEN, |point| point.written_per_s),
            self.own("messages received", BLUE, |point| Some(point.messages_per_s)),
        ];
        let lag = vec![
            self.of_gateway("pending", ORANGE, |point| point.pending as f64),
            self.of_gateway("merged per second", BLUE, |point| point.merged_per_s),
            self.of_gateway("dropped per second", RED, |point| point.dropped_per_s),
        ];
        let clients = vec![
            self.own("connected", BLUE, |point| Some(point.clients as f64)),
            self.of_gateway("lagging", ORANGE, |point| point.lagging as f64),
        ];
        [
            (
                "Rate",
                "Messages received and verified, and deliveries that the gateway says it wrote, each second.",
                self.over_time("per second", Scale::Linear),
                rates,
            ),
            (
                "Lag",
                "Deliveries that the gateway has not made yet, and what it merged and dropped each second.",
                self.over_time("deliveries", Scale::Linear),
                lag,
            ),
            (
                "Clients",
                "Connections of this run that are open, and clients that the gateway calls lagging.",
                self.over_time("clients", Scale::Linear),
                clients,
            ),
        ]
    }

    fn machine(&self) -> [Described; 2] {
        let cpu = vec![
            self.of_gateway("gateway", GREEN, |point| point.cpu_percent),
            self.own("generator", GREY, |point| Some(point.generator_percent)),
        ];
        [
            (
                "CPU",
                "Per cent of a core: all threads of the gateway, and the busiest thread of the generator.",
                self.over_time("% of a core", Scale::Linear),
                cpu,
            ),
            (
                "Memory",
                "What the gateway keeps resident.",
                self.over_time("MB", Scale::Linear),
                vec![self.of_gateway("gateway", GREEN, |point| point.rss_mb)],
            ),
        ]
    }
}

/// Milliseconds, for a scale that has no zero.
fn ms(us: u64) -> f64 {
    (us as f64 / 1e3).max(0.001)
}

/// A quantile as the number of its nines: 0.9 is 1, 0.99 is 2.
fn nines(quantile: f64) -> f64 {
    (-(1.0 - quantile).log10()).min(NINES_MAX)
}

fn quantile_of_nines(nines: f64) -> String {
    match nines.round() as u32 {
        0 => "0".to_owned(),
        1 => "p90".to_owned(),
        2 => "p99".to_owned(),
        more @ 3..5 => format!("p99.{}", "9".repeat(more as usize - 2)),
        _ => "max".to_owned(),
    }
}

fn seconds(at: f64) -> String {
    format!("{at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_called_by_their_nines() {
        assert_eq!(quantile_of_nines(nines(0.999)), "p99.9");
    }
}
