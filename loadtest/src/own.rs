//! A gateway and a feed of our own, for runs that bring their servers along.
//!
//! Owns the two child processes, the programs beside this one, from start to end. Never looks at what they send. The feed's rate
//! can be changed while it runs.

use crate::gateway::fetch;
use crate::plan::OwnGateway;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the gateway may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a feed may take to end when its commands do.
const END_LIMIT: Duration = Duration::from_secs(2);
/// Time between a change of the rate and the window.
const WARM_UP: Duration = Duration::from_secs(1);
/// What the gateway need not limit: every address that clients of ours may come from.
const LOOPBACK: &str = "127.0.0.0/8,::1";
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The two.
#[derive(Debug)]
pub(crate) struct OwnServers {
    gateway: Child,
    feed: Child,
    commands: Option<ChildStdin>,
    /// The feed's rate in the window, when it is another one than before.
    window_rate: Option<f64>,
    public: String,
    /// Address of the admin listener.
    pub(crate) admin: String,
}

impl OwnServers {
    /// Starts both and waits until clients can come.
    pub(crate) fn start(own: &OwnGateway) -> Result<Self, String> {
        let rate = own.ramp_rate.unwrap_or(own.feed_rate);
        let mut feed = spawn(
            Command::new(beside("feed-sim")?)
                .args(["serve", "--listen", "127.0.0.1:0", "--commands", "--arrivals", &own.arrivals])
                .args(["--symbols", &own.feed_symbols.to_string(), "--rate", &rate.to_string()])
                .stdin(Stdio::piped()),
        )?;
        let commands = feed.stdin.take();
        let address = match read_until(feed.stderr.take(), "serving on ") {
            Ok(address) => address,
            Err(said) => return Err(end_with(&mut feed, &format!("feed-sim does not serve: {said}"))),
        };
        let gateway = spawn(
            Command::new(beside("gateway")?)
                .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "error"])
                .args(["--feed", &format!("tcp://{address}")])
                .env("GATEWAY_INBOUND_EXEMPT", LOOPBACK)
                .envs(&own.environment)
                .stdin(Stdio::null()),
        );
        let mut gateway = match gateway {
            Ok(gateway) => gateway,
            Err(error) => return Err(end_with(&mut feed, &error)),
        };
        let errors = gateway.stderr.take();
        let mut out = gateway.stdout.take().map(BufReader::new);
        let public = find_line(out.as_mut(), "listening on http://");
        let admin = find_line(out.as_mut(), "admin on http://");
        let (Some(public), Some(admin)) = (public, admin) else {
            let mut said = String::new();
            let _ = errors.map(|mut errors| errors.read_to_string(&mut said));
            end_with(&mut feed, "");
            return Err(end_with(&mut gateway, &format!("the gateway does not start: {}", said.trim())));
        };
        let servers = Self {
            gateway,
            feed,
            commands,
            window_rate: own.ramp_rate.map(|_| own.feed_rate),
            public,
            admin,
        };
        drain(out);
        drain(errors.map(BufReader::new));
        servers.wait_until_ready()?;
        Ok(servers)
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v2", self.public)
    }

    /// Everybody is connected: the feed takes the rate of the window, and some time to run at it.
    pub(crate) fn warm_up(&mut self) -> Result<(), String> {
        let Some(rate) = self.window_rate.take() else { return Ok(()) };
        self.set_rate(rate)?;
        std::thread::sleep(WARM_UP);
        Ok(())
    }

    fn set_rate(&mut self, rate: f64) -> Result<(), String> {
        let commands = self.commands.as_mut().ok_or("the feed takes no commands any more")?;
        writeln!(commands, "rate {rate}")
            .and_then(|()| commands.flush())
            .map_err(|e| format!("the feed does not take a rate: {e}"))
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        let limit = Instant::now() + READY_LIMIT;
        loop {
            match fetch(&self.admin, "/readyz") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= limit => {
                    return Err(format!("the gateway is not ready: {error}"));
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        // Errors mean that they have ended by themselves.
        let _ = self.gateway.kill().and_then(|()| self.gateway.wait());
        // The end of its commands is the end of the feed.
        drop(self.commands.take());
        let limit = Instant::now() + END_LIMIT;
        while matches!(self.feed.try_wait(), Ok(None)) {
            if Instant::now() >= limit {
                let _ = self.feed.kill().and_then(|()| self.feed.wait());
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// A program that was built together with this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("this program does not know where it is: {e}"))?;
    let path = own.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is missing: build the whole workspace", path.display()))
    }
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    spawned.map_err(|e| format!("cannot start {name}: {e}"))
}

/// Ends a child, and passes on why.
fn end_with(child: &mut Child, why: &str) -> String {
    let _ = child.kill().and_then(|()| child.wait());
    why.to_owned()
}

/// The rest of the first line with a marker; everything that was said when there is none.
pub(crate) fn read_until<R: Read + Send + 'static>(pipe: Option<R>, marker: &str) -> Result<String, String> {
    let mut said = String::new();
    let Some(pipe) = pipe else { return Err(said) };
    let mut reader = BufReader::new(pipe);
    loop {
        let start = said.len();
        if reader.read_line(&mut said).unwrap_or(0) == 0 {
            return Err(said.trim().to_owned());
        }
        if let Some((_, rest)) = said[start..].split_once(marker) {
            let found = rest.trim().to_owned();
            drain(Some(reader));
            return Ok(found);
        }
    }
}

pub(crate) fn find_line(reader: Option<&mut BufReader<impl Read>>, marker: &str) -> Option<String> {
    reader?.lines().map_while(io::Result::ok).find_map(|line| line.strip_prefix(marker).map(str::to_owned))
}

/// Reads on to the end, so that the child never waits for us.
pub(crate) fn drain<R: Read + Send + 'static>(reader: Option<BufReader<R>>) {
    if let Some(mut reader) = reader {
        std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    }
}
