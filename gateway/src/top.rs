//! A running gateway in the terminal: `gateway top`.
//!
//! Asks the admin listener of any gateway, once in an interval, and shows what moved since the last look. Never looks into a
//! gateway in another way, so it works from afar, and costs the gateway a scrape.
//!
//! | noun | file |
//! |---|---|
//! | asking, and the text form of metrics | `admin.rs` |
//! | what moved between two looks | `figures.rs` |
//! | for a terminal | `screen.rs` |
//! | for everything else | `show.rs` |

mod admin;
mod figures;
mod screen;
mod show;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use feed_sim::parse_span;
use model::Nanos;

use crate::clock::Clock;
use admin::{Admin, AdminError, Look};
use figures::Figures;
use screen::Screen;

/// Show rates, latency and the slowest clients of a running gateway
///
/// Asks its admin listener once in an interval. On a terminal the view stays until q or Ctrl-C; elsewhere there is a line for each
/// interval, or with --once everything, once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Admin listener of the gateway
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464", env = "GATEWAY_ADMIN_LISTEN")]
    admin: String,
    /// Time between two looks, such as 500ms
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = parse_span)]
    interval: Nanos,
    /// How clients are ranked
    #[arg(long, value_enum, default_value = "age")]
    by: Rank,
    /// Clients that are listed
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Look for one interval, print everything, and end
    #[arg(long)]
    once: bool,
}

/// What makes a client the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rank {
    /// The age of its oldest unsent entry.
    Age,
    /// Its unsent entries.
    Entries,
    /// Entries lost to it.
    Drops,
}

impl Rank {
    const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Entries => "entries",
            Self::Drops => "drops",
        }
    }
}

/// Looks and shows until it is enough.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match watch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(args: &Args) -> Result<(), TopError> {
    let admin = Admin::new(&args.admin, args.by.name(), args.top);
    let clock = Clock::default();
    let interval = Duration::from_nanos(args.interval.0);
    let mut before = admin.look(&clock)?;
    if args.once {
        std::thread::sleep(interval);
        let now = admin.look(&clock)?;
        return say(&show::everything(&Figures::between(&before, &now)));
    }
    if !io::stdout().is_terminal() {
        say(show::HEAD)?;
        loop {
            std::thread::sleep(interval);
            let now = admin.look(&clock)?;
            say(&show::line(&Figures::between(&before, &now)))?;
            before = now;
        }
    }
    let mut screen = Screen::start()?;
    let mut figures = Err("looking for the first time".to_owned());
    loop {
        screen.draw(&args.admin, &figures)?;
        if screen.wait(interval)? {
            return Ok(());
        }
        figures = step(&admin, &clock, &mut before);
    }
}

/// One more look. A gateway that does not answer is shown as that, because it may come back.
fn step(admin: &Admin, clock: &Clock, before: &mut Look) -> Result<Figures, String> {
    let now = admin.look(clock).map_err(|error| error.to_string())?;
    let figures = Figures::between(before, &now);
    *before = now;
    Ok(figures)
}

/// Writes to standard output; a reader that has gone away has seen enough.
fn say(text: &str) -> Result<(), TopError> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(TopError::Output)
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum TopError {
    /// The gateway.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The terminal.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
    /// Whoever reads.
    #[error("cannot write: {0}")]
    Output(io::Error),
}
