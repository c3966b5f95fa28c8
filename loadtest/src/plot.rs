//! Lines over axes, as SVG elements that need nothing but themselves.
//!
//! Owns how a plot looks. Never knows what it shows: the report of a run and the pictures of a bench bring their points.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (640, 260);
/// Most points of a line; a longer one is thinned.
const POINTS_MAX: usize = 1_200;

pub(crate) const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
pub(crate) const ORANGE: RGBColor = RGBColor(0xff, 0x7f, 0x0e);
pub(crate) const GREEN: RGBColor = RGBColor(0x2c, 0xa0, 0x2c);
pub(crate) const RED: RGBColor = RGBColor(0xd6, 0x27, 0x28);
pub(crate) const PURPLE: RGBColor = RGBColor(0x94, 0x67, 0xbd);
pub(crate) const GREY: RGBColor = RGBColor(0x55, 0x5f, 0x6d);

/// How values are spread over the height.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// A line with its name.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) colour: RGBColor,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The axes of a plot.
pub(crate) struct Axes {
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) scale: Scale,
    /// The measured window, which is shaded.
    pub(crate) window: Option<(f64, f64)>,
    /// How places on the x axis are called.
    pub(crate) name_x: fn(f64) -> String,
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

/// Draws lines over their axes: an SVG element.
pub(crate) fn draw(axes: &Axes, mut lines: Vec<Line<'_>>) -> Result<String, String> {
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
    lines: &[Line<'_>],
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
    }
}
