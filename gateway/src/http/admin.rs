//! The admin listener: `/metrics`, `/livez`, `/readyz`; single clients and streams are in `operate.rs`.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};

use super::accept::{Acceptor, Listener};
use super::operate::answer_operator;
use super::{Answer, Answering, Patience, answer, say_goodbye, serve_connection, text};
use crate::auth::Guard;
use crate::metrics::Metrics;

/// A scrape comes, is answered and goes.
const PATIENCE: Patience = Patience { head: Duration::from_secs(5), life: Duration::from_secs(120) };

/// Serves until the runtime ends.
pub async fn serve(listener: Listener, metrics: Arc<Metrics>, guard: Option<Guard>) {
    let guard = Arc::new(guard);
    let mut acceptor = Acceptor::new(listener, &metrics.public().refusals);
    loop {
        let (stream, _) = acceptor.accept().await;
        let (metrics, guard) = (Arc::clone(&metrics), Arc::clone(&guard));
        tokio::task::spawn_local(async move {
            let handle = |request| -> Answering {
                let answer = route(request, Arc::clone(&metrics), Arc::clone(&guard));
                Box::pin(async { Ok(answer.await) })
            };
            if let Ok((stream, _)) = serve_connection(stream, PATIENCE, handle).await {
                say_goodbye(stream, PATIENCE).await;
            }
        });
    }
}

async fn route(request: Request<Incoming>, metrics: Arc<Metrics>, guard: Arc<Option<Guard>>) -> Answer {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or(""));
    // Whoever restarts or balances asks for health without knowing secrets.
    let is_open = matches!(path, "/livez" | "/readyz");
    if !is_open && guard.as_ref().as_ref().is_some_and(|guard| !guard.admits(request.headers())) {
        let mut answer = text(StatusCode::UNAUTHORIZED, "the admin token is needed: Authorization: Bearer\n");
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"admin\""));
        return answer;
    }
    // A page that somebody has open in a browser of this machine can send orders too, but not without saying where it is from.
    if request.method() != Method::GET && request.headers().contains_key(ORIGIN) {
        return text(StatusCode::FORBIDDEN, "orders are not taken from web pages\n");
    }
    if let Some(answer) = answer_operator(request.method(), path, query, metrics.public()).await {
        return answer;
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => match metrics.scrape().await {
            Ok(page) => answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        },
        "/livez" => text(StatusCode::OK, "live\n"),
        "/readyz" => match metrics.readiness().await {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /livez, /readyz, /clients or /streams\n"),
    }
}
