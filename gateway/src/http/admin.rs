//! The admin listener: `/metrics`, `/livez`, `/readyz`; single clients and streams are in `operate.rs`.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;

use super::accept::Acceptor;
use super::operate::answer_operator;
use super::{Answer, Patience, answer, serve_connection, text};
use crate::metrics::Metrics;

/// A scrape comes, is answered and goes.
const PATIENCE: Patience = Patience { head: Duration::from_secs(5), life: Duration::from_secs(120) };

/// Serves until the runtime ends.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let mut acceptor = Acceptor::new(listener, &metrics.public().refusals);
    loop {
        let (stream, _) = acceptor.accept().await;
        let metrics = Arc::clone(&metrics);
        tokio::task::spawn_local(async move {
            serve_connection(stream, PATIENCE, |request| route(request, Arc::clone(&metrics))).await;
        });
    }
}

async fn route(request: Request<Incoming>, metrics: Arc<Metrics>) -> Answer {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or(""));
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
