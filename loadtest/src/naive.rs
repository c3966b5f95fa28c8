//! The naive server: what one writes first, as a peer of the bench.
//!
//! Owns one thread of tokio with two tasks and a queue per client: each update is put into the queue of each subscriber,
//! and a client's task writes one after the other. A full queue loses the update without a word. Never joins writes, never
//! shares work between clients. Records come from the bench's publisher, as for the floor ([`crate::ceiling`]).

use crate::record::Record;
use bytes::{Buf, Bytes, BytesMut};
use clap::Args;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, WebSocketRead, WebSocketWrite};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{LocalSet, spawn_local};

/// Updates that wait for one client.
const QUEUE_MAX: usize = 4_096;
/// Connections that wait to be accepted, as with the floor.
const BACKLOG: u32 = 4_096;
const FEED_BUFFER_BYTES: usize = 256 << 10;

/// Settings of `loadtest naive`.
#[derive(Args, Debug, Clone)]
pub(crate) struct NaiveArgs {
    /// Where clients connect; port 0 takes a free one. The address in use is printed after the word `ready`.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The publisher to connect to. The server ends with it.
    #[arg(long)]
    feed: SocketAddr,
}

/// Queues by symbol.
type Subscribers = Rc<RefCell<HashMap<Box<[u8]>, Vec<Sender<Bytes>>>>>;

#[derive(Deserialize)]
struct Asked {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    symbol: Vec<String>,
}

/// Serves until the publisher ends the feed.
pub(crate) fn run(args: &NaiveArgs) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, serve(args))
}

async fn serve(args: &NaiveArgs) -> io::Result<()> {
    let socket = if args.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(args.listen)?;
    let listener = socket.listen(BACKLOG)?;
    let feed = TcpStream::connect(args.feed).await?;
    let subscribers = Subscribers::default();
    println!("ready {}", listener.local_addr()?);
    let accepting = spawn_local(accept(listener, Rc::clone(&subscribers)));
    let result = publish(feed, &subscribers).await;
    accepting.abort();
    result
}

async fn accept(listener: TcpListener, subscribers: Subscribers) {
    while let Ok((stream, _)) = listener.accept().await {
        // Without it the kernel would hold back small writes; a socket that refuses is about to end anyway.
        let _ = stream.set_nodelay(true);
        let subscribers = Rc::clone(&subscribers);
        spawn_local(async move {
            let service = service_fn(move |request| answer(request, Rc::clone(&subscribers)));
            // A client that leaves during its handshake is no concern of the others.
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    subscribers: Subscribers,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, socket) = upgrade(&mut request)?;
    spawn_local(talk(socket, subscribers));
    Ok(response)
}

/// One client, until it leaves.
async fn talk(socket: UpgradeFut, subscribers: Subscribers) {
    let Ok(socket) = socket.await else { return };
    let (reading, writing) = socket.split(tokio::io::split);
    let (sender, queue) = channel(QUEUE_MAX);
    let writing = spawn_local(write(writing, queue));
    // However it ends, the client is gone then; its queues are dropped when the next update finds them closed.
    let _ = read(reading, &sender, &subscribers).await;
    writing.abort();
}

type Reading = WebSocketRead<ReadHalf<TokioIo<Upgraded>>>;
type Writing = WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>;

async fn read(
    mut socket: Reading,
    queue: &Sender<Bytes>,
    subscribers: &Subscribers,
) -> Result<(), WebSocketError> {
    socket.set_auto_close(false);
    socket.set_auto_pong(false);
    loop {
        let frame = socket.read_frame(&mut |_| async { Ok::<(), io::Error>(()) }).await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                // What is no request is ignored.
                let Ok(request) = serde_json::from_slice::<Asked>(&frame.payload) else { continue };
                let mut subscribers = subscribers.borrow_mut();
                for symbol in request.params.symbol {
                    subscribers.entry(symbol.into_bytes().into()).or_default().push(queue.clone());
                }
            }
            _ => {}
        }
    }
}

/// One write per update.
async fn write(mut socket: Writing, mut queue: Receiver<Bytes>) -> Result<(), WebSocketError> {
    while let Some(update) = queue.recv().await {
        socket.write_frame(Frame::text(Payload::Borrowed(&update))).await?;
    }
    Ok(())
}

async fn publish(mut feed: TcpStream, subscribers: &Subscribers) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(FEED_BUFFER_BYTES);
    while feed.read_buf(&mut buffer).await? > 0 {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some((record, length)) = Record::parse(&buffer).map_err(broken)? {
            if let Some(queues) = subscribers.borrow_mut().get_mut(record.symbol) {
                let update = Bytes::copy_from_slice(record.payload);
                queues.retain(|queue| {
                    // A full queue loses the update; that is what makes it naive.
                    let _ = queue.try_send(update.clone());
                    !queue.is_closed()
                });
            }
            buffer.advance(length);
        }
        buffer.reserve(FEED_BUFFER_BYTES);
    }
    Ok(())
}
