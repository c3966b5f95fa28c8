//! One connection, from the first byte to the last.
//!
//! Owns the socket and reads the clock for the verifier. Never judges a message.
//! Started by [`crate::run`] on its thread; frames go to [`Verifier`], losses to the tally.

use crate::plan::Plan;
use crate::run::{Phase, Progress};
use crate::socket::{Socket, connect};
use crate::time;
use crate::verify::{Desk, Verifier};
use crate::violation::{Kind, Violation, quote};
use fastwebsockets::{Frame, OpCode};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

const CLOSE_NORMAL: u16 = 1000;
/// Receive buffer of a client that stops reading: it should be felt by the server, not by its kernel.
const STALLED_BYTES: u32 = 4_096;
/// How long the goodbye may block on a full socket.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);
/// Longest time between two looks at the clock for silence and overdue answers.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Frames one client handles before the others get their turn.
const FRAMES_PER_TURN_MAX: u32 = 256;

/// What the clients of one thread share.
pub(crate) struct Shared {
    /// The settings.
    pub(crate) plan: Arc<Plan>,
    /// Buffers and counters; borrowed for one frame at a time, never across an await.
    pub(crate) desk: RefCell<Desk>,
    /// Counters for the supervisor.
    pub(crate) progress: Arc<Progress>,
    /// When the ramp began.
    pub(crate) start: Instant,
}

/// How the server ended a connection.
struct Lost {
    code: Option<u16>,
    reason: String,
}

/// Tells the supervisor once that this client needs no more waiting for, at the latest when it ends.
struct Settling<'a> {
    progress: &'a Progress,
    is_done: bool,
}

impl Settling<'_> {
    fn done(&mut self) {
        if !self.is_done {
            self.is_done = true;
            self.progress.settled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.done();
    }
}

/// Runs one client until the phase is [`Phase::Stopping`] or the connection is lost.
pub(crate) async fn run(client: u32, shared: Rc<Shared>, mut phase: watch::Receiver<Phase>) {
    let settling = RefCell::new(Settling { progress: &shared.progress, is_done: false });
    let opened = async {
        sleep_until(shared.start + shared.plan.connect_after(client)).await;
        open(client, &shared).await
    };
    let socket = tokio::select! {
        biased;
        () = stopped(&mut phase) => return,
        socket = opened => socket,
    };
    let Some(mut socket) = socket else { return };
    let verifier = RefCell::new(Verifier::new(client, &shared.plan, time::now()));
    let stalls = shared.plan.is_stalled(client);
    let lost = converse(&mut socket, &verifier, &shared, &settling, stalls, &mut phase).await;
    match lost {
        Some(lost) => report_lost(client, &shared, lost),
        None => {
            // The run is over; whether the goodbye arrives does not matter.
            let goodbye = socket.write_frame(Frame::close(CLOSE_NORMAL, b""));
            let _ = timeout(GOODBYE_LIMIT, goodbye).await;
        }
    }
}

/// Connects and subscribes; a failure is recorded here.
async fn open(client: u32, shared: &Shared) -> Option<Socket> {
    let receive_bytes = shared.plan.is_stalled(client).then_some(STALLED_BYTES);
    let mut socket = match connect(&shared.plan.target, receive_bytes).await {
        Ok(socket) => socket,
        Err(error) => {
            shared.progress.failed.fetch_add(1, Ordering::Relaxed);
            push_violation(client, shared, Kind::ConnectFailed, "a connection", error.to_string());
            return None;
        }
    };
    shared.progress.connected.fetch_add(1, Ordering::Relaxed);
    let request = shared.plan.request(client).into_bytes();
    if let Err(error) = socket.write_frame(Frame::text(request.into())).await {
        report_lost(client, shared, Lost { code: None, reason: error.to_string() });
        return None;
    }
    Some(socket)
}

/// Reads until the connection is lost (`Some`) or the run is over (`None`).
async fn converse(
    socket: &mut Socket,
    verifier: &RefCell<Verifier>,
    shared: &Shared,
    settling: &RefCell<Settling<'_>>,
    stalls: bool,
    phase: &mut watch::Receiver<Phase>,
) -> Option<Lost> {
    // A read that is dropped in the middle loses bytes, so it lives on while the clock is looked at.
    let read = read_until_lost(socket, verifier, shared, settling, stalls);
    tokio::pin!(read);
    let mut ticks = interval(TICK_MAX.min(shared.plan.silence / 5).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // The end comes first: a busy socket must not postpone it. Reading comes before the clock, so
            // that what has arrived is heard before silence is judged.
            biased;
            () = stopped(phase) => return None,
            lost = &mut read => return Some(lost),
            _ = ticks.tick() => {
                let mut verifier = verifier.borrow_mut();
                if stalls && verifier.is_settled() {
                    // Silence is its own doing.
                    continue;
                }
                verifier.handle_time(time::now(), &mut shared.desk.borrow_mut().tally);
                if verifier.is_settled() {
                    settling.borrow_mut().done();
                }
            }
        }
    }
}

/// Must not be cancelled if the socket is to be read again.
async fn read_until_lost(
    socket: &mut Socket,
    verifier: &RefCell<Verifier>,
    shared: &Shared,
    settling: &RefCell<Settling<'_>>,
    stalls: bool,
) -> Lost {
    let mut frames = 0;
    loop {
        if stalls && verifier.borrow().is_settled() {
            std::future::pending::<()>().await;
        }
        let frame = match socket.read_frame().await {
            Ok(frame) => frame,
            Err(error) => return Lost { code: None, reason: error.to_string() },
        };
        match frame.opcode {
            OpCode::Text => {
                let mut verifier = verifier.borrow_mut();
                verifier.handle_text(&frame.payload, time::now(), &mut shared.desk.borrow_mut());
                if verifier.is_settled() {
                    settling.borrow_mut().done();
                }
            }
            OpCode::Ping => {
                verifier.borrow_mut().handle_ping(time::now(), &mut shared.desk.borrow_mut().tally);
                if let Err(error) = socket.write_frame(Frame::pong(frame.payload)).await {
                    return Lost { code: None, reason: error.to_string() };
                }
            }
            OpCode::Close => return Lost::from_payload(&frame.payload),
            OpCode::Binary | OpCode::Continuation => {
                let desk = &mut shared.desk.borrow_mut();
                verifier.borrow_mut().handle_binary(&frame.payload, time::now(), &mut desk.tally);
            }
            OpCode::Pong => {}
        }
        frames += 1;
        if frames % FRAMES_PER_TURN_MAX == 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Lost {
    fn from_payload(payload: &[u8]) -> Self {
        match payload {
            [high, low, reason @ ..] => {
                Self { code: Some(u16::from_be_bytes([*high, *low])), reason: quote(reason) }
            }
            _ => Self { code: None, reason: "close frame without code".to_owned() },
        }
    }
}

/// Waits for the end of the run, or of the supervisor. May be cancelled.
async fn stopped(phase: &mut watch::Receiver<Phase>) {
    // An error means that the supervisor is gone, which is an end as well.
    let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
}

fn report_lost(client: u32, shared: &Shared, lost: Lost) {
    shared.progress.lost.fetch_add(1, Ordering::Relaxed);
    let code = lost.code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
    let got = format!("{code}, reason {:?}", lost.reason);
    push_violation(client, shared, Kind::Closed, "an open connection", got);
    *shared.desk.borrow_mut().tally.closes.entry((lost.code, lost.reason)).or_default() += 1;
}

fn push_violation(client: u32, shared: &Shared, kind: Kind, expected: &str, got: String) {
    shared.desk.borrow_mut().tally.violations.push(kind, || Violation {
        kind: kind.name(),
        client,
        symbol: String::new(),
        expected: expected.to_owned(),
        got,
        at_us: time::now(),
    });
}
