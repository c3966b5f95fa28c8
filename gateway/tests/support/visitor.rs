//! A client that reads only when its test does, on the test's own thread: it may stop at any message, or within one.
//!
//! Owns one connection after the other, and one [`View`] that outlives them.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::socket::{CLOSE, Frame, Incoming, PING, PONG, Socket, TEXT};
use super::view::View;

/// How long a message is waited for by who only wants to know whether there is one.
const GLANCE: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub struct Visitor {
    socket: Socket,
    pub view: View,
    /// Requests that were sent on this connection, by the answers that they get.
    answers_due: usize,
}

impl Visitor {
    pub fn connect(address: SocketAddr, path: &str) -> Self {
        Self::over(Socket::connect(address, path), View::default())
    }

    /// Goes on with what is known from earlier connections.
    pub fn over(socket: Socket, view: View) -> Self {
        Self { socket, view, answers_due: 0 }
    }

    /// Closes the socket and keeps what is known.
    pub fn leave(self) -> View {
        self.view
    }

    /// Sends octets as they are.
    pub fn send_raw(&mut self, octets: &[u8]) {
        self.socket.send_raw(octets);
    }

    /// Sends one whole frame.
    pub fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.socket.send(opcode, payload);
    }

    /// Ends the writing half.
    pub fn end(&self) {
        self.socket.end();
    }

    /// Lets something be set on the socket.
    pub fn with_stream(&self, set: impl FnOnce(&TcpStream)) {
        set(&self.socket.stream());
    }

    /// Sends a request that gets so many answers.
    pub fn ask(&mut self, request: &Value, answers: usize) {
        self.socket.send_text(&request.to_string());
        self.answers_due += answers;
    }

    /// Answers that have not come yet.
    pub fn owed(&self) -> usize {
        self.answers_due - self.view.answers.len()
    }

    /// Takes one message if there is one soon; `false` when there is none.
    pub fn read(&mut self) -> bool {
        self.read_by(Instant::now() + GLANCE)
    }

    fn read_by(&mut self, deadline: Instant) -> bool {
        match self.socket.read(deadline) {
            Incoming::Frame(frame) => self.take(&frame),
            Incoming::Nothing => return false,
            Incoming::End => panic!("connection {} ended", self.view.connection),
        }
        true
    }

    fn take(&mut self, frame: &Frame) {
        match frame.opcode {
            TEXT => {
                let answers = self.view.answers.len();
                self.view.apply(frame.text());
                if let Some(answer) = self.view.answers.get(answers) {
                    assert!(answer["success"] != false, "refused: {answer}");
                }
            }
            PONG => {}
            CLOSE => panic!("connection {} is closed: {:?}", self.view.connection, frame.close()),
            other => panic!("a frame of opcode {other} from the gateway"),
        }
    }

    /// Takes messages until it is as wanted.
    pub fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            self.read();
            assert!(Instant::now() < deadline, "in vain waited for {what}: {:?}", self.view.answers.last());
        }
    }

    /// Takes everything that the gateway wrote before it answers a ping. Of a gateway that has nothing more to write that is
    /// everything.
    pub fn drain(&mut self) {
        self.socket.send(PING, b"last");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.socket.read(deadline) {
                Incoming::Frame(frame) if frame.opcode == PONG && frame.payload == b"last" => return,
                Incoming::Frame(frame) => self.take(&frame),
                other => panic!("expected a pong, found {other:?}"),
            }
        }
    }

    /// Reads on until the other side has ended the connection; for who has ended its own half.
    pub fn read_out(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.socket.read(deadline) {
                Incoming::Frame(frame) if frame.opcode == CLOSE => {}
                Incoming::Frame(frame) => self.take(&frame),
                Incoming::End => return,
                Incoming::Nothing => panic!("in vain waited for the end"),
            }
        }
    }

    /// Subscribes to reference data, whose precisions books need.
    pub fn learn(&mut self) {
        self.ask(&json!({ "method": "subscribe", "params": { "channel": "instrument" } }), 1);
        self.wait("the instruments", |one| !one.view.precisions.is_empty());
    }
}
