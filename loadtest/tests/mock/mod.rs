//! A small server that speaks the protocol well, or with one planted bug.
//!
//! Owns a thread, two ports and a market of its own. Never shares code with the witness it is tested against: its
//! checksum is made from integers, the witness's from the text of the messages.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod admin;
pub(crate) mod flood;
pub(crate) mod market;
mod session;
mod wire;

use admin::Counts;
use bytes::Bytes;
use fastwebsockets::WebSocketError;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

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
    /// A level with another quantity than the book has.
    WrongQuantity,
    /// A change of the book that is never told.
    LostDelta,
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
    /// No bug: three entries are folded into one update, and told.
    Merges,
    /// The same with a notice that says four.
    MergeMiscounted,
    /// No bug: three trades are dropped, and told.
    Drops,
    /// The same without a word.
    DropsSilently,
    /// The same with a notice that says two.
    GapMiscounted,
    /// No bug: one trade is dropped for who did not opt in, which is told by the link alone.
    PlainLoss,
    /// Data after a pause was acknowledged.
    PauseLeak,
    /// `recovered: true`, and an entry is missing.
    ResumeHole,
    /// `recovered: true`, and not all that was missed.
    ResumeShort,
    /// Updates more often than the interval that was granted.
    IntervalIgnored,
    /// Data after the end of the subscription was acknowledged.
    TalksOn,
    /// No bug: nothing changes any more after some updates, so that all clients end at one place.
    Stops,
    /// The same, and one client's book differs beyond the levels that the checksum covers.
    DeepDifference,
    /// Counts: one drop less than there was.
    DropMiscounted,
    /// Counts: one write less, so that the sum does not hold.
    WriteMiscounted,
    /// Counts: one write less, and the sum holds.
    WriteForgotten,
    /// Counts: the server has found a mistake of its own.
    OwnBreach,
}

/// A running server; ends with this value.
pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How connections are talked to.
#[derive(Clone)]
enum Talk {
    Session(Bug),
    Flood(flood::Script),
}

impl Mock {
    /// Listens on ports of the system's choice before it returns.
    pub(crate) fn start(bug: Bug) -> Self {
        Self::start_with(Talk::Session(bug), bug)
    }

    /// A server that sends as fast as it can.
    pub(crate) fn start_flood() -> Self {
        Self::start_with(Talk::Flood(flood::Script::new()), Bug::None)
    }

    fn start_with(talk: Talk, bug: Bug) -> Self {
        let (addresses_out, addresses) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
                addresses_out.send((listener.local_addr().unwrap(), admin.local_addr().unwrap())).unwrap();
                let counts = Arc::new(Counts::default());
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, talk, &counts) => {}
                    () = admin::serve(admin, Arc::clone(&counts), bug) => {}
                }
            });
        });
        let (address, admin) = addresses.recv().unwrap();
        Self { address, admin, stop: Some(stop), thread: Some(thread) }
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

async fn accept(listener: TcpListener, talk: Talk, counts: &Arc<Counts>) {
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream, talk.clone(), Arc::clone(counts), number));
    }
}

async fn serve(stream: TcpStream, talk: Talk, counts: Arc<Counts>, number: u64) {
    let service = service_fn(|request: Request<Incoming>| {
        let (talk, counts) = (talk.clone(), Arc::clone(&counts));
        async move {
            let opts_in = request.uri().query() == Some("ext=1");
            let (response, upgraded): (Response<Empty<Bytes>>, UpgradeFut) = upgrade(request)?;
            tokio::spawn(converse(upgraded, talk, counts, opts_in, number));
            Ok::<_, WebSocketError>(response)
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that leaves in the middle is no failure of the server.
    let _ = connection.with_upgrades().await;
}

async fn converse(upgraded: UpgradeFut, talk: Talk, counts: Arc<Counts>, opts_in: bool, number: u64) {
    let Ok(socket) = upgraded.await else { return };
    let wire = wire::Wire::new(socket.into_inner());
    counts.opened.fetch_add(1, Relaxed);
    counts.open.fetch_add(1, Relaxed);
    // The only errors are those of a client that has left.
    let _ = match talk {
        Talk::Session(bug) => session::talk(wire, session::Setting { bug, opts_in, number }, &counts).await,
        Talk::Flood(script) => session::flood(wire, script).await,
    };
    counts.open.fetch_sub(1, Relaxed);
}
