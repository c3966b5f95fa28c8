//! One simulated client: how fast it reads, and the kernel's buffer between it and the hub.

use fanout::{ClientId, Now, Sink, Written};
use model::Instrument;

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
    /// Everything, every few steps.
    Bursty,
}

/// A client with its socket.
#[derive(Debug)]
pub(crate) struct SimClient {
    pub(crate) id: ClientId,
    pub(crate) connection_id: u64,
    pub(crate) temper: Temper,
    /// Sends what makes no sense, between what does.
    pub(crate) lies: bool,
    /// Sent by the hub and not yet read.
    kernel: Vec<u8>,
    /// Read and not yet a whole frame.
    unparsed: Vec<u8>,
    /// The hub was refused bytes and waits to be told.
    refused: bool,
    stalled_until: u64,
    pub(crate) oracle: Oracle,
}

/// Whom a message was for, and what it was.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The step in which it was read.
    pub step: u64,
    /// Number of the connection.
    pub connection_id: u64,
    /// Opcode of its frame.
    pub opcode: u8,
    /// Its text, or the code and reason of a close.
    pub payload: &'a [u8],
}

impl SimClient {
    pub(crate) fn new(id: ClientId, connection_id: u64, ext: bool, lies: bool, rng: &mut Rng) -> Self {
        let temper = match rng.below(8) {
            0 | 1 => Temper::Slow,
            2 | 3 => Temper::Stalling,
            4 => Temper::Bursty,
            _ => Temper::Fast,
        };
        Self {
            id,
            connection_id,
            temper,
            lies,
            kernel: Vec::new(),
            unparsed: Vec::new(),
            refused: false,
            stalled_until: 0,
            oracle: Oracle::new(ext),
        }
    }

    /// Reads as its temper says, and gives each whole frame to the oracle.
    ///
    /// # Errors
    /// What the oracle finds wrong.
    pub(crate) fn read(
        &mut self,
        step: u64,
        rng: &mut Rng,
        instruments: &[Instrument],
        watch: &mut dyn FnMut(Sent<'_>),
    ) -> Result<(), String> {
        const BURST_STEPS: u64 = 24;
        if self.temper == Temper::Stalling && step >= self.stalled_until && rng.one_in(200) {
            self.stalled_until = step + rng.below(400);
        }
        let budget = match self.temper {
            Temper::Fast => usize::MAX,
            Temper::Slow => rng.below(120) as usize,
            Temper::Stalling if step < self.stalled_until => 0,
            Temper::Bursty if !(step + self.connection_id).is_multiple_of(BURST_STEPS) => 0,
            Temper::Stalling | Temper::Bursty => usize::MAX,
        };
        let taken = budget.min(self.kernel.len());
        self.unparsed.extend(self.kernel.drain(..taken));
        let mut at = 0;
        while let Some((header, len)) = frame_size(&self.unparsed[at..]) {
            let opcode = self.unparsed[at] & 0x0f;
            let payload = &self.unparsed[at + header..at + header + len];
            watch(Sent { step, connection_id: self.connection_id, opcode, payload });
            match opcode {
                1 => self
                    .oracle
                    .take(payload, instruments)
                    .map_err(|what| format!("{what}: {}", String::from_utf8_lossy(payload)))?,
                8 if len >= 2 => self.oracle.closed = Some(u16::from_be_bytes([payload[0], payload[1]])),
                other => return Err(format!("a frame with opcode {other}")),
            }
            at += header + len;
        }
        self.unparsed.drain(..at);
        Ok(())
    }

    /// Whether the socket takes bytes again after a refusal.
    pub(crate) fn drained(&mut self) -> bool {
        self.kernel.len() < KERNEL_BYTES / 2 && std::mem::take(&mut self.refused)
    }

    /// Whether something is on its way to it.
    pub(crate) const fn is_idle(&self) -> bool {
        self.kernel.is_empty() && self.unparsed.is_empty() && !self.refused
    }

    /// Whether it has a connection that is not about to end.
    pub(crate) const fn is_open(&self) -> bool {
        self.oracle.closed.is_none()
    }
}

/// Length of the header and of the payload of the first frame, when it is whole.
fn frame_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, len) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    (bytes.len().checked_sub(header)? >= len).then_some((header, len))
}

/// The clients of one hub, found by their number.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// By [`ClientId`].
    slots: Vec<Option<SimClient>>,
    /// Who is there, in the order of arrival but for the last, which takes the place of who leaves.
    present: Vec<ClientId>,
}

impl Clients {
    pub(crate) const fn len(&self) -> usize {
        self.present.len()
    }

    pub(crate) fn insert(&mut self, client: SimClient) {
        let index = client.id.0 as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.present.push(client.id);
        self.slots[index] = Some(client);
    }

    pub(crate) fn remove(&mut self, id: ClientId) {
        if let Some(at) = self.present.iter().position(|&one| one == id) {
            self.present.swap_remove(at);
            self.slots[id.0 as usize] = None;
        }
    }

    pub(crate) fn find(&mut self, id: ClientId) -> Option<&mut SimClient> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    /// Any of them.
    pub(crate) fn pick(&mut self, rng: &mut Rng) -> Option<&mut SimClient> {
        let count = self.present.len() as u64;
        let id = *self.present.get(rng.below(count.max(1)) as usize)?;
        self.find(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SimClient> {
        self.slots.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SimClient> {
        self.slots.iter_mut().flatten()
    }
}

/// The sockets of one hub.
#[derive(Debug)]
pub(crate) struct Sockets<'a> {
    pub(crate) clients: &'a mut Clients,
    pub(crate) now: Now,
}

impl Sink for Sockets<'_> {
    fn write(&mut self, id: ClientId, bytes: &[u8]) -> Written {
        let Some(client) = self.clients.find(id) else {
            return Written::Gone;
        };
        let room = KERNEL_BYTES.saturating_sub(client.kernel.len());
        let taken = room.min(bytes.len());
        client.kernel.extend_from_slice(&bytes[..taken]);
        client.refused |= taken < bytes.len();
        Written::Bytes(taken)
    }

    fn now(&mut self) -> Now {
        self.now
    }
}
