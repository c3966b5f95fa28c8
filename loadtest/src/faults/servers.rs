//! The feed and the gateways of a fault run: processes that are killed, stopped and started again.
//!
//! Owns the child processes and the limits that they are started with. Never looks at what they send. When something is done to
//! them is up to [`super::conduct`] and [`super::rolling`].

use crate::gateway::{Scrape, fetch};
use crate::own::{beside, drain, find_line, read_until};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a gateway may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a gateway need not limit: every address that clients of ours may come from.
const LOOPBACK: &str = "127.0.0.0/8,::1";
/// Blocks of 512 bytes that a log may grow to before its disk is full.
const LOG_BLOCKS: u64 = 64;

/// What the feed tells.
#[derive(Clone, Debug)]
pub(super) struct FeedSettings {
    pub(super) symbols: usize,
    /// Lines per second.
    pub(super) rate: f64,
    pub(super) seed: u64,
}

/// A feed; killed when it is dropped.
pub(super) struct Feed {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(super) address: SocketAddr,
}

/// What gateways are started with.
#[derive(Clone, Debug)]
pub(super) struct GatewaySettings {
    /// The program; the one beside this one without it.
    pub(super) program: Option<PathBuf>,
    /// Where it finds its feed.
    pub(super) feed: SocketAddr,
    /// Symbols of the feed. A gateway is ready while its feed still announces them, and refuses those that it does not know yet.
    pub(super) symbols: usize,
    /// Descriptors that it may have; the shell's limit without one.
    pub(super) descriptors: Option<u64>,
    /// A file for its log, on a disk that is soon full; errors only, and to nobody, without one.
    pub(super) log: Option<PathBuf>,
    /// Further settings as variables.
    pub(super) environment: Vec<(&'static str, String)>,
}

/// A gateway; killed when it is dropped.
pub(super) struct Gateway {
    child: Child,
    pub(super) public: SocketAddr,
    pub(super) admin: String,
}

impl Feed {
    /// Starts a feed of a generation; its time begins with its first reader.
    pub(super) fn start(settings: &FeedSettings, epoch: u64) -> Result<Self, String> {
        let mut child = Command::new(beside("feed-sim")?)
            .args(["serve", "--listen", "127.0.0.1:0", "--commands", "--wait-for-reader"])
            .args(["--arrivals", "poisson", "--zipf", "0", "--epoch", &epoch.to_string()])
            .args(["--symbols", &settings.symbols.to_string(), "--rate", &settings.rate.to_string()])
            // Other books than before: a restarted venue goes on with what it has, not with what it had.
            .args(["--seed", &(settings.seed.wrapping_add(epoch)).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start feed-sim: {e}"))?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let said = read_until(child.stderr.take(), "serving on ");
        let address = said.as_ref().ok().and_then(|text| text.parse().ok());
        let (Some(address), (Some(commands), Some(answers))) = (address, pipes) else {
            end(&mut child);
            return Err(format!("feed-sim does not serve: {said:?}"));
        };
        Ok(Self { child, commands, answers: BufReader::new(answers), address })
    }

    /// Ends it as a crash would.
    pub(super) fn kill(mut self) {
        end(&mut self.child);
    }

    /// Lets it tell nothing more but heartbeats; whatever is asked of it afterwards comes behind its last line.
    pub(super) fn quiet(&mut self) -> Result<(), String> {
        let mut line = String::new();
        writeln!(self.commands, "rate 0\nlines")
            .and_then(|()| self.commands.flush())
            .and_then(|()| self.answers.read_line(&mut line))
            .map_err(|e| format!("the feed takes no command: {e}"))?;
        line.trim().parse::<u64>().map(drop).map_err(|_| format!("the feed answers {line:?}"))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Gateway {
    /// Starts one and waits until clients can come.
    pub(super) fn start(settings: &GatewaySettings) -> Result<Self, String> {
        let mut child = command(settings)?.spawn().map_err(|e| format!("cannot start a gateway: {e}"))?;
        let mut out = child.stdout.take().map(BufReader::new);
        let public = find_line(out.as_mut(), "listening on http://").and_then(|text| text.parse().ok());
        let admin = find_line(out.as_mut(), "admin on http://");
        let (Some(public), Some(admin)) = (public, admin) else {
            end(&mut child);
            return Err("the gateway does not start".to_owned());
        };
        drain(out);
        let gateway = Self { child, public, admin };
        gateway.wait_until_ready(settings.symbols as u64)?;
        Ok(gateway)
    }

    fn wait_until_ready(&self, symbols: u64) -> Result<(), String> {
        let limit = Instant::now() + READY_LIMIT;
        let knows_all = || Ok::<_, String>(self.count("gateway_instruments")? == symbols);
        loop {
            let found = fetch(&self.admin, "/readyz").and_then(|_| knows_all());
            match found {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) if Instant::now() < limit => std::thread::sleep(LOOK_EVERY),
                other => return Err(format!("the gateway is not ready: {other:?}")),
            }
        }
    }

    /// Ends it with SIGKILL.
    pub(super) fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Asks it to end, as an operator does.
    pub(super) fn terminate(&self) -> Result<(), String> {
        // The standard library has no other signal than SIGKILL.
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("SIGTERM cannot be sent: {other:?}")),
        }
    }

    /// Waits until it has ended by itself; none when it does not.
    pub(super) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let limit = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < limit => std::thread::sleep(LOOK_EVERY),
                _ => return None,
            }
        }
    }

    /// The value of a series of its metrics; 0 where there is none.
    pub(super) fn count(&self, series: &str) -> Result<u64, String> {
        Ok(Scrape::take(&self.admin)?.value(series).unwrap_or(0.0) as u64)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The command of a gateway. A shell sets the limits and becomes it. That a file may not grow any more is an error instead of a
/// signal, as when a disk is full.
fn command(settings: &GatewaySettings) -> Result<Command, String> {
    let program = match &settings.program {
        Some(program) => program.clone(),
        None => beside("gateway")?,
    };
    let mut script = String::new();
    if let Some(descriptors) = settings.descriptors {
        script += &format!("ulimit -n {descriptors}; ");
    }
    if settings.log.is_some() {
        script += &format!("trap '' XFSZ; ulimit -f {LOG_BLOCKS}; ");
    }
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script}exec \"$0\" \"$@\"")]).arg(program);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--feed", &format!("tcp://{}", settings.feed), "--log-level", level(settings)]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GATEWAY_")) {
        command.env_remove(name);
    }
    command.env("GATEWAY_INBOUND_EXEMPT", LOOPBACK);
    command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    match &settings.log {
        Some(log) => command.stderr(open_log(log)?),
        None => command.stderr(Stdio::inherit()),
    };
    Ok(command)
}

/// With a log that is to fill its disk, everything.
const fn level(settings: &GatewaySettings) -> &'static str {
    if settings.log.is_some() { "debug" } else { "error" }
}

/// Opens a log at its end, so that it can be emptied below its writer.
fn open_log(path: &Path) -> Result<std::fs::File, String> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|e| format!("{}: {e}", path.display()))
}

/// Errors mean that it has ended by itself.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
