//! Plots of the report, each an SVG element that needs nothing but itself.
//!
//! Owns what is drawn and in which colours. Never computes a figure: points come from [`super::Report`]. The page around them is
//! made in [`super::html`].

use super::Report;
use crate::run::timeline::{GatewayPoint, Point};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (640, 260);
/// Most points of a line; a longer one is thinned.
const POINTS_MAX: usize = 1_200;
/// Quantiles up to this many nines are shown.
const NINES_MAX: f64 = 5.0;

const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const ORANGE: RGBColor = RGBColor(0xff, 0x7f, 0x0e);
const GREEN: RGBColor = RGBColor(0x2c, 0xa0, 0x2c);
const RED: RGBColor = RGBColor(0xd6, 0x27, 0x28);
const GREY: RGBColor = RGBColor(0x55, 0x5f, 0x6d);

/// A plot of the page.
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: &'static str,
    /// How to read it.
    pub(super) note: &'static str,
    /// The element.
    pub(super) svg: String,
}

/// How values are spread over the height.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Log,
}

/// A line with its name.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// The axes of a plot.
struct Axes {
    x: &'static str,
    y: &'static str,
    scale: Scale,
    /// The measured window, which is shaded.
    window: Option<(f64, f64)>,
    /// How places on the x axis are called.
    name_x: fn(f64) -> String,
}

/// A plot before it is drawn: title, note, axes, lines.
type Described = (&'static str, &'static str, Axes, Vec<Line>);

/// Every plot that there is something to show in.
pub(super) fn plots(report: &Report) -> Result<Vec<Plot>, String> {
    let run = Run(report);
    let described = run.latency().into_iter().chain(run.load()).chain(run.machine());
    let mut plots = Vec::new();
    for (title, note, axes, lines) in described {
        let lines: Vec<Line> = lines.into_iter().filter(|line| line.points.len() > 1).collect();
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

    fn own(&self, name: &'static str, colour: RGBColor, of: fn(&Point) -> Option<f64>) -> Line {
        let points = &self.0.timeline.points;
        let points = points.iter().filter_map(|point| Some((point.at_s, of(point)?))).collect();
        Line { name, colour, points }
    }

    fn of_gateway(&self, name: &'static str, colour: RGBColor, of: fn(&GatewayPoint) -> f64) -> Line {
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

/// A number in few characters.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        v if v >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let digits = if value.abs() < 1.0 { 3 } else { 1 };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

fn draw(axes: &Axes, mut lines: Vec<Line>) -> Result<String, String> {
    for line in &mut lines {
        thin(&mut line.points);
    }
    let all = || lines.iter().flat_map(|line| &line.points);
    let x_max = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let y_max = all().map(|(_, y)| *y).fold(0.0, f64::max);
    let y_min = all().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    // The names of several lines stand above them.
    let room = if lines.len() > 1 { 1.35 } else { 1.08 };
    let mut svg = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        match axes.scale {
            Scale::Linear => draw_on(&area, axes, &lines, x_max, 0.0..(y_max * room).max(1.0)),
            Scale::Log => {
                let range = y_min / 1.5..y_max * 1.5 * (y_max / y_min).powf(room - 1.0);
                draw_on(&area, axes, &lines, x_max, range.log_scale())
            }
        }
    };
    drawn.map_err(|error| format!("cannot draw: {error}"))?;
    Ok(svg)
}

fn draw_on<'a, Y>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    axes: &Axes,
    lines: &[Line],
    x_max: f64,
    y_range: Y,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(34)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..x_max, y_range)?;
    let heights = chart.y_range();
    if let Some((opened, closed)) = axes.window {
        let corners = [(opened, heights.start), (closed, heights.end)];
        chart.draw_series(std::iter::once(Rectangle::new(corners, BLUE.mix(0.06).filled())))?;
    }
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.2))
        .axis_style(GREY)
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_labels(6)
        .y_labels(if axes.scale == Scale::Log { 12 } else { 6 })
        .x_label_formatter(&|x| (axes.name_x)(*x))
        .y_label_formatter(&|y| short(*y))
        .label_style(("sans-serif", 13))
        .draw()?;
    for line in lines {
        let colour = line.colour;
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(GREY.mix(0.3))
            .label_font(("sans-serif", 13))
            .draw()?;
    }
    area.present()
}

/// Keeps every so many points, the highest of its neighbours, so that a peak stays a peak.
fn thin(points: &mut Vec<(f64, f64)>) {
    let step = points.len().div_ceil(POINTS_MAX);
    if step > 1 {
        let peaks =
            points.chunks(step).filter_map(|part| part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)));
        *points = peaks.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_survives_thinning() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        points[4_321].1 = 99.0;
        thin(&mut points);
        assert!(points.len() <= POINTS_MAX && points.contains(&(4_321.0, 99.0)));
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0.0, 0.05, 12.0, 12.5, 9_999.0, 12_000.0, 2_500_000.0].into_iter().map(short).collect();
        assert_eq!(shown, ["0", "0.05", "12", "12.5", "9999", "12k", "2.5M"]);
        assert_eq!(quantile_of_nines(nines(0.999)), "p99.9");
    }
}
