//! A WebSocket to the gateway.
//!
//! Owns connecting and the opening handshake. Never reads a message: [`crate::client`] and [`crate::listing`] do.

use crate::plan::Target;
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, WebSocketError, handshake};
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

/// How long connecting and the handshake may take together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Largest message that is accepted; a snapshot of 1000 levels is about 100 kB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// An open WebSocket that hands out whole messages.
pub(crate) type Socket = FragmentCollector<TokioIo<Upgraded>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The network refused.
    #[error("cannot connect: {0}")]
    Network(#[from] std::io::Error),
    /// The server refused.
    #[error("no WebSocket handshake: {0}")]
    Handshake(#[from] WebSocketError),
    /// The address cannot be put into a request.
    #[error("cannot ask for this address: {0}")]
    Request(#[from] hyper::http::Error),
    /// Neither in time.
    #[error("no connection within {} s", CONNECT_LIMIT.as_secs())]
    TooSlow,
}

struct Spawner;

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

/// Connects and upgrades; `receive_bytes` bounds what the kernel takes while nobody reads. May be cancelled at any point; the connection is then dropped.
pub(crate) async fn connect(target: &Target, receive_bytes: Option<u32>) -> Result<Socket, ConnectError> {
    timeout(CONNECT_LIMIT, connect_unhurried(target, receive_bytes))
        .await
        .unwrap_or(Err(ConnectError::TooSlow))
}

async fn connect_unhurried(target: &Target, receive_bytes: Option<u32>) -> Result<Socket, ConnectError> {
    let stream = dial(target, receive_bytes).await?;
    stream.set_nodelay(true)?;
    let request = hyper::Request::get(&target.path)
        .header(HOST, &target.authority)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())?;
    let (mut socket, _) = handshake::client(&Spawner, request, stream).await?;
    socket.set_max_message_size(MESSAGE_BYTES_MAX);
    // Pings are answered by the client itself, because it counts them.
    socket.set_auto_pong(false);
    Ok(FragmentCollector::new(socket))
}

async fn dial(target: &Target, receive_bytes: Option<u32>) -> std::io::Result<TcpStream> {
    let Some(bytes) = receive_bytes else {
        return TcpStream::connect((target.host.as_str(), target.port)).await;
    };
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_recv_buffer_size(bytes)?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
