//! One simulated client: how fast it reads, and the kernel's buffer between it and the hub.

use std::collections::VecDeque;

use fanout::{ClientId, Now, Sink, Written};
use model::{Instrument, Nanos};

use crate::oracle::Oracle;
use crate::rng::Rng;

/// Bytes that the simulated kernel holds for a client that does not read. Small, so that refusals are frequent.
pub(crate) const KERNEL_BYTES: usize = 3_000;

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
    /// Most bytes in `kernel`: beyond that the hub is refused.
    pub(crate) room: usize,
    /// Bytes that the hub sent so far, and of them those that were read as whole frames.
    sent_bytes: u64,
    read_bytes: u64,
    /// Read and not yet a whole frame.
    unparsed: Vec<u8>,
    /// Since when the hub was refused bytes and waits to be told (monotonic).
    pub(crate) refused_since: Option<Nanos>,
    /// It was refused bytes at least once.
    pub(crate) was_refused: bool,
    /// Requests since it was last written, and the most that there ever were: answers to many are too many, whoever reads.
    pub(crate) unwritten: u32,
    pub(crate) unwritten_most: u32,
    stalled_until: u64,
    /// The connection is broken: the next write finds out.
    pub(crate) gone: bool,
    /// Behind so many bytes begins what it is sent as a client that opted in.
    ext_from: Option<u64>,
    /// What it sent in ping frames and was not answered yet, and how many it sent.
    pub(crate) pings: VecDeque<Vec<u8>>,
    pub(crate) pings_sent: u8,
    /// A login of it was not answered yet.
    pub(crate) logs_in: bool,
    /// Codes that it may be closed with because somebody asked for that.
    pub(crate) closings: Vec<u16>,
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
            room: KERNEL_BYTES,
            sent_bytes: 0,
            read_bytes: 0,
            unparsed: Vec::new(),
            refused_since: None,
            was_refused: false,
            unwritten: 0,
            unwritten_most: 0,
            stalled_until: 0,
            gone: false,
            ext_from: None,
            pings: VecDeque::new(),
            pings_sent: 0,
            logs_in: false,
            closings: Vec::new(),
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
        self.read_some(budget, step, instruments, watch)
    }

    /// Reads so many bytes, and gives each whole frame to the oracle.
    ///
    /// # Errors
    /// What the oracle finds wrong.
    pub(crate) fn read_some(
        &mut self,
        bytes: usize,
        step: u64,
        instruments: &[Instrument],
        watch: &mut dyn FnMut(Sent<'_>),
    ) -> Result<(), String> {
        let taken = bytes.min(self.kernel.len());
        self.unparsed.extend(self.kernel.drain(..taken));
        let mut at = 0;
        while let Some((header, len)) = frame_size(&self.unparsed[at..])? {
            let opcode = self.unparsed[at] & 0x0f;
            let payload = &self.unparsed[at + header..at + header + len];
            watch(Sent { step, connection_id: self.connection_id, opcode, payload });
            if self.ext_from.is_some_and(|from| self.read_bytes >= from) {
                self.ext_from = None;
                self.oracle.opt_in();
            }
            self.oracle.at = self.read_bytes;
            match opcode {
                _ if self.oracle.closed.is_some() => return Err("a frame behind the close".into()),
                1 => self
                    .oracle
                    .take(payload, instruments)
                    .map_err(|what| format!("{what}: {}", String::from_utf8_lossy(payload)))?,
                8 if len >= 2 => self.oracle.take_close(u16::from_be_bytes([payload[0], payload[1]]))?,
                10 if take_pong(&mut self.pings, payload) => {}
                other => return Err(format!("a frame with opcode {other}")),
            }
            self.read_bytes += (header + len) as u64;
            at += header + len;
        }
        self.unparsed.drain(..at);
        Ok(())
    }

    /// From here on it is sent what only clients understand that opted in; what is on its way already is not.
    pub(crate) const fn opt_in(&mut self) {
        if !self.oracle.ext && self.ext_from.is_none() {
            self.ext_from = Some(self.sent_bytes);
        }
    }

    /// Bytes that its socket took so far: what comes behind them was not sent yet.
    pub(crate) const fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Whether the gateway knows that it opted in.
    pub(crate) const fn has_opted_in(&self) -> bool {
        self.oracle.ext || self.ext_from.is_some()
    }

    /// Whether the socket takes bytes again after a refusal.
    pub(crate) fn drained(&mut self) -> bool {
        self.kernel.len() < self.room.div_ceil(2) && self.refused_since.take().is_some()
    }

    /// Whether something is on its way to it.
    pub(crate) const fn is_idle(&self) -> bool {
        self.kernel.is_empty() && self.unparsed.is_empty() && self.refused_since.is_none()
    }

    /// Whether it has a connection that is not about to end.
    pub(crate) const fn is_open(&self) -> bool {
        self.oracle.closed.is_none()
    }
}

/// Length of the header and of the payload of the first frame, when it is whole.
///
/// # Errors
/// When it is no frame of a server: in parts, with reserved bits, masked, or with a longer header than it needs.
fn frame_size(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let &[first, code, ..] = bytes else { return Ok(None) };
    let (header, min) = match code {
        126 => (4, 126),
        127 => (10, 0x1_0000),
        _ => (2, 0),
    };
    let Some(long) = bytes.get(2..header) else { return Ok(None) };
    let long = long.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
    let len = if header == 2 { usize::from(code) } else { long };
    if first & 0xf0 != 0x80 || code > 127 || len < min {
        return Err(format!("no frame: {:02x?}", &bytes[..header]));
    }
    Ok((bytes.len() - header >= len).then_some((header, len)))
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
        let Some(client) = self.clients.find(id).filter(|client| !client.gone) else {
            return Written::Gone;
        };
        let room = client.room.saturating_sub(client.kernel.len());
        let taken = room.min(bytes.len());
        client.kernel.extend_from_slice(&bytes[..taken]);
        client.sent_bytes += taken as u64;
        client.unwritten = 0;
        if taken < bytes.len() {
            client.refused_since.get_or_insert(self.now.mono);
            client.was_refused = true;
        }
        Written::Bytes(taken)
    }

    fn now(&mut self) -> Now {
        self.now
    }
}

/// Takes an answer to a ping; of those that the gateway took while the client did not read only the newest is answered.
fn take_pong(pings: &mut VecDeque<Vec<u8>>, payload: &[u8]) -> bool {
    let at = pings.iter().position(|ping| ping == payload);
    pings.drain(..at.map_or(0, |at| at + 1));
    at.is_some()
}
