//! The figures on a terminal.
//!
//! Owns the screen, the keys and the history that plots show. Never asks and never computes a figure.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};

use super::figures::Figures;
use super::show::{CLIENT_HEAD, client_cells, rows};

/// Intervals that plots remember.
const HISTORY_MAX: usize = 300;
/// Columns that plots should have, and the least and the most that figures have.
const PLOTS_WIDTH: u16 = 44;
const FIGURES_WIDTH: (u16, u16) = (48, 88);
const DIM: Style = Style::new().fg(Color::DarkGray);

/// The screen, until it is dropped.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    history: History,
}

/// What plots show, oldest first.
#[derive(Default)]
struct History {
    written: VecDeque<u64>,
    p99_us: VecDeque<u64>,
    lagging: VecDeque<u64>,
}

impl Screen {
    /// Takes over the terminal.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()?, history: History::default() })
    }

    /// Draws what was found, or why nothing was.
    pub(super) fn draw(&mut self, address: &str, figures: &Result<Figures, String>) -> io::Result<()> {
        if let Ok(figures) = figures {
            self.history.push(figures);
        }
        let history = &self.history;
        self.terminal.draw(|frame| draw(frame, address, figures, history)).map(drop)
    }

    /// Waits for the next look; true when a key says that it is enough.
    pub(super) fn wait(&mut self, interval: Duration) -> io::Result<bool> {
        // A key that means nothing does not make the wait longer than the interval again and again: one key, one look.
        if !event::poll(interval)? {
            return Ok(false);
        }
        let Event::Key(key) = event::read()? else { return Ok(false) };
        let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let is_quit = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
        Ok(key.kind == KeyEventKind::Press && (is_interrupt || is_quit))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl History {
    fn push(&mut self, figures: &Figures) {
        let values = [figures.written, figures.p99_us().unwrap_or(0.0), figures.lagging];
        for (history, value) in
            [&mut self.written, &mut self.p99_us, &mut self.lagging].into_iter().zip(values)
        {
            if history.len() == HISTORY_MAX {
                history.pop_front();
            }
            history.push_back(value as u64);
        }
    }
}

fn draw(frame: &mut Frame<'_>, address: &str, figures: &Result<Figures, String>, history: &History) {
    let [head, body, clients, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Max(18),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let title = Span::styled("gateway top ", Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Line::from(vec![title, Span::styled(address.to_owned(), DIM)]), head);
    frame.render_widget(Line::styled("q ends", DIM), foot);
    let figures = match figures {
        Ok(figures) => figures,
        Err(reason) => return frame.render_widget(Line::styled(reason.clone(), Color::Yellow), body),
    };
    let width = body.width.saturating_sub(PLOTS_WIDTH).clamp(FIGURES_WIDTH.0, FIGURES_WIDTH.1);
    let [left, right] = Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(body);
    draw_figures(frame, left, figures);
    let plots = Layout::vertical([Constraint::Fill(1); 3]).split(right);
    draw_plot(frame, plots[0], "delivered per second", &history.written, Color::Blue);
    draw_plot(frame, plots[1], "p99 of the whole way, us", &history.p99_us, Color::Yellow);
    draw_plot(frame, plots[2], "clients that lag", &history.lagging, Color::Magenta);
    draw_clients(frame, clients, figures);
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let line = |(name, value): (String, String)| {
        let alarm = match name.as_str() {
            "BREACHES" => Style::new().fg(Color::Red),
            "state" if value != "ready" => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        Line::from(vec![Span::styled(format!("{name:<20}"), DIM), Span::styled(value, alarm)])
    };
    let lines: Vec<Line<'_>> = rows(figures).into_iter().map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered()), area);
}

fn draw_plot(frame: &mut Frame<'_>, area: Rect, name: &str, history: &VecDeque<u64>, colour: Color) {
    let width = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = history.iter().skip(history.len().saturating_sub(width)).copied().collect();
    let last = shown.last().copied().unwrap_or(0);
    let block = Block::bordered().title(format!("{name}: {last}"));
    frame.render_widget(Sparkline::default().data(shown).style(colour).block(block), area);
}

fn draw_clients(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let widths = [8, 21, 9, 8, 11, 8, 8, 8, 9, 9].map(Constraint::Length);
    let rows = figures.clients.iter().map(|client| {
        let style = if client.mode == "live" { Style::new() } else { Style::new().fg(Color::Yellow) };
        Row::new(client_cells(client)).style(style)
    });
    let table = Table::new(rows, widths)
        .header(Row::new(CLIENT_HEAD).style(DIM))
        .block(Block::bordered().title("slowest clients"));
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::admin::Client;
    use super::*;

    #[test]
    fn the_screen_shows_figures_and_clients_at_any_size() {
        let client = Client { id: 77, mode: "lagging".into(), lag_age_s: 2.5, ..Client::default() };
        let figures =
            Figures { connections: 5.0, written: 321.0, clients: vec![client], ..Figures::default() };
        let mut history = History::default();
        (0..2 * HISTORY_MAX).for_each(|_| history.push(&figures));
        assert_eq!(history.written.len(), HISTORY_MAX);
        for (width, height) in [(130, 40), (80, 24), (12, 4)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            for found in [Ok(figures.clone()), Err("no gateway answers".to_owned())] {
                terminal.draw(|frame| draw(frame, "somewhere:1", &found, &history)).unwrap();
            }
            terminal.draw(|frame| draw(frame, "somewhere:1", &Ok(figures.clone()), &history)).unwrap();
            let cells = terminal.backend().buffer().content().iter();
            let text: String = cells.map(|cell| cell.symbol()).collect();
            let parts: &[&str] = if width > 100 {
                &["321/s", "77", "lagging", "2.5 s", "somewhere:1"]
            } else {
                &["gateway top"]
            };
            assert!(parts.iter().all(|part| text.contains(part)), "{width} x {height}: {text}");
        }
    }
}
