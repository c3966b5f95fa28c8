//! The floor as a program: real clients get what was published to their symbols, and nothing else.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may end the test; the lint only knows test functions"
)]

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, handshake};
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running floor, and the publisher's end of its feed.
struct Floor {
    child: Child,
    address: SocketAddr,
    feed: TcpStream,
}

impl Floor {
    fn start(arguments: &str) -> Self {
        let publisher = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(["ceiling", "--feed"])
            .arg(publisher.local_addr().unwrap().to_string())
            .args(arguments.split_ascii_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (feed, _) = publisher.accept().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();
        Self { child, address, feed }
    }

    fn publish(&mut self, symbol: &str, payload: &str) {
        let length = 1 + symbol.len() + payload.len();
        let mut record = (length as u32).to_be_bytes().to_vec();
        record.push(symbol.len() as u8);
        record.extend_from_slice(symbol.as_bytes());
        record.extend_from_slice(payload.as_bytes());
        self.feed.write_all(&record).unwrap();
    }

    /// Ends the feed, and with it the floor.
    fn end(self) -> Option<i32> {
        let Self { mut child, feed, .. } = self;
        drop(feed);
        child.wait().unwrap().code()
    }
}

type Socket = FragmentCollector<TokioIo<Upgraded>>;

struct Spawner;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

/// Connects and subscribes; the pong says that the floor has seen the request.
async fn connect(floor: &Floor, symbols: &[&str]) -> Socket {
    let stream = tokio::net::TcpStream::connect(floor.address).await.unwrap();
    let request = hyper::Request::get("/v2")
        .header(HOST, floor.address.to_string())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let (mut socket, _) = handshake::client(&Spawner, request, stream).await.unwrap();
    socket.set_auto_pong(false);
    let mut socket = FragmentCollector::new(socket);
    let params = serde_json::json!({"channel": "book", "symbol": symbols});
    let request = serde_json::json!({"method": "subscribe", "params": params}).to_string();
    socket.write_frame(Frame::text(request.into_bytes().into())).await.unwrap();
    socket.write_frame(Frame::new(true, OpCode::Ping, None, b"seen?".to_vec().into())).await.unwrap();
    let (opcode, text) = read(&mut socket).await;
    assert_eq!((opcode, text.as_str()), (OpCode::Pong, "seen?"));
    socket
}

async fn read(socket: &mut Socket) -> (OpCode, String) {
    let frame = timeout(PATIENCE, socket.read_frame()).await.expect("it comes in time").unwrap();
    (frame.opcode, String::from_utf8(frame.payload.to_vec()).unwrap())
}

async fn expect(socket: &mut Socket, texts: &[&str]) {
    for text in texts {
        assert_eq!(read(socket).await, (OpCode::Text, (*text).to_owned()));
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn clients_get_what_is_published_to_their_symbols_in_order() {
    for mode in ["--mode each", "--mode batch", "--mode batch --spin"] {
        run(async {
            let mut floor = Floor::start(mode);
            let mut one = connect(&floor, &["A/B"]).await;
            let mut two = connect(&floor, &["A/B", "C/D"]).await;
            let long = "x".repeat(70_000);
            for (symbol, payload) in
                [("A/B", "first"), ("X/Y", "nobody's"), ("C/D", "second"), ("A/B", long.as_str())]
            {
                floor.publish(symbol, payload);
            }
            expect(&mut one, &["first", &long]).await;
            expect(&mut two, &["first", "second", &long]).await;
            // Who has left is not in the way of the others.
            drop(one);
            floor.publish("A/B", "third");
            expect(&mut two, &["third"]).await;
            assert_eq!(floor.end(), Some(0), "it ends with its feed");
        });
    }
}

#[test]
fn a_client_that_does_not_read_stops_nobody_and_gets_all_in_the_end() {
    for mode in ["--mode each", "--mode batch"] {
        run(async {
            let mut floor = Floor::start(mode);
            let mut slow = connect(&floor, &["A/B"]).await;
            let mut fast = connect(&floor, &["A/B"]).await;
            let payload = "y".repeat(60_000);
            // More than the kernel holds for a socket.
            for number in 0..300 {
                let text = format!("{number} {payload}");
                floor.publish("A/B", &text);
                expect(&mut fast, &[&text]).await;
            }
            for number in 0..300 {
                expect(&mut slow, &[&format!("{number} {payload}")]).await;
            }
            assert_eq!(floor.end(), Some(0));
        });
    }
}

#[test]
fn a_floor_without_a_feed_says_so() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["ceiling", "--mode", "batch", "--feed", &free.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("cannot read the feed at 127.0.0.1:"), "{errors}");
}
