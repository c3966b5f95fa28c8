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
mod promise;
mod public;
mod reference;
mod refusal;
mod socket;
mod upgrade;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

pub use accept::Listener;
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

/// An answer that may take a while.
type Answering = Pin<Box<dyn Future<Output = Result<Answer, Infallible>>>>;

/// How long an HTTP connection is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For the first octet of a connection, and for the head of a request from its first octet to its last.
    head: Duration,
    /// For the whole connection, idle or not, unless it is upgraded.
    life: Duration,
}

/// Serves one HTTP/1.1 connection with deadlines and bounded heads. Gives the stream back, with what came behind the last request,
/// when that was answered and no other follows: then the stream is at its end or becomes something else.
///
/// # Errors
/// The connection is over; which limit ended it, if one did.
async fn serve_connection<S>(
    stream: S,
    patience: Patience,
    handle: impl Fn(Request<Incoming>) -> Answering + Unpin,
) -> Result<(S, Bytes), Option<Reason>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = http1::Builder::new()
        // Without a timer hyper's time-outs do nothing.
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service_fn(handle));
    let served = poll_fn(|context| connection.poll_without_shutdown(context));
    // hyper waits for ever between two requests, and for a peer that does not read its answer.
    let Ok(result) = timeout(patience.life, served).await else {
        Pin::new(&mut connection).graceful_shutdown();
        // An answer under way may be finished; over this patience too the connection is dropped.
        let _ = timeout(patience.head, connection).await;
        return Err(Some(Reason::HttpLate));
    };
    let Err(error) = result else {
        let parts = connection.into_parts();
        return Ok((parts.io.into_inner(), parts.read_buf));
    };
    tracing::debug!(%error, "an HTTP connection ended badly");
    Err(match error {
        error if error.is_timeout() => Some(Reason::HeadLate),
        error if error.is_parse_too_large() => Some(Reason::HeadTooBig),
        _ => None,
    })
}

/// Ends a connection in order: over TLS the peer is told that nothing was cut off.
async fn say_goodbye(mut stream: impl AsyncWrite + Unpin, patience: Patience) {
    // Over this patience it is dropped.
    let _ = timeout(patience.head, stream.shutdown()).await;
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
