//! The command itself as a process of its own: started on free ports, asked by signals, killed when the test is over.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::json;

use super::client::Client;
use super::wait_for;

/// Free ports.
pub const PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// The command with settings from its arguments alone.
pub fn gateway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The command at work; killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        Self::over(gateway(&[&PORTS, arguments].concat()))
    }

    /// Starts a command that becomes a gateway, on free ports.
    pub fn over(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the command starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut address = |begin: &str| -> SocketAddr {
            let mut line = String::new();
            out.read_line(&mut line).expect("the command speaks");
            let address = line.trim_end().strip_prefix(begin);
            address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        };
        let (public, admin) = (address("listening on http://"), address("admin on http://"));
        Self { child, out, public, admin }
    }

    /// Where it speaks TLS; it says so after its other addresses.
    pub fn tls(&mut self) -> SocketAddr {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.out.read_line(&mut line).expect("the command speaks") > 0, "it has no TLS");
            if let Some((_, rest)) = line.split_once("wss://") {
                return rest.trim_end().trim_end_matches("/v2").parse().expect("an address");
            }
        }
    }

    /// A client that knows the instruments; the feed announces them in the first moments.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(self.public, "/v2");
        client.subscribe(json!({ "channel": "instrument" }));
        client.wait("an instrument", |view| view.precisions.contains_key("BTC/USD"));
        client
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Everything after the addresses on standard output, and the logs; of a command that has ended.
    pub fn said(&mut self) -> (String, String) {
        let (mut rest, mut logs) = (String::new(), String::new());
        self.out.read_to_string(&mut rest).expect("UTF-8");
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut logs).expect("UTF-8");
        }
        (rest, logs)
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the command to end", || self.child.try_wait().expect("it is our child"))
    }
}
