//! The public listener: the WebSocket upgrade at `/v2`, the demo page at `/`, reference data below `/0/public/`.

use std::future::ready;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, StatusCode, Version};
use parking_lot::RwLock;
use rustls::ServerConnection;
use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::accept::{Acceptor, Listener, Pace, Speakers};
use super::door::{Door, Place};
use super::promise::{Promise, Withheld};
use super::refusal::{Reason, Refusals};
use super::socket::Socket;
use super::upgrade::{self, Carrier};
use super::{
    Answer, Answering, HEAD_BYTES_MAX, Patience, answer, reference, say_goodbye, serve_connection, text,
};
use crate::auth::{Admission, Auth};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::EngineHandle;
use crate::memory::Budget;
use crate::reference::Reference;
use crate::shard::{NewConnection, Opening, ShardHandle, ShardInput};
use crate::tls::Tls;

/// One HTML file without a build step.
const PAGE: &str = include_str!("../../assets/demo.html");

/// Where market data is.
const MARKET: &str = "/v2";

/// Where messages come back, if it is switched on.
pub(super) const ECHO: &str = "/echo";

/// Peers that are told at the same time why they are turned away; beyond it they are not told.
const TURNED_AWAY_MAX: usize = 64;

/// Longest time that telling them takes.
const TURN_AWAY_PATIENCE: Duration = Duration::from_secs(1);

/// What the public listener hands connections to and reads from.
#[derive(Debug)]
pub struct PublicState {
    /// Settings in force.
    pub config: Config,
    /// Who is let in.
    pub auth: Arc<Auth>,
    /// Whether there is memory for more.
    pub memory: Arc<Budget>,
    /// Where clients go.
    pub shards: Vec<ShardHandle>,
    /// Where depth is asked.
    pub engine: EngineHandle,
    /// Instruments and states.
    pub reference: Arc<RwLock<Reference>>,
    /// For `Time`.
    pub clock: Clock,
    /// Connections upgraded so far; the last one is the newest `connection_id`.
    pub upgraded: AtomicU64,
    /// Connections that were refused.
    pub refusals: Refusals,
    /// Certificate and key, when there is a listener with TLS.
    pub tls: Option<Arc<Tls>>,
    /// Who is inside.
    pub door: Arc<Door>,
    /// Open connections to the echo.
    pub echoes: Arc<AtomicUsize>,
}

impl PublicState {
    /// Gives an upgraded socket to the shard with the fewest clients, which owes it the answer to the upgrade.
    pub(super) fn hand_over(
        &self,
        stream: Socket,
        tls: Option<Box<ServerConnection>>,
        opening: Opening,
        ext: bool,
        place: Place,
        admission: Admission,
    ) -> std::io::Result<()> {
        let stream = stream.into_std()?;
        let shard = self.shards.iter().min_by_key(|shard| shard.connections.load(Ordering::Relaxed));
        let Some(shard) = shard else { return Ok(()) };
        // Relaxed: ids need only be different.
        let connection_id = self.upgraded.fetch_add(1, Ordering::Relaxed) + 1;
        shard.connections.fetch_add(1, Ordering::Relaxed);
        let connection = NewConnection { stream, tls, opening, ext, connection_id, place, admission };
        if shard.send(ShardInput::Connect(connection)).is_err() {
            shard.connections.fetch_sub(1, Ordering::Relaxed);
            self.refusals.count(Reason::Full);
            tracing::warn!("a shard takes no more connections at once, one was dropped");
        }
        Ok(())
    }
}

/// Sets the options of clients' sockets once: Linux gives a connection those of the socket that it was accepted from, which
/// saves eight system calls for each.
///
/// # Errors
/// The kernel refuses one of them.
pub fn tune(listener: &socket2::Socket, config: &Config) -> std::io::Result<()> {
    let public = &config.public;
    listener.set_tcp_nodelay(true)?;
    listener.set_send_buffer_size(public.send_buffer_bytes as usize)?;
    if public.notsent_lowat_bytes > 0 {
        listener.set_tcp_notsent_lowat(public.notsent_lowat_bytes)?;
    }
    let silence = Duration::from_millis(public.keepalive_ms);
    let keepalive = TcpKeepalive::new().with_time(silence).with_interval(silence).with_retries(3);
    listener.set_tcp_keepalive(&keepalive)?;
    // A client that does not read counts as silent too, so where clients may stall for longer the time is longer: ending those is
    // up to the shard.
    let stall = Duration::from_millis(config.limits.stall_ms);
    let user_timeout = Duration::from_millis(public.user_timeout_ms);
    listener.set_tcp_user_timeout(Some(user_timeout.max(2 * stall)))
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) is_tls: bool,
}

/// Serves one listener until the runtime ends.
pub async fn serve(listener: Listener, tls: Option<Arc<Tls>>, state: Arc<PublicState>) {
    let inbound = &state.config.inbound;
    let patience = Patience {
        head: Duration::from_millis(inbound.handshake_ms),
        life: Duration::from_millis(inbound.http_ms),
    };
    let mut acceptor = Acceptor::new(listener, &state.refusals);
    let mut pace = Pace::new(inbound.accepts(), &state.refusals, state.clock);
    let mut speakers = Speakers::new(inbound.handshakes_max, &state.refusals, state.clock);
    let mut turned_away = JoinSet::new();
    loop {
        pace.wait().await;
        speakers.make_room().await;
        let (stream, peer) = acceptor.accept().await;
        let now = state.clock.mono();
        match state.door.arrive(peer.ip(), now) {
            Ok(place) => {
                let peer = Peer { address: peer.ip(), is_tls: tls.is_some() };
                let acceptor = tls.as_ref().map(|tls| tls.acceptor());
                speakers.spawn(speak(stream, acceptor, peer, place, patience, Arc::clone(&state)), now);
            }
            Err(reason) => {
                state.refusals.count(reason);
                while turned_away.try_join_next().is_some() {}
                // Over TLS a word would cost a handshake.
                if turned_away.len() < TURNED_AWAY_MAX && tls.is_none() {
                    turned_away.spawn_local(turn_away(stream));
                }
            }
        }
    }
}

/// Speaks HTTP with one peer, who has a place as long as it does. All that speaking needs is made when the peer has begun to: until
/// then a connection costs its socket and little else, however many come at once.
async fn speak(
    mut stream: Socket,
    tls: Option<TlsAcceptor>,
    peer: Peer,
    _place: Place,
    patience: Patience,
    state: Arc<PublicState>,
) {
    let came = state.clock.mono();
    let ended = match timeout(patience.head.min(patience.life), stream.readable()).await {
        Ok(Ok(())) => {
            let silence = Duration::from_nanos(state.clock.mono().since(came).0);
            let patience = Patience { life: patience.life.saturating_sub(silence), ..patience };
            Box::pin(hear(stream, tls, peer, patience, &state)).await
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection broke before a word");
            None
        }
        Err(_) if tls.is_some() => Some(Reason::Tls),
        Err(_) => Some(Reason::HeadLate),
    };
    if let Some(reason) = ended {
        state.refusals.count(reason);
    }
}

/// Hears what a peer says, over TLS if the listener has it. Returns which limit ended the connection, if one did.
async fn hear(
    stream: Socket,
    tls: Option<TlsAcceptor>,
    peer: Peer,
    patience: Patience,
    state: &Arc<PublicState>,
) -> Option<Reason> {
    let Some(tls) = tls else { return converse(stream, peer, patience, state).await };
    match timeout(patience.head, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, peer, patience, state).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            Some(Reason::Tls)
        }
        Err(_) => Some(Reason::Tls),
    }
}

/// Answers requests until the connection ends or becomes something else. Returns which limit ended it, if one did.
async fn converse<S>(stream: S, peer: Peer, patience: Patience, state: &Arc<PublicState>) -> Option<Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Into<Carrier>,
{
    let promise = Rc::new(Promise::default());
    let stream = Withheld::new(stream, Rc::clone(&promise));
    let served = serve_connection(stream, patience, |request| handle(request, peer, state, &promise)).await;
    match served {
        Ok((stream, leftover)) => {
            let (stream, answer) = stream.into_parts();
            match promise.take() {
                Some(purpose) => {
                    purpose.begin(stream.into(), Opening { answer, leftover: leftover.to_vec() }, state);
                }
                None => say_goodbye(stream, patience).await,
            }
            None
        }
        Err(reason) => reason,
    }
}

/// Tells a peer that its address has had enough, without hearing it.
async fn turn_away(mut stream: Socket) {
    const ANSWER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\nretry-after: 5\r\n\
        content-type: text/plain; charset=utf-8\r\ncontent-length: 41\r\n\r\n\
        too many connections of this address now\n";
    let tell = async {
        if stream.write_all(ANSWER).await.is_ok() && stream.shutdown().await.is_ok() {
            // What it asked has to be taken, or the answer is lost behind a reset; it need not be taken for ever.
            let mut bytes = [0; 1_024];
            let mut left = HEAD_BYTES_MAX;
            while let Ok(len) = stream.read(&mut bytes).await
                && len > 0
                && left > 0
            {
                left = left.saturating_sub(len);
            }
        }
    };
    let _ = timeout(TURN_AWAY_PATIENCE, tell).await;
}

/// Answers a request: at once what becomes a WebSocket, in time the rest.
fn handle(request: Request<Incoming>, peer: Peer, state: &Arc<PublicState>, promise: &Promise) -> Answering {
    if let Err(problem) = check_head(&request) {
        let mut answer = text(StatusCode::BAD_REQUEST, format!("{problem}\n"));
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return Box::pin(ready(Ok(answer)));
    }
    let path = request.uri().path();
    if path == MARKET || (path == ECHO && state.config.echo.enabled) {
        return Box::pin(ready(Ok(upgrade::answer_upgrade(request, peer, state, promise))));
    }
    let answer = route(request, Arc::clone(state));
    Box::pin(async { Ok(answer.await) })
}

async fn route(request: Request<Incoming>, state: Arc<PublicState>) -> Answer {
    let path = request.uri().path();
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match path.strip_prefix("/0/public/") {
        Some(name) => {
            let query = request.uri().query().unwrap_or("");
            reference::answer_reference(name, query, request.headers(), &state).await
        }
        None if path == "/" => answer(StatusCode::OK, "text/html; charset=utf-8", PAGE),
        None => {
            text(StatusCode::NOT_FOUND, "try / for the demo page, /v2 for WebSocket, /0/public/AssetPairs\n")
        }
    }
}

/// What every request has to keep to. Nothing here takes a body, so one is refused before anybody could read two requests into it.
fn check_head(request: &Request<Incoming>) -> Result<(), &'static str> {
    let headers = request.headers();
    let host = upgrade::only(headers, HOST);
    if request.version() == Version::HTTP_11 && host.is_none_or(HeaderValue::is_empty) {
        return Err("one Host is needed");
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
    if has_body { Err("no request has a body here") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that has vanished without a word cannot be made without a network, but the kernel's word can be had.
    #[test]
    fn clients_inherit_what_finds_peers_that_have_vanished() {
        let mut config = Config::default();
        config.public.keepalive_ms = 7_000;
        config.public.user_timeout_ms = 11_000;
        config.limits.stall_ms = 30_000;
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        tune(&listener, &config).unwrap();
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
        // A client may stall for as long as the settings say.
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(60)));
    }
}
