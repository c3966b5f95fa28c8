//! A small server that speaks the protocol well, or with one planted bug.
//!
//! Owns a thread, a port and a market of its own. Never shares code with the witness it is tested against: its
//! checksum is made from integers, the witness's from the text of the messages.

pub(crate) mod flood;
pub(crate) mod market;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{Frame, OpCode, WebSocket, WebSocketError};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use market::Market;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::interval;

/// Time between two messages of a subscription: the mock's market, nothing waits for it.
const UPDATE_EVERY: Duration = Duration::from_millis(2);
/// The message, counted from 0, that carries the bug.
pub(crate) const BUG_AT: u64 = 5;

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Valid JSON in an unusual shape: blanks, and `data` before `channel`.
    OddShape,
    WrongChecksum,
    MissingChecksum,
    BrokenPrev,
    SeqBack,
    SkippedTradeId,
    SnapshotBeforeAck,
    UpdateBeforeSnapshot,
    NoAck,
    Refusal,
    DeepSnapshot,
    LevelOutsideWindow,
    LostRemoval,
    CrossedBook,
    RemovalsLast,
    StringNumbers,
    BrokenJson,
    SecondSnapshot,
    Notice,
    PingFrame,
    BinaryFrame,
    Silent,
    CloseFrame,
    DropConnection,
}

/// A running server; ends with this value.
pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Mock {
    /// Listens on a port of the system's choice before it returns.
    pub(crate) fn start(bug: Bug) -> Self {
        Self::start_with(move |socket, request| Box::pin(talk(socket, request, bug)))
    }

    /// A server that sends as fast as it can.
    pub(crate) fn start_flood() -> Self {
        let script = flood::Script::new();
        Self::start_with(move |socket, request| Box::pin(flood::talk(socket, request, script.clone())))
    }

    fn start_with(talk: impl Fn(Socket, Value) -> Talk + Clone + Send + Sync + 'static) -> Self {
        let (address_out, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                address_out.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, talk) => {}
                }
            });
        });
        Self { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v2", self.address)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.expect("the mock server panicked");
        }
    }
}

pub(crate) type Socket = WebSocket<TokioIo<Upgraded>>;
type Talk = std::pin::Pin<Box<dyn Future<Output = Result<(), WebSocketError>> + Send>>;

async fn accept(listener: TcpListener, talk: impl Fn(Socket, Value) -> Talk + Clone + Send + Sync + 'static) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream, talk.clone()));
    }
}

async fn serve(stream: TcpStream, talk: impl Fn(Socket, Value) -> Talk + Clone + Send + Sync + 'static) {
    let service = service_fn(|request: Request<Incoming>| {
        let talk = talk.clone();
        async move {
            let (response, upgraded): (Response<Empty<Bytes>>, UpgradeFut) = upgrade(request)?;
            tokio::spawn(converse(upgraded, talk));
            Ok::<_, WebSocketError>(response)
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that leaves in the middle is no failure of the server.
    let _ = connection.with_upgrades().await;
}

/// Status, then the request, then whatever `talk` does with it.
async fn converse(upgraded: UpgradeFut, talk: impl Fn(Socket, Value) -> Talk + Send) {
    let Ok(mut socket) = upgraded.await else { return };
    let status = json!({"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]});
    if send(&mut socket, status.to_string()).await.is_err() {
        return;
    }
    let Ok(frame) = socket.read_frame().await else { return };
    let Ok(request) = serde_json::from_slice::<Value>(&frame.payload) else { return };
    if request["params"]["channel"] == "instrument" {
        let _ = list(&mut socket).await;
        return;
    }
    // The only errors are those of a client that has left.
    let _ = talk(socket, request).await;
}

pub(crate) async fn send(socket: &mut Socket, text: String) -> Result<(), WebSocketError> {
    socket.write_frame(Frame::text(text.into_bytes().into())).await
}

pub(crate) fn ack(request: &Value, symbol: &str) -> String {
    let params = &request["params"];
    json!({
        "method": "subscribe", "success": true, "time_in": "a", "time_out": "b", "req_id": request["req_id"],
        "result": {"channel": params["channel"], "symbol": symbol, "snapshot": true, "depth": params["depth"]},
    })
    .to_string()
}

async fn list(socket: &mut Socket) -> Result<(), WebSocketError> {
    let pairs: Vec<_> = ["BTC/USD", "ETH/USD", "SOL/USD"].iter().map(|s| json!({"symbol": s})).collect();
    let data = json!({"assets": [], "pairs": pairs});
    let message = json!({"channel":"instrument","type":"snapshot","data":data});
    send(socket, message.to_string()).await?;
    while socket.read_frame().await?.opcode != OpCode::Close {}
    Ok(())
}

/// One subscribed client: acknowledgements, snapshots, then updates until it leaves.
async fn talk(mut socket: Socket, request: Value, bug: Bug) -> Result<(), WebSocketError> {
    let params = &request["params"];
    let channel = params["channel"].as_str().unwrap();
    let depth = params["depth"].as_u64().unwrap_or(10) as usize;
    let symbols = params["symbol"].as_array().unwrap().iter().map(|s| s.as_str().unwrap());
    let mut markets: Vec<_> = symbols.map(|s| Market::new(s, depth, bug)).collect();
    start(&mut socket, &request, channel, &mut markets, bug).await?;
    let mut ticks = interval(UPDATE_EVERY);
    for number in 0.. {
        ticks.tick().await;
        if number == BUG_AT && !misbehave(&mut socket, channel, &mut markets[0], bug).await? {
            return Ok(());
        }
        for market in &mut markets {
            let message = market.update(channel, number == BUG_AT);
            send(&mut socket, shaped(message, bug)).await?;
        }
    }
    Ok(())
}

async fn start(
    socket: &mut Socket,
    request: &Value,
    channel: &str,
    markets: &mut [Market],
    bug: Bug,
) -> Result<(), WebSocketError> {
    for market in markets.iter_mut() {
        let acked = match bug {
            Bug::Refusal => json!({
                "method": "subscribe", "success": false, "symbol": market.symbol, "req_id": request["req_id"],
                "error": format!("Currency pair not supported {}", market.symbol),
            })
            .to_string(),
            _ => ack(request, &market.symbol),
        };
        let mut messages = vec![acked, shaped(market.snapshot(channel), bug)];
        match bug {
            Bug::SnapshotBeforeAck => messages.reverse(),
            Bug::UpdateBeforeSnapshot => messages.insert(1, market.update(channel, false)),
            Bug::NoAck => messages.clear(),
            Bug::Refusal => messages.truncate(1),
            _ => {}
        }
        for message in messages {
            send(socket, message).await?;
        }
    }
    if matches!(bug, Bug::Refusal | Bug::NoAck) {
        heartbeats(socket).await?;
    }
    Ok(())
}

async fn heartbeats(socket: &mut Socket) -> Result<(), WebSocketError> {
    let mut ticks = interval(UPDATE_EVERY);
    loop {
        ticks.tick().await;
        send(socket, r#"{"channel":"heartbeat"}"#.to_owned()).await?;
    }
}

/// Bugs that are messages of their own; false when the connection is not to go on.
async fn misbehave(
    socket: &mut Socket,
    channel: &str,
    market: &mut Market,
    bug: Bug,
) -> Result<bool, WebSocketError> {
    match bug {
        Bug::BrokenJson => send(socket, r#"{"channel":"book","type":"#.to_owned()).await?,
        Bug::SecondSnapshot => send(socket, market.snapshot(channel)).await?,
        Bug::Notice => send(socket, r#"{"channel":"notice","data":[{"code":"lagging"}]}"#.to_owned()).await?,
        Bug::PingFrame => {
            socket.write_frame(Frame::new(true, OpCode::Ping, None, vec![1].into())).await?;
        }
        Bug::BinaryFrame => socket.write_frame(Frame::binary(vec![1, 2, 3].into())).await?,
        Bug::Silent => {
            while socket.read_frame().await?.opcode != OpCode::Close {}
            return Ok(false);
        }
        Bug::CloseFrame => {
            socket.write_frame(Frame::close(4008, b"slow consumer")).await?;
            // The peer echoes the close; leaving earlier could reset the connection under it.
            while socket.read_frame().await?.opcode != OpCode::Close {}
            return Ok(false);
        }
        Bug::DropConnection => return Ok(false),
        _ => {}
    }
    Ok(true)
}

/// The same message in an unusual shape, when that is asked for.
fn shaped(message: String, bug: Bug) -> String {
    match bug {
        Bug::OddShape => {
            let at = message.find("\"data\"").unwrap();
            let (head, data) = (&message[1..at - 1], &message[at..message.len() - 1]);
            format!("{{ {data} , {head} }}")
        }
        _ => message,
    }
}
