//! The command: arguments, settings, logs, start, wait for a signal, end.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use gateway::app::{App, StartError};
use gateway::auth::{self, Auth, Guard};
use gateway::clock::Clock;
use gateway::config::{self, Config, Overrides};
use gateway::{explain, logs, tail, top};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use toml::Value;

/// Exit code for settings that cannot be used, as in sysexits.h.
const EXIT_CONFIG: u8 = 78;

/// Market-data streaming gateway: books and tickers from a feed to WebSocket clients.
///
/// Without arguments it serves its embedded simulated market on http://127.0.0.1:8080.
/// Every setting can stand in a TOML file, in the environment (public.listen is GATEWAY_PUBLIC_LISTEN), or in a flag; the later wins.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Settings {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "GATEWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Address for clients: WebSocket /v2, reference data, demo page [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address for operators: metrics and health [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// Where market data comes from: sim, tcp://HOST:PORT or replay:PATH [default: sim]
    #[arg(long, value_name = "FEED")]
    feed: Option<String>,
    /// Threads that own clients; 0 is one per core [default: 0]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Log filter: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the settings and say everything that is wrong
    CheckConfig(Settings),
    /// Print the settings in force as TOML
    PrintConfig(Settings),
    Explain(Box<explain::Args>),
    MintToken(Box<auth::command::MintArgs>),
    CheckToken(auth::command::CheckArgs),
    Top(top::Args),
    Tail(tail::Args),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

impl Settings {
    fn load(&self) -> Result<Config, config::ConfigError> {
        let text = |value: &Option<String>| value.clone().map(Value::String);
        let flags = [
            ("public.listen", text(&self.listen)),
            ("admin.listen", text(&self.admin_listen)),
            ("feed.source", text(&self.feed)),
            ("shards.count", self.shards.map(|count| Value::Integer(count.into()))),
            ("log.level", text(&self.log_level)),
        ];
        let overrides: Overrides =
            flags.into_iter().filter_map(|(path, value)| Some((path, value?))).collect();
        config::load(self.config.as_deref(), std::env::vars(), overrides)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        None => cli.settings.load().map(run),
        Some(Command::CheckConfig(settings)) => settings.load().and_then(check),
        Some(Command::PrintConfig(settings)) => settings.load().map(|config| say(&config::print(&config))),
        Some(Command::Explain(args)) => {
            load(args.config.as_deref()).map(|config| explain::run(args, &config))
        }
        Some(Command::MintToken(args)) => {
            load(args.config.as_deref()).map(|config| auth::command::mint(args, &config))
        }
        Some(Command::CheckToken(args)) => {
            load(args.config.as_deref()).map(|config| auth::command::check(args, &config))
        }
        Some(Command::Top(args)) => Ok(top::run(args)),
        Some(Command::Tail(args)) => Ok(tail::run(args)),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(*shell, &mut Cli::command(), "gateway", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(EXIT_CONFIG)
    })
}

/// The settings of a command that has no flags for them.
fn load(file: Option<&Path>) -> Result<Config, config::ConfigError> {
    config::load(file, std::env::vars(), Overrides::new())
}

/// Checks what the settings do not say themselves: the files that they name.
fn check(config: Config) -> Result<ExitCode, config::ConfigError> {
    let mut problems = Auth::new(&config, Clock::default()).err().unwrap_or_default();
    problems.extend(Guard::load(&config.admin.token_file).err());
    if problems.is_empty() {
        Ok(say("the settings are good\n"))
    } else {
        Err(config::ConfigError::Invalid(problems))
    }
}

/// Writes to standard output; a reader that has gone away does not need it.
fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(error: &dyn std::error::Error) {
    let _ = writeln!(io::stderr(), "error: {error}");
}

fn run(config: Config) -> ExitCode {
    let logs = match logs::start(&config.log) {
        Ok(logs) => logs,
        Err(error) => {
            complain(&*error);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let code = serve(config);
    logs.flush();
    code
}

fn serve(config: Config) -> ExitCode {
    // Before anything listens, so that no signal is missed.
    let mut signals = match Signals::new([SIGHUP, SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let feed = config.feed.source.to_string();
    match App::start(config) {
        Ok(app) => {
            greet(&app, &feed);
            let signal = signals.forever().find(|&signal| {
                if signal == SIGHUP {
                    app.reload();
                }
                signal != SIGHUP
            });
            tracing::info!(signal, "stopping");
            if signal == Some(SIGTERM) {
                // A second signal ends the patience.
                app.drain(|| signals.pending().any(|signal| signal != SIGHUP));
            } else {
                app.stop();
            }
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            let is_settings = matches!(error, StartError::Keys(_) | StartError::Cores(_));
            if is_settings { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

/// What to open, for people and for scripts.
fn greet(app: &App, feed: &str) {
    let (public, admin) = (app.public, app.admin);
    let tls =
        app.tls.map(|tls| format!("  over TLS    https://{tls}/ and wss://{tls}/v2\n")).unwrap_or_default();
    say(&format!(
        "listening on http://{public}\nadmin on http://{admin}\n\n  \
         demo page   http://{public}/\n  \
         WebSocket   ws://{public}/v2\n\
         {tls}  \
         metrics     http://{admin}/metrics\n  \
         feed        {feed}\n\nCtrl-C ends it.\n"
    ));
    tracing::info!(%public, %admin, feed, version = gateway::VERSION, "started");
    if cfg!(feature = "unmeasured") {
        tracing::warn!("built without histograms, for a benchmark: not for use");
    }
}
