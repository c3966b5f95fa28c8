//! The live view on a terminal: rates, latency and violations while the run goes on.
//!
//! Owns the screen and the keys. Never measures: everything it shows is in the timeline and the counters.

use super::Progress;
use super::timeline::{Point, Timeline};
use crate::plan::Plan;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};
use ratatui::{DefaultTerminal, Frame};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Seconds that plots show.
const SECONDS_SHOWN: f64 = 120.0;
const DIM: Style = Style::new().fg(Color::DarkGray);

/// The screen, until it is dropped.
pub(super) struct Live {
    terminal: DefaultTerminal,
    view: View,
}

/// What does not change while the run goes on.
struct View {
    title: String,
    url: String,
    /// Groups with their clients.
    groups: Vec<String>,
    clients: u32,
    duration: Duration,
}

impl Live {
    /// Takes over the terminal.
    pub(super) fn start(plan: &Plan) -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()?, view: View::of(plan) })
    }

    /// Shows where the run is; true when a key says to end it.
    pub(super) fn show(&mut self, what: &str, timeline: &Timeline, progress: &Progress) -> bool {
        // A terminal that cannot be drawn on or read from ends no run.
        let _ = self.terminal.draw(|frame| self.view.draw(frame, what, timeline, progress));
        let mut is_stopped = false;
        while event::poll(Duration::ZERO).unwrap_or(false) {
            if let Ok(Event::Key(key)) = event::read() {
                let is_interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                let is_quit = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
                is_stopped |= key.kind == KeyEventKind::Press && (is_interrupt || is_quit);
            }
        }
        is_stopped
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl View {
    fn of(plan: &Plan) -> Self {
        let settings = &plan.settings;
        let count = |at| (0..plan.clients).filter(|client| plan.group_of(*client) == at).count();
        let named = |(at, group): (usize, &crate::plan::Group)| {
            format!(
                "{:>6} {} on {} x {}",
                count(at),
                group.profile,
                group.channel.name(),
                group.symbols_per_client
            )
        };
        Self {
            title: settings.title.clone().unwrap_or_else(|| "loadtest".to_owned()),
            url: settings.target.url.clone(),
            groups: settings.groups.iter().enumerate().map(named).collect(),
            clients: plan.clients,
            duration: settings.duration,
        }
    }

    fn draw(&self, frame: &mut Frame<'_>, what: &str, timeline: &Timeline, progress: &Progress) {
        let [head, bar, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let title = Line::from(vec![
            Span::styled(format!("{} ", self.title), Style::new().add_modifier(Modifier::BOLD)),
            Span::styled(self.url.clone(), DIM),
        ]);
        frame.render_widget(title, head);
        frame.render_widget(self.gauge(what, timeline, progress), bar);
        let [left, right] = Layout::horizontal([Constraint::Length(44), Constraint::Min(30)]).areas(body);
        self.draw_figures(frame, left, timeline, progress);
        let [rate, latency] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(right);
        draw_rate(frame, rate, &timeline.points);
        draw_latency(frame, latency, &timeline.points);
        frame.render_widget(Line::styled("q ends the run early and reports", DIM), foot);
    }

    fn gauge(&self, what: &str, timeline: &Timeline, progress: &Progress) -> Gauge<'static> {
        let (ratio, label) = match timeline.in_window() {
            Some(elapsed) => {
                let (elapsed, all) = (elapsed.as_secs_f64(), self.duration.as_secs_f64());
                (elapsed / all, format!("{what} {elapsed:.0} of {all:.0} s"))
            }
            None => {
                let settled = progress.settled.load(Ordering::Relaxed);
                (
                    settled as f64 / f64::from(self.clients),
                    format!("{what}: {settled} of {} clients ready", self.clients),
                )
            }
        };
        Gauge::default().ratio(ratio.clamp(0.0, 1.0)).label(label).gauge_style(Style::new().fg(Color::Blue))
    }

    fn draw_figures(&self, frame: &mut Frame<'_>, area: Rect, timeline: &Timeline, progress: &Progress) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let violations = count(&progress.violations);
        let alarm = if violations > 0 { Style::new().fg(Color::Red) } else { Style::new().fg(Color::Green) };
        let mut lines = vec![
            row("connected", format!("{} of {}", count(&progress.alive), self.clients)),
            row("failed, lost", format!("{}, {}", count(&progress.failed), count(&progress.lost))),
            row("reconnects", count(&progress.reconnects).to_string()),
            Line::from(vec![
                Span::raw(format!("{:<18}", "violations")),
                Span::styled(violations.to_string(), alarm.add_modifier(Modifier::BOLD)),
            ]),
            row("messages", count(&progress.messages).to_string()),
        ];
        if let Some(point) = timeline.last() {
            lines.push(row("messages/s", format!("{:.0}, {:.1} MB/s", point.messages_per_s, point.mb_per_s)));
            let ms =
                |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| format!("{:.2}", us as f64 / 1e3));
            lines.push(row(
                "p50, p99, max ms",
                format!("{}, {}, {}", ms(point.p50_us), ms(point.p99_us), ms(point.max_us)),
            ));
            lines.push(row("generator CPU", format!("{:.0} %", point.generator_percent)));
            if let Some(gateway) = &point.gateway {
                lines.push(row(
                    "gateway CPU",
                    format!("{:.0} %, {:.0} MB", gateway.cpu_percent, gateway.rss_mb),
                ));
                lines.push(row(
                    "gateway lagging",
                    format!("{}, {} pending", gateway.lagging, gateway.pending),
                ));
            }
        }
        lines.push(Line::default());
        lines.extend(self.groups.iter().map(|group| Line::styled(group.clone(), DIM)));
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("now")), area);
    }
}

fn row(name: &str, value: String) -> Line<'static> {
    Line::from(format!("{name:<18}{value}"))
}

fn draw_rate(frame: &mut Frame<'_>, area: Rect, points: &[Point]) {
    let received = series(points, |point| Some(point.messages_per_s));
    let written = series(points, |point| point.gateway.as_ref().map(|gateway| gateway.written_per_s));
    draw_chart(
        frame,
        area,
        "messages per second",
        &[("received", Color::Blue, received), ("written by the gateway", Color::Green, written)],
    );
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, points: &[Point]) {
    let ms = |us: Option<u64>| us.map(|us| us as f64 / 1e3);
    let (p50, p99) = (series(points, |point| ms(point.p50_us)), series(points, |point| ms(point.p99_us)));
    draw_chart(frame, area, "latency, ms", &[("p50", Color::Blue, p50), ("p99", Color::Yellow, p99)]);
}

fn series(points: &[Point], of: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    let end = points.last().map_or(0.0, |point| point.at_s);
    let shown = points.iter().filter(|point| point.at_s > end - SECONDS_SHOWN);
    shown.filter_map(|point| Some((point.at_s, of(point)?))).collect()
}

/// Name, colour and points of a line.
type Series<'a> = (&'a str, Color, Vec<(f64, f64)>);

fn draw_chart(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[Series<'_>]) {
    let all = || lines.iter().flat_map(|(_, _, points)| points);
    let end = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let start = all().map(|(x, _)| *x).fold(end, f64::min).min(end - 1.0);
    let top = all().map(|(_, y)| *y).fold(0.0, f64::max).max(0.001) * 1.1;
    let datasets = lines
        .iter()
        .map(|(name, colour, points)| {
            Dataset::default()
                .name(*name)
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .style(Style::new().fg(*colour))
                .data(points)
        })
        .collect();
    let x = Axis::default()
        .bounds([start, end])
        .labels([format!("{start:.0} s"), format!("{end:.0} s")])
        .style(DIM);
    let y =
        Axis::default().bounds([0.0, top]).labels(["0".to_owned(), short(top / 2.0), short(top)]).style(DIM);
    let chart = Chart::new(datasets).x_axis(x).y_axis(y).block(Block::bordered().title(title.to_owned()));
    frame.render_widget(chart, area);
}

/// A number in few characters.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v if v >= 10.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::Instant;

    #[test]
    fn the_screen_shows_what_is_going_on_at_any_size() {
        let view = View {
            title: "a mix".to_owned(),
            url: "ws://somewhere/v2".to_owned(),
            groups: vec!["     3 slow:64000B/s on book x 1".to_owned()],
            clients: 12,
            duration: Duration::from_secs(60),
        };
        let mut timeline = Timeline::new(Instant::now(), 1);
        timeline.opened_at = Some(Duration::ZERO);
        let point =
            |at_s: f64| Point { at_s, messages_per_s: 1_234.0, p99_us: Some(1_500), ..Point::default() };
        timeline.points = (1..90).map(|at| point(f64::from(at))).collect();
        let progress = Progress::default();
        progress.violations.store(7, Ordering::Relaxed);
        for (width, height) in [(120, 30), (80, 24), (20, 5)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view.draw(frame, "measuring", &timeline, &progress)).unwrap();
            let cells = terminal.backend().buffer().content().iter();
            let text: String = cells.map(|cell| cell.symbol()).collect();
            assert!(text.contains("a mix"), "{text}");
            if width >= 80 {
                for part in
                    ["measuring 0 of 60 s", "violations        7", "1234", "slow:64000B/s", "latency, ms"]
                {
                    assert!(text.contains(part), "{part} in {width} x {height}: {text}");
                }
            }
        }
    }
}
