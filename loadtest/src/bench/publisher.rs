//! The publisher of records: updates at a rate, in ticks, for the floor and the peers.
//!
//! Owns the listening socket and a thread. Every update carries the time at which it left, or, when the publisher was
//! held up by more than a tick, the time at which it should have left: a stall is measured, not left out. Never waits
//! for a server that does not read. The gateway has its own feed ([`super::feed`]), in ticks of the same length.

use super::payload::Payload;
use super::proc;
use super::work::Dice;
use crate::time::{self, Micros};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often updates leave.
pub(crate) const TICK: Duration = Duration::from_micros(500);
/// Most ticks that are slept through when nothing is due: how late a new rate may take effect.
const TICKS_ASLEEP_MAX: u64 = 8;
/// Most bytes that are written at once.
const WRITE_BYTES_MAX: usize = 4 << 20;
/// How long a write may wait before the publisher looks whether it should end.
const WRITE_PATIENCE: Duration = Duration::from_millis(100);

/// What the thread and its owner tell each other; plain numbers that nothing is ordered by.
#[derive(Debug, Default)]
struct Desk {
    /// Bits of the rate in updates per second.
    rate: AtomicU64,
    published: AtomicU64,
    /// The longest time between the end of a tick and its last update, since it was asked for.
    late_us: AtomicU64,
    /// The thread's number, once it runs.
    thread: AtomicU64,
    is_connected: AtomicBool,
    is_over: AtomicBool,
}

/// A running publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    address: SocketAddr,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Listens on a free port, and waits there for one reader. It publishes nothing until it has a rate.
    pub(crate) fn start(payload: Payload) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk::default());
        let shared = Arc::clone(&desk);
        let run = move || {
            shared.thread.store(proc::own_thread().unwrap_or(0).into(), Ordering::Relaxed);
            if let Some(stream) = accept(&listener, &shared) {
                // A server that has gone is seen by the crowd.
                let _ = publish(stream, payload, &shared);
            }
        };
        let thread = thread::Builder::new().name("publisher".to_owned()).spawn(run)?;
        Ok(Self { address, desk, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the server has connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.desk.is_connected.load(Ordering::Relaxed)
    }

    /// Updates per second from now on; 0 is none.
    pub(crate) fn set_rate(&self, rate: f64) {
        self.desk.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Updates so far.
    pub(crate) fn published(&self) -> u64 {
        self.desk.published.load(Ordering::Relaxed)
    }

    /// How much later than due an update was written, at most, since this was last asked.
    pub(crate) fn take_late(&self) -> Duration {
        Duration::from_micros(self.desk.late_us.swap(0, Ordering::Relaxed))
    }

    /// CPU time of its thread so far.
    pub(crate) fn cpu(&self) -> Duration {
        let thread = self.desk.thread.load(Ordering::Relaxed);
        proc::thread_cpu(std::process::id(), thread as u32).unwrap_or_default()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.desk.is_over.store(true, Ordering::Relaxed);
        // Wakes a thread that still waits for its reader.
        drop(TcpStream::connect_timeout(&self.address, WRITE_PATIENCE));
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; a panic of it was printed.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, desk: &Desk) -> Option<TcpStream> {
    let (stream, _) = listener.accept().ok()?;
    stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(WRITE_PATIENCE))).ok()?;
    let is_over = desk.is_over.load(Ordering::Relaxed);
    desk.is_connected.store(!is_over, Ordering::Relaxed);
    (!is_over).then_some(stream)
}

fn publish(mut stream: TcpStream, mut payload: Payload, desk: &Desk) -> io::Result<()> {
    let mut dice = Dice(1);
    let mut schedule = Schedule::new(Instant::now(), time::now());
    let mut out = Vec::with_capacity(WRITE_BYTES_MAX);
    while !desk.is_over.load(Ordering::Relaxed) {
        schedule.set_rate(f64::from_bits(desk.rate.load(Ordering::Relaxed)));
        thread::sleep(schedule.next_due().saturating_duration_since(Instant::now()));
        let mut updates = 0;
        let (now, wall) = (Instant::now(), time::now());
        while let Some(tick) = schedule.poll(now, wall) {
            payload.set_time(tick.stamp);
            for _ in 0..tick.updates {
                let symbol = dice.below(payload.symbols());
                payload.push(symbol, &mut out);
                updates += 1;
            }
            if out.len() > WRITE_BYTES_MAX {
                break;
            }
        }
        write_all(&mut stream, &out, desk)?;
        out.clear();
        desk.published.fetch_add(updates, Ordering::Relaxed);
        if updates > 0 {
            let late = schedule.late(Instant::now());
            desk.late_us.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Writes everything, however long it takes, unless it is over.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8], desk: &Desk) -> io::Result<()> {
    while !bytes.is_empty() && !desk.is_over.load(Ordering::Relaxed) {
        match stream.write(bytes) {
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What leaves at the end of a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tick {
    updates: u64,
    stamp: Micros,
}

/// When how many updates leave, on a time that the caller brings.
#[derive(Clone, Debug)]
struct Schedule {
    start: Instant,
    wall: Micros,
    rate: f64,
    /// Ticks whose updates have left.
    ticks: u64,
    /// Updates that are due and not whole yet.
    owed: f64,
}

impl Schedule {
    const fn new(start: Instant, wall: Micros) -> Self {
        Self { start, wall, rate: 0.0, ticks: 0, owed: 0.0 }
    }

    const fn set_rate(&mut self, rate: f64) {
        if rate != self.rate {
            self.rate = rate;
            self.owed = 0.0;
        }
    }

    fn end_of(&self, tick: u64) -> Instant {
        self.start + TICK * u32::try_from(tick).unwrap_or(u32::MAX)
    }

    /// When something is due, or a new rate should be looked for.
    fn next_due(&self) -> Instant {
        let per_tick = self.rate * TICK.as_secs_f64();
        let ticks = ((1.0 - self.owed) / per_tick).ceil().max(1.0);
        self.end_of(self.ticks + (ticks as u64).min(TICKS_ASLEEP_MAX))
    }

    /// The next tick that has ended and has updates.
    fn poll(&mut self, now: Instant, wall: Micros) -> Option<Tick> {
        while self.end_of(self.ticks + 1) <= now {
            self.ticks += 1;
            self.owed += self.rate * TICK.as_secs_f64();
            // Sums of a rate that is no whole number a tick come out a little short of whole ones.
            let updates = (self.owed + 1e-9).floor();
            if updates >= 1.0 {
                self.owed -= updates;
                return Some(Tick { updates: updates as u64, stamp: self.stamp(now, wall) });
            }
        }
        None
    }

    /// Now, unless that is more than a tick late.
    fn stamp(&self, now: Instant, wall: Micros) -> Micros {
        if self.late(now) < TICK {
            wall
        } else {
            self.wall + (TICK.as_micros() as Micros) * self.ticks as Micros
        }
    }

    /// How long the last tick has been over.
    fn late(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.end_of(self.ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_US: Micros = TICK.as_micros() as Micros;

    #[test]
    fn a_rate_is_kept_over_many_ticks() {
        for rate in [60.0, 1_000.0, 12_345.0, 200_000.0] {
            let start = Instant::now();
            let mut schedule = Schedule::new(start, 0);
            schedule.set_rate(rate);
            let (mut told, mut at) = (0, start);
            while at < start + Duration::from_secs(3) {
                at = schedule.next_due();
                while let Some(tick) = schedule.poll(at, 7) {
                    told += tick.updates;
                    assert_eq!(tick.stamp, 7, "on time, so stamped with the time of leaving");
                }
            }
            assert!((told as f64 - 3.0 * rate).abs() <= 1.0, "{told} at {rate}");
        }
    }

    #[test]
    fn held_up_updates_carry_the_time_at_which_they_should_have_left() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1_000_000);
        schedule.set_rate(2_000.0);
        // Four ticks late by a little less than a tick at the last.
        let now = start + TICK * 4 + TICK * 9 / 10;
        let wall = 1_000_000 + 5 * TICK_US;
        let stamps: Vec<Micros> = std::iter::from_fn(|| schedule.poll(now, wall)).map(|t| t.stamp).collect();
        assert_eq!(stamps, [1, 2, 3, 5].map(|tick| 1_000_000 + tick * TICK_US));
        assert_eq!(schedule.late(now), TICK * 9 / 10);
    }

    #[test]
    fn without_a_rate_nothing_is_due() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 0);
        assert_eq!(schedule.next_due(), start + TICK * TICKS_ASLEEP_MAX as u32);
        assert_eq!(schedule.poll(start + Duration::from_secs(1), 0), None);
    }
}
