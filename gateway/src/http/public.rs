//! The public listener: the WebSocket upgrade at `/v2`, the demo page at `/`, reference data below `/0/public/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use parking_lot::RwLock;
use socket2::TcpKeepalive;
use tokio::net::{TcpListener, TcpStream};

use super::{Answer, accept, answer, reference, serve_connection, text, upgrade};
use crate::auth::{Admission, Auth};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::EngineHandle;
use crate::reference::Reference;
use crate::shard::{NewConnection, ShardHandle, ShardInput};

/// One HTML file without a build step.
const PAGE: &str = include_str!("../../assets/demo.html");

/// How long a silent peer is believed before the kernel asks for a sign of life, and how long its silence then lasts.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// How long sent bytes may stay unacknowledged by the peer's kernel before the connection counts as dead. A client that does
/// not read counts as such too, so where clients may stall for longer the time is longer: ending those is up to the shard.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// What the public listener hands connections to and reads from.
#[derive(Debug)]
pub struct PublicState {
    /// Settings in force.
    pub config: Config,
    /// Who is let in.
    pub auth: Arc<Auth>,
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
    /// Upgrades refused because there are enough connections.
    pub refused_full: AtomicU64,
    /// Upgrade requests that were none.
    pub refused_malformed: AtomicU64,
    /// Upgrade requests of somebody who is not let in.
    pub refused_auth: AtomicU64,
    /// Open HTTP connections that are not upgraded.
    pub handshakes: AtomicUsize,
}

impl PublicState {
    /// Clients of all shards.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shards.iter().map(|shard| shard.connections.load(Ordering::Relaxed)).sum()
    }

    /// Gives an upgraded socket to the shard with the fewest clients.
    pub(super) fn hand_over(
        &self,
        stream: TcpStream,
        leftover: Vec<u8>,
        ext: bool,
        admission: Admission,
    ) -> std::io::Result<()> {
        let stream = stream.into_std()?;
        let shard = self.shards.iter().min_by_key(|shard| shard.connections.load(Ordering::Relaxed));
        let Some(shard) = shard else { return Ok(()) };
        // Relaxed: ids need only be different.
        let connection_id = self.upgraded.fetch_add(1, Ordering::Relaxed) + 1;
        shard.connections.fetch_add(1, Ordering::Relaxed);
        let connection = NewConnection { stream, leftover, ext, connection_id, admission };
        if shard.send(ShardInput::Connect(connection)).is_err() {
            shard.connections.fetch_sub(1, Ordering::Relaxed);
            self.refused_full.fetch_add(1, Ordering::Relaxed);
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
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(3);
    listener.set_tcp_keepalive(&keepalive)?;
    let stall = Duration::from_millis(config.limits.stall_ms);
    listener.set_tcp_user_timeout(Some(USER_TIMEOUT.max(2 * stall)))
}

/// Serves until the runtime ends.
pub async fn serve(listener: TcpListener, state: Arc<PublicState>) {
    let head_patience = Duration::from_millis(state.config.inbound.handshake_ms);
    accept(listener, |stream| {
        let state = Arc::clone(&state);
        async move {
            state.handshakes.fetch_add(1, Ordering::Relaxed);
            serve_connection(stream, head_patience, |request| route(request, Arc::clone(&state))).await;
            state.handshakes.fetch_sub(1, Ordering::Relaxed);
        }
    })
    .await;
}

async fn route(request: Request<Incoming>, state: Arc<PublicState>) -> Answer {
    let path = request.uri().path();
    if path == "/v2" {
        return upgrade::answer_upgrade(request, state);
    }
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
