//! The client's connection: what the hub writes goes over a link, and whole frames come out with the time of their receipt.
//!
//! Never reads a clock: the time is set before each turn. Frames are put together as they are written, because a link tells at
//! once when a byte will have been received.

use std::collections::VecDeque;

use fanout::{ClientId, Now, Sink, Written};
use model::Nanos;

use super::link::Link;
use super::message::{Frame, Frames};

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) link: Link,
    pub(super) now: Now,
    frames: Frames,
    /// Whole frames with the times at which the client has them, in their order.
    pub(super) inbox: VecDeque<(Nanos, Frame)>,
}

impl Socket {
    pub(super) fn new(link: Link) -> Self {
        Self { link, now: Now::default(), frames: Frames::default(), inbox: VecDeque::new() }
    }
}

impl Sink for Socket {
    fn write(&mut self, _client: ClientId, bytes: &[u8]) -> Written {
        let taken = self.link.write(self.now.mono, bytes.len());
        let Self { link, frames, inbox, .. } = self;
        frames.push(&bytes[..taken], |frame, behind| inbox.push_back((link.received_at(behind), frame)));
        Written::Bytes(taken)
    }

    fn now(&mut self) -> Now {
        self.now
    }
}
