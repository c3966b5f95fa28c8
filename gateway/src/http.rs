//! HTTP: the public listener (upgrade, reference data, demo page) and the admin listener (metrics, health).
//!
//! Runs on one small runtime of its own. A connection that is upgraded leaves it: the bare socket goes to a shard. Nothing in here
//! stands on the way of an update.

mod accept;
mod admin;
pub(crate) mod door;
mod echo;
mod operate;
pub(crate) mod origin;
mod public;
mod reference;
mod refusal;
mod upgrade;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

pub use admin::serve as serve_admin;
pub use door::{Door, DoorLimits, Network, Place};
pub use public::{PublicState, serve as serve_public, tune};
pub use refusal::{Reason, Refusals};

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// What every handler answers with.
type Answer = Response<Full<Bytes>>;

/// How long an HTTP connection is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For the head of a request, from its first octet or the start of the connection to its last.
    head: Duration,
    /// For the whole connection, idle or not, unless it is upgraded.
    life: Duration,
}

/// Serves one HTTP/1.1 connection with deadlines and bounded heads. Returns which limit ended it, if one did.
async fn serve_connection<S, F>(
    stream: S,
    patience: Patience,
    handle: impl Fn(Request<Incoming>) -> F,
) -> Option<Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = handle(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        // Without a timer hyper's time-outs do nothing.
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // hyper waits for ever between two requests, and for a peer that does not read its answer.
    let Ok(result) = timeout(patience.life, connection.as_mut()).await else {
        connection.as_mut().graceful_shutdown();
        // An answer under way may be finished; over this patience too the connection is dropped.
        let _ = timeout(patience.head, connection).await;
        return Some(Reason::HttpLate);
    };
    let error = result.err()?;
    tracing::debug!(%error, "an HTTP connection ended badly");
    match error {
        error if error.is_timeout() => Some(Reason::HeadLate),
        error if error.is_parse_too_large() => Some(Reason::HeadTooBig),
        _ => None,
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}
