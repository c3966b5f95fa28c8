//! What stands before a shard when it shares its thread: nothing, or the feed and the engine.
//!
//! In the layout `spread` feed, engine and shards have threads of their own and a shard has nothing before it. In the layout
//! `single` one thread does everything: between two rounds of writes the shard lets feed and engine take a step, so that clients
//! which still wait get what has just arrived, and nothing is handed from thread to thread. Decides nothing: it only says who is
//! next.

use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use model::Nanos;

use crate::engine::Engine;
use crate::feed::Reader;

/// Who takes a step between two rounds of a shard.
pub(crate) trait Upstream {
    /// One step; `true` when there was something to do.
    fn turn(&mut self) -> bool;

    /// When the next step is due even when nothing comes (monotonic).
    fn next_turn(&self) -> Option<Nanos>;

    /// What it waits for is there, or may be.
    fn set_ready(&mut self);

    /// Has what it waits for watched under a token.
    ///
    /// # Errors
    /// The kernel refuses.
    fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()>;
}

/// Nobody: feed and engine have threads of their own.
#[derive(Debug)]
pub(crate) struct Elsewhere;

impl Upstream for Elsewhere {
    fn turn(&mut self) -> bool {
        false
    }

    fn next_turn(&self) -> Option<Nanos> {
        None
    }

    fn set_ready(&mut self) {}

    fn watch(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        Ok(())
    }
}

/// The feed and the engine, on the shard's own thread.
#[derive(Debug)]
pub(crate) struct Here {
    reader: Reader,
    engine: Engine,
    /// Number of the connection whose descriptor is watched.
    watched: u64,
    /// Whether there may be something to read. A socket that was read dry says when there is more, and asking it again costs as much as
    /// a small write.
    ready: bool,
}

impl Here {
    pub(crate) const fn new(reader: Reader, engine: Engine) -> Self {
        Self { reader, engine, watched: 0, ready: true }
    }
}

impl Upstream for Here {
    fn turn(&mut self) -> bool {
        let mut busy = false;
        // An engine that takes nothing would leave the reader without room.
        if !self.engine.is_pressed() && (self.ready || self.reader.is_due()) {
            busy = self.reader.turn(Duration::ZERO);
            self.ready = self.reader.has_more();
        }
        // To the end: the reader's next messages need the room of these.
        while self.engine.turn().is_some_and(|done| done > 0) {
            busy = true;
        }
        busy
    }

    fn next_turn(&self) -> Option<Nanos> {
        Some(self.reader.next_turn().min(self.engine.next_tick()))
    }

    fn set_ready(&mut self) {
        self.ready = true;
    }

    fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self.reader.descriptor() {
            Some((connection, descriptor)) if connection != self.watched => {
                // One that was closed is forgotten by the kernel itself.
                registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
                self.watched = connection;
                self.ready = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
