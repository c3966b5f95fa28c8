//! What the person at the terminal sees while the run goes on.
//!
//! Owns the choice between a live view, plain lines and nothing, and the lines. Never writes to standard output, which belongs to
//! the report.

use super::Progress;
use super::live::Live;
use super::timeline::Timeline;
use crate::plan::Plan;
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time between two plain lines; longer for long runs.
const LINE_EVERY_MIN: Duration = Duration::from_secs(1);
const LINES_MAX: u32 = 20;

/// Shows the progress.
pub(super) struct Display {
    mode: Mode,
    clients: u64,
}

enum Mode {
    Nothing,
    Live(Box<Live>),
    Lines { last: Option<(&'static str, Instant)>, every: Duration },
}

impl Display {
    /// A live view on a terminal, plain lines otherwise or when they are asked for, nothing when the output is for a program.
    pub(super) fn new(is_quiet: bool, is_plain: bool, plan: &Plan) -> Self {
        let every = LINE_EVERY_MIN.max(plan.settings.duration / LINES_MAX);
        let lines = Mode::Lines { last: None, every };
        let has_screen = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let mode = match (is_quiet, is_plain || !has_screen) {
            (true, _) => Mode::Nothing,
            (false, true) => lines,
            (false, false) => Live::start(plan).map_or(lines, |live| Mode::Live(Box::new(live))),
        };
        Self { mode, clients: u64::from(plan.clients) }
    }

    /// Shows where the run is; true when the person wants it to end.
    pub(super) fn show(&mut self, what: &'static str, timeline: &Timeline, progress: &Progress) -> bool {
        match &mut self.mode {
            Mode::Nothing => {}
            Mode::Live(live) => return live.show(what, timeline, progress),
            Mode::Lines { last, every } => {
                // What is going on has changed, or it is time.
                if last.is_none_or(|(before, at)| before != what || at.elapsed() >= *every) {
                    *last = Some((what, Instant::now()));
                    eprintln!("{what}: {}", line(self.clients, timeline, progress));
                }
            }
        }
        false
    }

    /// Makes room for the report.
    pub(super) fn finish(&mut self) {
        self.mode = Mode::Nothing;
    }
}

fn line(clients: u64, timeline: &Timeline, progress: &Progress) -> String {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let violations = count(&progress.violations);
    let Some(elapsed) = timeline.in_window() else {
        return format!(
            "{} of {clients} clients ready, {} failed",
            count(&progress.settled),
            count(&progress.failed)
        );
    };
    let rate = timeline.last().map_or(0.0, |point| point.messages_per_s);
    let p99 = timeline.last().and_then(|point| point.p99_us);
    let p99 = p99.map_or_else(String::new, |us| format!(", p99 {us} us"));
    format!(
        "{:.1} s, {} clients, {} messages, {rate:.0}/s{p99}, {violations} violations",
        elapsed.as_secs_f64(),
        count(&progress.alive),
        count(&progress.messages),
    )
}
