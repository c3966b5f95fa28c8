//! One simulated client: how fast it reads, what it asks for, and the kernel's buffer between it and the hub.

use fanout::{ClientId, Now, Sink, Written};
use model::Nanos;

use crate::oracle::Oracle;
use crate::rng::Rng;

/// Bytes that the simulated kernel holds for a client that does not read. Small, so that refusals are frequent.
const KERNEL_BYTES: usize = 3_000;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Everything at once.
    Fast,
    /// A few bytes per step.
    Slow,
    /// Nothing for long, then everything.
    Stalling,
}

/// A client with its socket.
#[derive(Debug)]
pub(crate) struct SimClient {
    pub(crate) id: ClientId,
    pub(crate) temper: Temper,
    /// Sent by the hub and not yet read.
    kernel: Vec<u8>,
    /// Read and not yet a whole frame.
    unparsed: Vec<u8>,
    /// The hub was refused bytes and waits to be told.
    pub(crate) refused: bool,
    pub(crate) stalled_until: u64,
    pub(crate) oracle: Oracle,
}

impl SimClient {
    pub(crate) fn new(id: ClientId, ext: bool, rng: &mut Rng) -> Self {
        let temper = match rng.below(4) {
            0 => Temper::Slow,
            1 => Temper::Stalling,
            _ => Temper::Fast,
        };
        let oracle = Oracle { ext, ..Oracle::default() };
        Self {
            id,
            temper,
            kernel: Vec::new(),
            unparsed: Vec::new(),
            refused: false,
            stalled_until: 0,
            oracle,
        }
    }

    /// Reads as its temper says; gives whole frames as (opcode, payload).
    pub(crate) fn read(&mut self, step: u64, rng: &mut Rng) -> Vec<(u8, Vec<u8>)> {
        if self.temper == Temper::Stalling && step >= self.stalled_until && rng.one_in(200) {
            self.stalled_until = step + rng.below(400);
        }
        let budget = match self.temper {
            Temper::Fast => usize::MAX,
            Temper::Slow => rng.below(120) as usize,
            Temper::Stalling if step < self.stalled_until => 0,
            Temper::Stalling => usize::MAX,
        };
        let taken = budget.min(self.kernel.len());
        self.unparsed.extend(self.kernel.drain(..taken));
        self.frames()
    }

    /// Whether the socket takes bytes again after a refusal.
    pub(crate) fn drained(&mut self) -> bool {
        self.kernel.len() < KERNEL_BYTES / 2 && std::mem::take(&mut self.refused)
    }

    fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((header, len)) = frame_size(&self.unparsed) {
            let frame: Vec<u8> = self.unparsed.drain(..header + len).collect();
            frames.push((frame[0] & 0x0f, frame[header..].to_vec()));
        }
        frames
    }
}

/// Length of the header and of the payload of the first frame, when it is whole.
fn frame_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, len) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= header + len).then_some((header, len))
}

/// The sockets of one hub.
#[derive(Debug)]
pub(crate) struct Sockets<'a> {
    pub(crate) clients: &'a mut Vec<SimClient>,
    pub(crate) now: Nanos,
}

impl Sink for Sockets<'_> {
    fn write(&mut self, id: ClientId, bytes: &[u8]) -> Written {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return Written::Gone;
        };
        let room = KERNEL_BYTES.saturating_sub(client.kernel.len());
        let taken = room.min(bytes.len());
        client.kernel.extend_from_slice(&bytes[..taken]);
        client.refused |= taken < bytes.len();
        Written::Bytes(taken)
    }

    fn now(&mut self) -> Now {
        Now { mono: self.now, wall: self.now }
    }
}
