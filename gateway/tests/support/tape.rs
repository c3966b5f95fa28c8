//! A feed whose every line is sent when the test says so: a recording or a simulator over real TCP.
//!
//! Owns the listener, the gateway's connection and the venue. Between two steps nothing is sent, so that what a client
//! has to know at that moment is known exactly.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

use feed_sim::{
    Event, Lines, NEVER, ReplayConfig, Sink, SourceConfig, Speed, Stamper, Venue, VenueCheck, now,
    tell_opening,
};
use model::{Epoch, FeedStatus, Instrument, Level, Nanos, PairStatus};

use super::book::Book;
use super::truth::Truth;

/// What the venue said about its book right after an event.
#[derive(Clone, Debug)]
pub struct Said {
    pub symbol: String,
    /// The event.
    pub seq: u64,
    pub check: VenueCheck,
}

/// A venue and one connection to it.
pub struct TapeFeed {
    listener: TcpListener,
    stream: Option<TcpStream>,
    venue: Box<dyn Venue>,
    stamper: Stamper,
    sent: Sent,
}

impl std::fmt::Debug for TapeFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapeFeed").field("line", &self.stamper.line()).finish_non_exhaustive()
    }
}

/// Collects lines, and on the way what they were about.
#[derive(Default)]
struct Sent {
    lines: Lines,
    /// Events since the step began.
    events: usize,
    events_max: usize,
    /// Instruments in the order in which they were announced.
    instruments: Vec<Instrument>,
    /// Position of the last event of each symbol.
    seqs: BTreeMap<String, u64>,
    said: Vec<Said>,
}

impl Sink for Sent {
    fn event(&mut self, epoch: Epoch, ts: Nanos, event: &Event<'_>) {
        match event {
            Event::Instrument(one) => self.instruments.push((*one).clone()),
            Event::BookSnapshot { instrument, seq, .. }
            | Event::BookDelta { instrument, seq, .. }
            | Event::Trade { instrument, seq, replay: false, .. } => {
                self.seqs.insert(instrument.symbol.to_string(), seq.0);
                self.events += 1;
            }
            _ => {}
        }
        self.lines.event(epoch, ts, event);
    }

    fn check(&mut self, instrument: &Instrument, check: VenueCheck) {
        let symbol = instrument.symbol.to_string();
        let seq = self.seqs[&symbol];
        self.said.push(Said { symbol, seq, check });
    }

    fn is_full(&self) -> bool {
        // A check belongs to the event before it.
        self.events >= self.events_max
    }
}

/// Takes books and nothing else.
#[derive(Default)]
struct Truths(BTreeMap<String, Truth>);

impl Sink for Truths {
    fn event(&mut self, _epoch: Epoch, _ts: Nanos, event: &Event<'_>) {
        let Event::BookSnapshot { instrument, seq, levels } = *event else { return };
        let units = |level: &Level| {
            let (price, qty) = (instrument.price.units(level.price.0), instrument.qty.units(level.qty.0));
            (price.unsigned_abs(), qty.unsigned_abs())
        };
        let side = |levels: &[Level]| levels.iter().map(units).collect();
        let book = Book { bids: side(levels.bids), asks: side(levels.asks) };
        self.0.insert(instrument.symbol.to_string(), Truth { seq: seq.0, book });
    }
}

impl TapeFeed {
    /// A recording of feed-sim's, as fast as the test wants it.
    pub fn recording(path: &str) -> Self {
        let path = format!("{}/../feed-sim/data/{path}", env!("CARGO_MANIFEST_DIR"));
        Self::open(&SourceConfig::Replay(ReplayConfig { speed: Speed::Max, ..ReplayConfig::new(path) }))
    }

    pub fn open(source: &SourceConfig) -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            stream: None,
            venue: source.open().expect("the source opens"),
            stamper: Stamper::default(),
            sent: Sent::default(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes the gateway's connection and tells what a connection begins with.
    pub fn begin(&mut self) {
        self.stream = Some(self.listener.accept().expect("the gateway connects").0);
        self.stamper = Stamper::default();
        self.sent.instruments.clear();
        tell_opening(&mut *self.venue, now(), &mut self.sent);
        self.flush();
    }

    /// Ends the connection and becomes another venue, as after a restart; the gateway comes again for [`Self::begin`].
    pub fn restart(&mut self, source: &SourceConfig) {
        self.stream = None;
        self.venue = source.open().expect("the source opens");
    }

    /// Tells the next events, about so many; `false` when there are no more.
    pub fn step(&mut self, events: usize) -> bool {
        self.sent.events_max = events;
        self.venue.poll(now(), &mut self.sent);
        self.flush();
        self.venue.next_due() != NEVER
    }

    /// Loses the next events, about so many, and the numbers of their lines. To be seen by the next line that is told.
    pub fn lose(&mut self, events: usize) {
        let mut lost = Sent { events_max: events, seqs: self.sent.seqs.clone(), ..Sent::default() };
        // The first poll of all only starts the venue's time.
        while lost.lines.is_empty() {
            self.venue.poll(now(), &mut lost);
        }
        (0..lost.lines.len()).for_each(|_| self.sent.lines.skip());
        self.sent.seqs = lost.seqs;
    }

    /// Tells the latest trades and the book of every symbol, as if it had been asked.
    pub fn tell_books(&mut self) {
        for index in 0..self.venue.symbols() {
            self.venue.tell(index, false, now(), &mut self.sent);
        }
        self.flush();
    }

    /// Tells another state of the first instrument: a client that takes instruments and was told of it has been sent
    /// everything before it.
    pub fn barrier(&mut self, status: PairStatus) -> String {
        let one = Instrument { status, ..self.sent.instruments[0].clone() };
        let epoch = self.venue.epoch();
        self.sent.lines.event(epoch, now(), &Event::Instrument(&one));
        self.flush();
        one.symbol.to_string()
    }

    /// Tells the state of the venue.
    pub fn status(&mut self, status: FeedStatus) {
        let epoch = self.venue.epoch();
        self.sent.lines.event(epoch, now(), &Event::Status(status));
        self.flush();
    }

    /// Ends the connection, and lets no other one be made.
    pub fn end(self) {}

    pub fn symbols(&self) -> Vec<String> {
        self.sent.instruments.iter().map(|one| one.symbol.to_string()).collect()
    }

    pub fn instrument(&self, symbol: &str) -> &Instrument {
        let mut instruments = self.sent.instruments.iter();
        instruments.find(|one| &*one.symbol == symbol).expect("it was announced")
    }

    /// The venue's books as they are now.
    pub fn truths(&mut self) -> BTreeMap<String, Truth> {
        let mut truths = Truths::default();
        for index in 0..self.venue.symbols() {
            self.venue.tell(index, false, now(), &mut truths);
        }
        truths.0
    }

    /// What the venue said so far.
    pub fn said(&self) -> &[Said] {
        &self.sent.said
    }

    fn flush(&mut self) {
        let mut out = Vec::new();
        self.stamper.stamp(&self.sent.lines, &mut out);
        self.sent.lines.clear();
        self.sent.events = 0;
        let stream = self.stream.as_mut().expect("a connection that began");
        stream.write_all(&out).expect("the gateway reads its feed");
    }
}
