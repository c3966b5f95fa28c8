//! Accepts connections, whatever happens: out of descriptors, too many at once, too slow.
//!
//! Owns the listener, a spare descriptor, and who is speaking HTTP since when. When descriptors are used up it closes a caller
//! with the spare one instead of letting the queue stand, and waits a moment; existing clients notice nothing. When too many
//! speak at once the slowest has to go. It decides nothing about addresses: that is the door's.

use std::collections::VecDeque;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::task::Poll;
use std::time::Duration;

use fanout::{Allowance, Bucket};
use model::Nanos;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::refusal::{Reason, Refusals};
use super::socket::Socket;
use crate::clock::Clock;

/// Wait after an accept that failed for want of descriptors: an immediate retry would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a connection may speak in peace when there is no room for others.
const PEACE: Nanos = Nanos::SECOND;

/// A listening socket, twice: what waits is taken from it bare, and the runtime is asked only when nothing waits. What the runtime
/// accepts it also watches, which is of no use to a connection that is about to leave it.
#[derive(Debug)]
pub struct Listener {
    bare: mio::net::TcpListener,
    watched: TcpListener,
}

impl Listener {
    /// To be called where the runtime is; the socket must not block.
    ///
    /// # Errors
    /// When there are no descriptors, or the socket cannot be watched.
    pub fn new(listener: StdTcpListener) -> io::Result<Self> {
        let bare = mio::net::TcpListener::from_std(listener.try_clone()?);
        Ok(Self { bare, watched: TcpListener::from_std(listener)? })
    }

    /// A connection that waits already.
    fn take(&self) -> io::Result<(Socket, SocketAddr)> {
        self.bare.accept().map(|(stream, peer)| (Socket::Bare(stream.into()), peer))
    }

    /// The next connection. May be cancelled.
    async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self.take() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.watched.accept().await.map(|(stream, peer)| (Socket::Watched(stream), peer))
            }
            taken => taken,
        }
    }
}

/// Accepts for one listener.
#[derive(Debug)]
pub(super) struct Acceptor<'a> {
    listener: Listener,
    refusals: &'a Refusals,
    /// Something to let go of when nothing else is to be had.
    spare: Option<File>,
}

impl<'a> Acceptor<'a> {
    pub(super) fn new(listener: Listener, refusals: &'a Refusals) -> Self {
        Self { listener, refusals, spare: spare() }
    }

    /// The next connection. The one before it begins first: most have asked already and are done at once, so that few speak at a
    /// time and few buffers are in use. May be cancelled: what was not accepted stays in the kernel's queue.
    pub(super) async fn accept(&mut self) -> (Socket, SocketAddr) {
        let_others_run().await;
        loop {
            match self.listener.accept().await {
                Ok(connection) => return connection,
                Err(error) if is_out_of_descriptors(&error) => self.shed(&error).await,
                // The caller has gone again, or the like: the next may be well.
                Err(error) => tracing::debug!(%error, "a connection could not be accepted"),
            }
        }
    }

    /// Ends the caller who waits in front, so that the queue does not stand, and gives others time to let go of descriptors.
    async fn shed(&mut self, error: &io::Error) {
        self.refusals.count(Reason::Descriptors);
        if self.spare.take().is_some() {
            tracing::warn!(%error, "a connection was ended: there are no descriptors left");
            // Looked for once and not waited for: the kernel says so too when nobody calls, and whoever calls later may be well.
            drop(self.listener.take());
        }
        sleep(PAUSE).await;
        self.spare = spare();
    }
}

/// Lets every task run that is ready. The runtime's own way would look for readiness each time, which is a system call.
async fn let_others_run() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Any descriptor will do.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// EMFILE, ENFILE, and the kernel's want of memory for sockets.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    const NFILE: i32 = 23;
    const MFILE: i32 = 24;
    const NOBUFS: i32 = 105;
    const NOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(NFILE | MFILE | NOBUFS | NOMEM))
}

/// Bounds how fast connections are taken from the kernel's queue, where they wait otherwise.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    allowance: Allowance,
    bucket: Bucket,
    refusals: &'a Refusals,
    clock: Clock,
}

impl<'a> Pace<'a> {
    pub(super) fn new(allowance: Allowance, refusals: &'a Refusals, clock: Clock) -> Self {
        Self { allowance, bucket: Bucket::new(clock.mono()), refusals, clock }
    }

    /// Waits until one more connection may be taken. May be cancelled.
    pub(super) async fn wait(&mut self) {
        if self.bucket.try_take(self.allowance, self.clock.mono()) {
            return;
        }
        self.refusals.count_wait();
        while !self.bucket.try_take(self.allowance, self.clock.mono()) {
            // The runtime's timer has this grain anyway.
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The connections that speak HTTP, each a task, the oldest first.
#[derive(Debug)]
pub(super) struct Speakers<'a> {
    tasks: JoinSet<()>,
    since: VecDeque<(AbortHandle, Nanos)>,
    max: usize,
    refusals: &'a Refusals,
    clock: Clock,
}

impl<'a> Speakers<'a> {
    pub(super) fn new(max: usize, refusals: &'a Refusals, clock: Clock) -> Self {
        Self { tasks: JoinSet::new(), since: VecDeque::new(), max, refusals, clock }
    }

    /// Runs a connection that came now.
    pub(super) fn spawn(&mut self, speak: impl Future<Output = ()> + 'static, now: Nanos) {
        let task = self.tasks.spawn_local(speak);
        self.since.push_back((task, now));
    }

    /// Waits until there is room for one more. Who has spoken longest has to go when its time in peace is over. May be cancelled.
    pub(super) async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= self.max {
            let Some((oldest, since)) = self.since.front() else { return };
            let age = self.clock.mono().since(*since);
            if oldest.is_finished() {
                self.since.pop_front();
            } else if age >= PEACE {
                self.refusals.count(Reason::Handshakes);
                oldest.abort();
                self.tasks.join_next().await;
            } else {
                let left = Duration::from_nanos(PEACE.since(age).0);
                // One of them ends by itself, or the oldest has had its time.
                let _ = timeout(left, self.tasks.join_next()).await;
            }
        }
        self.forget_finished();
    }

    /// Those who end soon may stand behind one who stays.
    fn forget_finished(&mut self) {
        if self.since.len() > 64 + 2 * self.tasks.len() {
            self.since.retain(|(task, _)| !task.is_finished());
        }
    }
}
