//! What the person at the terminal sees while the run goes on.
//!
//! Owns the progress bar, or the lines that replace it where there is no terminal. Never writes to standard
//! output, which belongs to the report.

use super::Progress;
use crate::plan::Plan;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time between two plain lines; longer for long runs.
const LINE_EVERY_MIN: Duration = Duration::from_secs(1);
const LINES_MAX: u32 = 20;

/// Shows the progress, in one of three ways.
pub(super) struct Display {
    mode: Mode,
    clients: u64,
    duration: Duration,
}

enum Mode {
    Nothing,
    Lines { last: Option<(&'static str, Instant)>, every: Duration },
    Bar(ProgressBar),
}

impl Display {
    /// A bar on a terminal, plain lines otherwise, nothing when the output is for a program.
    pub(super) fn new(is_quiet: bool, plan: &Plan) -> Self {
        let every = LINE_EVERY_MIN.max(plan.duration / LINES_MAX);
        let mode = match (is_quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Nothing,
            (false, false) => Mode::Lines { last: None, every },
            (false, true) => Mode::Bar(bar()),
        };
        Self { mode, clients: u64::from(plan.clients), duration: plan.duration }
    }

    /// While clients connect.
    pub(super) fn ramp(&mut self, progress: &Progress) {
        let settled = progress.settled.load(Ordering::Relaxed);
        let (failed, clients) = (progress.failed.load(Ordering::Relaxed), self.clients);
        self.mode.show("connecting", settled, clients, || {
            format!("{settled} of {clients} clients ready, {failed} failed")
        });
    }

    /// While the window is open.
    pub(super) fn window(&mut self, progress: &Progress, elapsed: Duration) {
        let total_ms = self.duration.as_millis() as u64;
        self.mode.show("measuring", elapsed.as_millis() as u64, total_ms, || {
            let messages = progress.messages.load(Ordering::Relaxed);
            let violations = progress.violations.load(Ordering::Relaxed);
            let alive = progress.alive();
            format!(
                "{:.1} s, {alive} clients, {messages} messages, {violations} violations",
                elapsed.as_secs_f64()
            )
        });
    }

    /// Clears the bar, to make room for the report.
    pub(super) fn finish(&mut self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }
}

impl Mode {
    fn show(&mut self, what: &'static str, at: u64, of: u64, text: impl FnOnce() -> String) {
        match self {
            Self::Nothing => {}
            Self::Lines { last, every } => {
                // What is going on has changed, or it is time.
                if last.is_none_or(|(before, at)| before != what || at.elapsed() >= *every) {
                    *last = Some((what, Instant::now()));
                    eprintln!("{what}: {}", text());
                }
            }
            Self::Bar(bar) => {
                bar.set_prefix(what);
                bar.set_length(of);
                bar.set_position(at.min(of));
                bar.set_message(text());
            }
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {msg}").expect("the template is a constant");
    ProgressBar::new(1).with_style(style)
}
