//! The mock's admin listener: its own counts, honest or not.
//!
//! Owns the counters and the page `/metrics`. Counts are made in `session.rs`.

use super::Bug;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::net::TcpListener;

const CHANNELS: [&str; 4] = ["book", "ticker", "trade", "ohlc"];

/// What became of deliveries.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) open: AtomicU64,
    pub(crate) opened: AtomicU64,
    channels: [ChannelCounts; 4],
}

#[derive(Default)]
pub(crate) struct ChannelCounts {
    pub(crate) written: AtomicU64,
    pub(crate) merged: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl Counts {
    pub(crate) fn channel(&self, name: &str) -> &ChannelCounts {
        &self.channels[CHANNELS.iter().position(|channel| *channel == name).unwrap()]
    }

    fn page(&self, bug: Bug) -> String {
        let mut page = String::from("# a mock\n");
        let _ = writeln!(page, "gateway_connections {}", self.open.load(Relaxed));
        let _ = writeln!(page, "gateway_connections_opened_total {}", self.opened.load(Relaxed));
        let _ = writeln!(
            page,
            "gateway_conservation_breaches_total {}",
            u64::from(bug == Bug::OwnBreach && self.any())
        );
        for (name, counts) in CHANNELS.iter().zip(&self.channels) {
            let (mut written, merged, mut dropped) =
                (counts.written.load(Relaxed), counts.merged.load(Relaxed), counts.dropped.load(Relaxed));
            let fanned_out = written + merged + dropped;
            if written > 0 {
                match bug {
                    // The sum no longer holds.
                    Bug::DropMiscounted => dropped = dropped.saturating_sub(1),
                    Bug::WriteMiscounted => written -= 1,
                    _ => {}
                }
            }
            // Adds up, and is not what happened.
            let forgotten = u64::from(bug == Bug::WriteForgotten && written > 0);
            for (what, count) in [
                ("fanned_out_total", fanned_out - forgotten),
                ("written_total", written - forgotten),
                ("merged_total", merged),
                ("dropped_total", dropped),
                ("discarded_total", 0),
                ("pending", 0),
            ] {
                let _ = writeln!(page, "gateway_deliveries_{what}{{channel=\"{name}\"}} {count}");
            }
        }
        page
    }

    fn any(&self) -> bool {
        self.channels.iter().any(|counts| counts.written.load(Relaxed) > 0)
    }
}

/// Answers every path with the counts.
pub(crate) async fn serve(listener: TcpListener, counts: Arc<Counts>, bug: Bug) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let counts = Arc::clone(&counts);
        let service = service_fn(move |_: Request<Incoming>| {
            let page = counts.page(bug);
            async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(page)))) }
        });
        tokio::spawn(async move {
            // A client that leaves in the middle is no failure of the server.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
