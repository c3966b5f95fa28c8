//! A client that always reads: a thread empties its socket, the test looks at the messages when it wants.
//!
//! Owns the connection and a [`View`]. A test that must not read at times uses a bare [`Socket`].

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::socket::{CLOSE, Frame, Incoming, PONG, Socket, TEXT, frame};
use super::truth::Truth;
use super::view::View;

/// How long the reading thread waits before it looks whether the client is still wanted.
const READ_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    inbox: Receiver<Frame>,
    reader: Option<JoinHandle<()>>,
    pub view: View,
    /// Bytes of all frames, headers included.
    pub bytes: u64,
    /// Payloads of pongs.
    pub pongs: Vec<Vec<u8>>,
    /// Code of the close frame; 1006 when the connection ended without one.
    pub closed: Option<u16>,
}

impl Drop for Client {
    fn drop(&mut self) {
        // The other side may have ended it already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Client {
    pub fn connect(address: SocketAddr, path: &str) -> Self {
        Self::over(Socket::connect(address, path))
    }

    /// Goes on with a connection that was read by hand so far.
    pub fn over(socket: Socket) -> Self {
        let (sender, inbox) = channel();
        let stream = socket.stream();
        let reader = thread::spawn(move || read(socket, &sender));
        Self {
            stream,
            inbox,
            reader: Some(reader),
            view: View::default(),
            bytes: 0,
            pongs: Vec::new(),
            closed: None,
        }
    }

    /// The address that the gateway sees.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    pub fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        use std::io::Write;
        self.stream.write_all(&frame(0x80 | opcode, payload)).expect("the gateway takes what a client sends");
    }

    pub fn send(&mut self, message: &Value) {
        self.send_frame(TEXT, message.to_string().as_bytes());
    }

    /// Asks for some symbols and waits for the acknowledgements and for those snapshots that are never empty.
    pub fn subscribe(&mut self, params: Value) {
        let symbols = params["symbol"].as_array().map_or(1, Vec::len) as u64;
        let may_be_empty = params["channel"] == "trade" || params["channel"] == "ohlc";
        let wanted = params["snapshot"].as_bool().unwrap_or(true) && !may_be_empty;
        let acks = self.view.subscribed.len() + symbols as usize;
        let snapshots = self.view.snapshots + if wanted { symbols } else { 0 };
        self.send(&json!({ "method": "subscribe", "params": &params }));
        self.wait(&format!("the subscription to {params}"), |view| {
            view.subscribed.len() >= acks && view.snapshots >= snapshots
        });
    }

    /// Subscribes to everything of some symbols: instruments first, whose precisions the books need.
    pub fn follow(&mut self, symbols: &[&str], depth: u64) {
        if self.view.precisions.is_empty() {
            self.subscribe(json!({ "channel": "instrument" }));
        }
        self.subscribe(json!({ "channel": "book", "symbol": symbols, "depth": depth }));
        self.subscribe(json!({ "channel": "ticker", "symbol": symbols, "event_trigger": "bbo" }));
        self.subscribe(json!({ "channel": "trade", "symbol": symbols }));
    }

    /// Takes messages until the view is as wanted.
    pub fn wait(&mut self, what: &str, is_so: impl Fn(&View) -> bool) {
        self.wait_until(Instant::now() + PATIENCE, what, is_so);
    }

    /// The same with an own deadline.
    pub fn wait_until(&mut self, deadline: Instant, what: &str, is_so: impl Fn(&View) -> bool) {
        while !is_so(&self.view) {
            let got = self.take(deadline.saturating_duration_since(Instant::now()));
            let answer = self.view.answers.last();
            let late = Instant::now() > deadline;
            assert!(
                (got && !late) || is_so(&self.view),
                "in vain waited for {what}; {:?}, {answer:?}",
                self.closed
            );
        }
    }

    /// Takes messages until a moment.
    pub fn follow_until(&mut self, until: Instant) {
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.take(left);
            assert_eq!(self.closed, None);
        }
    }

    /// Takes everything that has arrived.
    pub fn drain(&mut self) {
        while self.take(Duration::ZERO) {}
    }

    /// Takes messages until the gateway has closed the connection; the code.
    pub fn wait_closed(&mut self) -> u16 {
        let deadline = Instant::now() + PATIENCE;
        while self.closed.is_none() {
            let got = self.take(deadline.saturating_duration_since(Instant::now()));
            assert!(got || self.closed.is_some(), "in vain waited for the end");
        }
        self.closed.expect("just waited for")
    }

    /// Compares every book with what the venue's was, where the client gets there.
    pub fn prove(&mut self, deadline: Instant, truths: &std::collections::BTreeMap<String, Truth>) {
        self.view.expect_truth(truths);
        self.wait_until(deadline, "books to be compared with the venue's", View::is_proven);
    }

    /// Takes one frame; `false` when there was none in time or will be none any more.
    fn take(&mut self, patience: Duration) -> bool {
        match self.inbox.recv_timeout(patience) {
            Ok(frame) => {
                let len = frame.payload.len() as u64;
                self.bytes += len + if len < 126 { 2 } else { 4 };
                match frame.opcode {
                    TEXT => self.view.apply(frame.text()),
                    PONG => self.pongs.push(frame.payload),
                    CLOSE => self.closed = Some(frame.close().0),
                    other => panic!("a frame of opcode {other} from the gateway"),
                }
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                self.closed.get_or_insert(1006);
                false
            }
        }
    }
}

fn read(mut socket: Socket, inbox: &Sender<Frame>) {
    while let Incoming::Frame(frame) = socket.read(Instant::now() + READ_PATIENCE) {
        if inbox.send(frame).is_err() {
            return;
        }
    }
    // A server that has closed waits for its client to do the same.
    let _ = socket.stream().shutdown(Shutdown::Both);
}
