//! Very many clients that each want little: a thousand connections on one thread, each with book and trades of one symbol.
//!
//! Every message is checked by the client's view when it comes, and the first that is wrong ends the thread, which whoever waits
//! for the clients sees. A client that follows much has a thread of its own instead: `client.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use super::truth::Truth;
use super::view::View;
use super::visitor::Visitor;
use super::wait_for;

/// How often the thread looks whether the clients are still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Levels of each book: as many as the checksum covers, so that it vouches for the whole of what the client has.
const DEPTH: usize = 10;

/// A way to the gateway: its address, or that of a tunnel, and the path.
pub type Way<'a> = (SocketAddr, &'a str);

/// The clients, on their thread.
#[derive(Debug)]
pub struct Multitude {
    stop: Arc<AtomicBool>,
    /// Data messages of each client so far.
    counts: Arc<[AtomicU64]>,
    thread: Option<JoinHandle<Vec<Visitor>>>,
}

impl Drop for Multitude {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong on it is on standard error.
            let _ = thread.join();
        }
    }
}

impl Multitude {
    /// So many clients that take turns in the ways to come and in the symbols; returns when each has its book. `guide` knows the
    /// precisions of all symbols.
    pub fn gather(count: usize, ways: &[Way<'_>], symbols: &[String], guide: &View) -> Self {
        let come = |n: usize| {
            let (address, path) = ways[n % ways.len()];
            let symbol = &symbols[n % symbols.len()];
            let mut visitor = Visitor::connect(address, path);
            visitor.view.precisions.insert(symbol.clone(), guide.precisions[symbol]);
            for params in [
                json!({ "channel": "book", "symbol": [symbol], "depth": DEPTH }),
                json!({ "channel": "trade", "symbol": [symbol] }),
            ] {
                visitor.ask(&json!({ "method": "subscribe", "params": params }), 1);
            }
            visitor
        };
        let visitors: Vec<Visitor> = (0..count).map(come).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&counts));
        let thread = thread::spawn(move || attend(visitors, &stopped, &counted));
        let multitude = Self { stop, counts, thread: Some(thread) };
        multitude.wait_moved(&vec![0; count]);
        multitude
    }

    /// Data messages of each client so far.
    pub fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Waits until each client has got something since then, and nothing that is wrong.
    pub fn wait_moved(&self, since: &[u64]) {
        wait_for("something new for everybody", || {
            let is_over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!is_over, "a client found something wrong, see above");
            self.counts().iter().zip(since).all(|(now, then)| now > then).then_some(())
        });
    }

    /// Of a market that stands still: each client gets to what the venue's book is, without having missed a trade. Returns how
    /// many messages came, in all.
    pub fn prove(mut self, truths: &BTreeMap<String, Truth>) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        let visitors = thread.join().expect("a client found something wrong, see above");
        let mut messages = 0;
        for mut visitor in visitors {
            visitor.with_stream(|stream| stream.set_nonblocking(false).expect("it may be"));
            visitor.drain();
            visitor.wait("the venue's book", |one| {
                one.view.books.iter().all(|(symbol, own)| own.book == truths[symbol].book.top(DEPTH))
            });
            let view = visitor.leave();
            assert_eq!((view.books.len(), view.subscribed.len()), (1, 2), "a book and its trades");
            assert_eq!((view.missing_trades(), view.breaks, view.notices.len()), (0, 0, 0));
            messages += view.snapshots + view.updates;
        }
        messages
    }
}

/// Reads whatever comes for each of them until they are no longer wanted.
fn attend(mut visitors: Vec<Visitor>, stop: &AtomicBool, counts: &[AtomicU64]) -> Vec<Visitor> {
    let mut poll = Poll::new().expect("epoll");
    let watch = |(n, visitor): (usize, &Visitor)| {
        let mut watched = None;
        visitor.with_stream(|stream| {
            stream.set_nonblocking(true).expect("it may be");
            let mut stream = mio::net::TcpStream::from_std(stream.try_clone().expect("a descriptor"));
            poll.registry().register(&mut stream, Token(n), Interest::READABLE).expect("room in epoll");
            watched = Some(stream);
        });
        watched
    };
    // They are watched as long as these live.
    let watched: Vec<_> = visitors.iter().enumerate().map(watch).collect();
    let mut read = |n: usize| {
        let visitor = &mut visitors[n];
        while visitor.read() {}
        counts[n].store(visitor.view.snapshots + visitor.view.updates, Ordering::Relaxed);
    };
    // Something may have been read together with the answer to the upgrade.
    (0..watched.len()).for_each(&mut read);
    let mut events = Events::with_capacity(watched.len());
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(LOOK_EVERY)).expect("epoll");
        events.iter().for_each(|event| read(event.token().0));
    }
    visitors
}
