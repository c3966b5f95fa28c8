//! A server under load: a child process on its own core, from start to end.
//!
//! Owns the child and all that it starts. Never looks at what the server sends to clients. What servers there are, and how
//! each is started, is said here; [`super::session`] connects them with a publisher and a crowd.

use super::crowd::{Dialect, Target};
use super::machine::{GENERATOR_CORE, Machine, ready_line};
use super::proc::{self, Memory, Thread};
use crate::ceiling::Mode;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(3);
/// How long an admin request may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(5);

/// Name of the naive server and of its command.
pub(crate) const NAIVE: &str = "naive";
/// What our glue is called where it is a process of its own.
const GLUE: &str = "node";

/// A server that can be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The gateway: this program, with these settings in its environment.
    Gateway {
        /// Name in tables.
        name: String,
        /// The program.
        program: PathBuf,
        /// Variables such as `GATEWAY_SHARDS_COUNT`.
        settings: Vec<(String, String)>,
        /// How often its metrics are asked for while it runs; never, when nobody says.
        scraped: Option<Duration>,
    },
    /// The machine's own limit.
    Floor {
        /// How it writes.
        mode: Mode,
        /// Whether it polls.
        spin: bool,
    },
    /// What one writes first, in this program.
    Naive,
    /// Somebody else's server behind our glue, by its name.
    Peer(String),
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The program.
    #[error("cannot start {0}: {1}")]
    Start(String, io::Error),
    /// It ended, or said nothing; the end of what it wrote.
    #[error("{name} is not ready: {said}")]
    NotReady {
        /// Which.
        name: String,
        /// The last line of its log.
        said: String,
    },
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where clients connect.
    pub(crate) target: Target,
    /// Where the gateway's operators look.
    admin: Option<SocketAddr>,
    has_glue: bool,
    /// Dropped to end whoever scrapes.
    scraper: Option<Sender<()>>,
}

impl Kind {
    /// Name in tables and of files.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Gateway { name, .. } => name,
            Self::Floor { mode: Mode::Each, spin: false } => "floor-each",
            Self::Floor { mode: Mode::Each, spin: true } => "floor-each-spin",
            Self::Floor { mode: Mode::Batch, spin: false } => "floor-batch",
            Self::Floor { mode: Mode::Batch, spin: true } => "floor-batch-spin",
            Self::Naive => NAIVE,
            Self::Peer(name) => name,
        }
    }

    /// Whether it reads the feed's protocol rather than records.
    pub(crate) const fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway { .. })
    }

    fn dialect(&self) -> Dialect {
        match self {
            Self::Peer(name) if name.starts_with("nats") => Dialect::Nats,
            Self::Peer(name) if name.starts_with("nchan") => Dialect::Nchan,
            Self::Peer(name) if name.starts_with("mosquitto") => Dialect::Mqtt,
            _ => Dialect::Json,
        }
    }

    /// Whether our glue is a process of its own, which publishes into the server and is no part of it.
    fn has_glue(&self) -> bool {
        matches!(self.dialect(), Dialect::Nats | Dialect::Nchan | Dialect::Mqtt)
    }

    /// The gateway with further settings; other servers as they are.
    pub(crate) fn with(&self, further: &[(&str, &str)]) -> Self {
        let mut kind = self.clone();
        if let Self::Gateway { settings, .. } = &mut kind {
            settings.extend(further.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        }
        kind
    }

    fn command(&self, machine: &Machine, feed: SocketAddr, port: u16) -> Command {
        let mut command = machine.server_command(match self {
            Self::Gateway { program, .. } => program,
            Self::Floor { .. } | Self::Naive => &machine.own_program,
            Self::Peer(_) => &machine.peers_script,
        });
        match self {
            Self::Gateway { settings, .. } => {
                let addresses = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
                command
                    .args(addresses)
                    .args(["--log-level", "warn"])
                    .arg("--feed")
                    .arg(format!("tcp://{feed}"));
                command.env("GATEWAY_SHARDS_COUNT", "1");
                // All clients come from this machine, and as fast as they can.
                command
                    .env("GATEWAY_INBOUND_EXEMPT", "127.0.0.0/8")
                    .env("GATEWAY_INBOUND_ACCEPTS_PER_S", "0");
                command.envs(settings.iter().map(|(key, value)| (key, value)));
            }
            Self::Floor { mode, spin } => {
                let mode = if *mode == Mode::Each { "each" } else { "batch" };
                command.args(["ceiling", "--mode", mode, "--feed"]).arg(feed.to_string());
                command.args(spin.then_some("--spin"));
            }
            Self::Naive => {
                command.arg(NAIVE).arg("--feed").arg(feed.to_string());
            }
            Self::Peer(name) => {
                command.arg(name).env("PORT", port.to_string()).env("FEED", feed.to_string());
                command.env("GLUE_CPU", GENERATOR_CORE);
            }
        }
        command
    }
}

impl Server {
    /// Starts a server that reads from `feed`, and waits until it listens.
    pub(crate) fn start(kind: &Kind, machine: &Machine, feed: SocketAddr) -> Result<Self, ServerError> {
        let failed = |error| ServerError::Start(kind.name().to_owned(), error);
        let log = machine.out.join(format!("{}.log", kind.name()));
        let port = free_port().map_err(failed)?;
        let mut command = kind.command(machine, feed, port);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(&log).map_err(failed)?);
        let child = command.spawn().map_err(failed)?;
        let mut server = Self {
            child,
            target: Target { address: ([127, 0, 0, 1], port).into(), dialect: kind.dialect() },
            admin: None,
            has_glue: kind.has_glue(),
            scraper: None,
        };
        let lines = server.child.stdout.take().map(|out| ready_line(out, START_LIMIT, kind.ready_prefixes()));
        match lines.as_deref() {
            Some([]) | None => {
                let said = last_line(&log);
                Err(ServerError::NotReady { name: kind.name().to_owned(), said })
            }
            Some(lines) => {
                server.note_addresses(kind, lines);
                server.scrape(kind).map_err(failed)?;
                Ok(server)
            }
        }
    }

    fn note_addresses(&mut self, kind: &Kind, lines: &[String]) {
        let address = |line: &String| line.rsplit([' ', '/']).next().and_then(|word| word.parse().ok());
        match kind {
            Kind::Gateway { .. } => {
                self.target.address = lines.first().and_then(address).unwrap_or(self.target.address);
                self.admin = lines.get(1).and_then(address);
            }
            Kind::Floor { .. } | Kind::Naive => {
                self.target.address = lines.first().and_then(address).unwrap_or(self.target.address);
            }
            Kind::Peer(_) => {}
        }
    }

    /// Asks for its metrics every so often, as a monitor does, from a thread that ends with the server.
    fn scrape(&mut self, kind: &Kind) -> io::Result<()> {
        let Kind::Gateway { scraped: Some(every), .. } = *kind else { return Ok(()) };
        let Some(admin) = self.admin else { return Ok(()) };
        let (stop, stopped) = channel::<()>();
        thread::Builder::new().name("scraper".to_owned()).spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // A server that does not answer is seen by the crowd.
                let _ = get(admin, "/metrics");
            }
        })?;
        self.scraper = Some(stop);
        Ok(())
    }

    /// The processes that it consists of now, and those of our glue that publish into it.
    pub(crate) fn processes(&self) -> (Vec<u32>, Vec<u32>) {
        let is_glue = |pid: &u32| self.has_glue && proc::name(*pid).as_deref() == Some(GLUE);
        let (glue, own) = proc::tree(self.child.id()).into_iter().partition(is_glue);
        (own, glue)
    }

    /// CPU time of each thread so far.
    pub(crate) fn cpu(&self, processes: &[u32]) -> BTreeMap<Thread, Duration> {
        proc::cpu(processes)
    }

    /// Its memory now.
    pub(crate) fn memory(&self, processes: &[u32]) -> Memory {
        proc::memory(processes)
    }

    /// A metric of the gateway, by the start of its line; none for other servers.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = get(self.admin?, "/metrics").ok()?;
        let line = text.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Kind {
    /// What the lines begin with that say that it is ready; all are waited for.
    const fn ready_prefixes(&self) -> &'static [&'static str] {
        match self {
            Self::Gateway { .. } => &["listening on ", "admin on "],
            Self::Floor { .. } | Self::Naive | Self::Peer(_) => &["ready"],
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.scraper = None;
        // Glue may have started further processes, which would outlive it.
        let processes = proc::tree(self.child.id());
        signal("-TERM", &processes);
        let start = Instant::now();
        while start.elapsed() < END_LIMIT && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let own = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        let left: Vec<u32> = processes.into_iter().filter(own).collect();
        signal("-KILL", &left);
        // Whatever it ended with, it is over.
        let _ = self.child.wait();
    }
}

fn signal(name: &str, processes: &[u32]) {
    if !processes.is_empty() {
        let pids = processes.iter().map(u32::to_string);
        // A process that has ended already is what was wanted.
        let _ = Command::new("kill").arg(name).args(pids).stderr(Stdio::null()).status();
    }
}

/// A port that nobody listens on at this moment, for servers that must be told one.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| "it says nothing".to_owned(), |line| line.trim().chars().take(200).collect())
}

/// The body of an answer to a GET.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ADMIN_PATIENCE)?;
    stream.set_read_timeout(Some(ADMIN_PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(body.to_owned())
}
