//! The machine: which core is whose, where programs and files lie, and the facts that stand beside every result.
//!
//! Owns the pinning of this process and of its children. Never measures.

use super::proc;
use serde::Serialize;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The core of the server that is measured.
const SERVER_CORE: &str = "0";
/// The core of everything else: crowd, publisher, and the feed of the gateway.
pub(crate) const GENERATOR_CORE: &str = "1";
/// What a shell does to keep its core busy as long as we live.
const SPIN: &str =
    "while kill -0 $PPID 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; done";
/// Cores below which server and generator cannot be kept apart.
const CORES_MIN: usize = 2;

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// This program, which is also the floor.
    pub(crate) own_program: PathBuf,
    /// The gateway, beside this program.
    pub(crate) gateway: PathBuf,
    /// The gateway's feed, beside this program.
    pub(crate) feed_sim: PathBuf,
    /// What starts a peer.
    pub(crate) peers_script: PathBuf,
    /// What is made for the bench and used again: recordings, peers.
    pub(crate) env: PathBuf,
    /// Logs and results of this run.
    pub(crate) out: PathBuf,
    /// Whether server and generator have a core each.
    is_pinned: bool,
}

/// Keeps a core awake until it is dropped; see [`Machine::keep_awake`].
#[derive(Debug)]
pub(crate) struct Awake(Option<Child>);

impl Awake {
    /// Fails when what should keep the core awake has ended, as it does at once where a program is missing.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.0.as_mut().map(Child::try_wait).transpose()?.flatten() {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("taskset, chrt or sh ended with {status}"))),
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It outlives us by a moment at most, so there is nobody else to be hit.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What stands beside every result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    cpu: String,
    cores: usize,
    kernel: String,
    memory_gb: u64,
    commit: String,
    rustc: String,
    command: String,
    pinned: bool,
}

impl Machine {
    /// Finds programs, makes folders, and pins this process. Says what is missing.
    pub(crate) fn prepare(out: Option<&Path>) -> Result<Self, String> {
        let own_program = own_program()?;
        // Below the workspace's target folder, as cargo puts it: target/release/loadtest.
        let env = parent(parent(&own_program)).join("bench-env");
        let out = out.map_or_else(|| env.join("last"), Path::to_path_buf);
        Self::prepare_in(env, out)
    }

    /// The same with folders of the caller's choice.
    pub(crate) fn prepare_in(env: PathBuf, out: PathBuf) -> Result<Self, String> {
        let own_program = own_program()?;
        let folder = parent(&own_program);
        let target = parent(folder);
        for folder in [&env, &out] {
            fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        }
        let peers_script = target.join("../loadtest/peers/run.sh");
        let machine = Self {
            gateway: folder.join("gateway"),
            feed_sim: folder.join("feed-sim"),
            peers_script: peers_script.canonicalize().unwrap_or(peers_script),
            own_program: own_program.clone(),
            env,
            out,
            is_pinned: thread::available_parallelism().is_ok_and(|cores| cores.get() >= CORES_MIN) && pin(),
        };
        raise_open_files();
        Ok(machine)
    }

    /// Whether server and generator have a core each.
    pub(crate) const fn is_pinned(&self) -> bool {
        self.is_pinned
    }

    /// A command on the server's core.
    pub(crate) fn server_command(&self, program: &Path) -> Command {
        self.command_on(SERVER_CORE, program)
    }

    /// A command on the generator's core.
    pub(crate) fn generator_command(&self, program: &Path) -> Command {
        self.command_on(GENERATOR_CORE, program)
    }

    /// Keeps the generator's core from being put to sleep, for as long as the answer lives: an idle virtual core is woken ten
    /// microseconds late or at once, by what else ran there, and that is nothing a server does. Whoever has work there goes before.
    pub(crate) fn keep_awake(&self) -> io::Result<Awake> {
        let spin = || {
            let mut command = Command::new("taskset");
            command.args(["-c", GENERATOR_CORE, "chrt", "--idle", "0", "sh", "-c", SPIN]);
            command.stdin(Stdio::null()).spawn()
        };
        Ok(Awake(self.is_pinned.then(spin).transpose()?))
    }

    fn command_on(&self, core: &str, program: &Path) -> Command {
        if !self.is_pinned {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    }

    /// The facts of this run.
    pub(crate) fn facts(&self) -> Facts {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, v)| v.trim().to_owned())
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = value(&meminfo, "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        let folder = self.own_program.parent().unwrap_or_else(|| Path::new("."));
        let git = |words: &[&str]| said(Command::new("git").arg("-C").arg(folder).args(words));
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
        let changed = if changed.is_empty() { "" } else { " with changes" };
        let words: Vec<String> = std::env::args().skip(1).collect();
        Facts {
            cpu: value(&cpuinfo, "model name"),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory_gb: kilobytes >> 20,
            commit: git(&["rev-parse", "--short=12", "HEAD"]) + changed,
            rustc: said(Command::new("rustc").arg("--version")),
            command: format!("loadtest {}", words.join(" ")),
            pinned: self.is_pinned,
        }
    }
}

impl Facts {
    /// As they stand above tables.
    pub(crate) fn text(&self) -> String {
        let pinned = if self.pinned {
            "server on core 0, generator and feed on core 1"
        } else {
            "NOT PINNED: server and generator share cores, so these numbers mean little"
        };
        format!(
            "{} cores of {}, {} GB, Linux {}; commit {}; {}\n`{}`; {pinned}\n",
            self.cores, self.cpu, self.memory_gb, self.kernel, self.commit, self.rustc, self.command
        )
    }
}

fn own_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|e| format!("this program has no path: {e}"))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

/// What a command prints; empty when it cannot be run.
fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Moves this process, and all threads that it starts from now on, to the generator's core.
fn pin() -> bool {
    let pid = std::process::id().to_string();
    let mut command = Command::new("taskset");
    command.args(["-cp", GENERATOR_CORE, &pid]).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Lets this process and its children open as many files as the machine allows.
fn raise_open_files() {
    let pid = std::process::id().to_string();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = limits.lines().find(|line| line.starts_with("Max open files"));
    if let Some(hard) = hard.and_then(|line| line.split_ascii_whitespace().nth(4)) {
        // Where this does not work, the works with many clients say that there are too few files.
        let _ = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]).status();
    }
}

/// CPU time of a process with all its threads.
pub(crate) fn process_cpu(process: u32) -> Duration {
    proc::cpu(&[process]).values().sum()
}

/// Reads lines until one has begun with each of the prefixes, in this order, and gives those; none when the output ends
/// before, or time is up. What follows is read on and thrown away, so that nobody blocks on a full pipe.
pub(crate) fn ready_line(
    out: impl Read + Send + 'static,
    limit: Duration,
    prefixes: &'static [&'static str],
) -> Vec<String> {
    let (sender, lines) = mpsc::channel();
    let read = move || {
        for line in BufReader::new(out).lines().map_while(io::Result::ok) {
            // Nobody listens any more once the server is ready.
            let _ = sender.send(line);
        }
    };
    if thread::Builder::new().name("output".to_owned()).spawn(read).is_err() {
        return Vec::new();
    }
    let end = Instant::now() + limit;
    let mut found = Vec::new();
    while found.len() < prefixes.len() {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with(prefixes[found.len()]) => found.push(line),
            Ok(_) => {}
            Err(_) => return Vec::new(),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_a_line_for_each_prefix() {
        let limit = Duration::from_secs(10);
        let output: &[u8] = b"noise\nready 127.0.0.1:9\nmore\n";
        assert_eq!(ready_line(output, limit, &["ready"]), ["ready 127.0.0.1:9"]);
        assert_eq!(ready_line(output, limit, &["ready", "admin"]), Vec::<String>::new());
    }
}
