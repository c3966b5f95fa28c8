//! A script of a feed goes in, what the market tells comes out as text.
//!
//! One input per line; words may follow in any order:
//!
//! | input | words |
//! |---|---|
//! | `connect`, `disconnect`, `timeout` | |
//! | `inst`, `snap`, `delta`, `trade`, `replay`, `status`, `beat` | instrument `i0`, sequence `@42`, epoch `e7`, line `l9`, trade id `#3`, levels `99:1` of bids, `/`, then asks, status by name, increment `step5` |
//! | any | `+500` milliseconds pass before it |

use std::fmt::Write;
use std::sync::Arc;

use market::{Market, MarketLimits, Output};
use model::{
    Epoch, Event, EventBatch, EventBody, FeedStatus, Instrument, InstrumentId, Level, LevelSpan, Nanos,
    OrdType, PairStatus, Price, Qty, Scale, Sequence, Side, Trade, WindowDelta,
};

const DEPTH_10: u8 = 0;

pub(crate) struct Script {
    pub(crate) market: Market,
    line: u64,
    pub(crate) now: Nanos,
}

/// The words of one line of a script.
#[derive(Default)]
struct Words {
    id: u32,
    seq: u64,
    epoch: u64,
    trade_id: u64,
    step: u32,
    status: String,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl Script {
    pub(crate) fn new(limits: MarketLimits) -> Self {
        Self { market: Market::new(limits), line: 0, now: Nanos::from_secs(1_700_000_000) }
    }

    fn words(&mut self, line: &str) -> Words {
        let mut words = Words { epoch: 7, step: 1, ..Words::default() };
        let mut asks = false;
        self.line += 1;
        for word in line.split_whitespace().skip(1) {
            if word == "/" {
                asks = true;
            } else if let Some((price, qty)) = word.split_once(':') {
                let level = Level { price: Price(price.parse().unwrap()), qty: Qty(qty.parse().unwrap()) };
                if asks { &mut words.asks } else { &mut words.bids }.push(level);
            } else if let Some(step) = word.strip_prefix("step") {
                words.step = step.parse().unwrap();
            } else {
                let number = |from: usize| word[from..].parse::<u64>();
                match (word.as_bytes()[0], number(1)) {
                    (b'+', Ok(n)) => self.now = self.now + Nanos::from_millis(n),
                    (b'@', Ok(n)) => words.seq = n,
                    (b'i', Ok(n)) => words.id = n as u32,
                    (b'e', Ok(n)) => words.epoch = n,
                    (b'l', Ok(n)) => self.line = n,
                    (b'#', Ok(n)) => words.trade_id = n,
                    _ => words.status = word.to_owned(),
                }
            }
        }
        words
    }

    fn body(&self, verb: &str, words: &Words) -> EventBody {
        let instrument = InstrumentId(words.id);
        let seq = Sequence(words.seq);
        let levels = LevelSpan { start: 0, bids: words.bids.len() as u32, asks: words.asks.len() as u32 };
        let trade = Trade {
            id: words.trade_id,
            price: Price(100 + words.trade_id as i64),
            qty: Qty(1),
            taker: Side::Bid,
            ord_type: OrdType::Limit,
            ts_event: self.now,
        };
        match verb {
            "inst" => EventBody::Instrument(instrument, Arc::new(definition(words))),
            "snap" => EventBody::BookSnapshot { instrument, seq, levels },
            "delta" => EventBody::BookDelta { instrument, seq, levels },
            "trade" => EventBody::Trade { instrument, seq, trade, replay: false },
            "replay" => {
                // Told again, a trade is the same to the nanosecond.
                let ts_event = Nanos::from_secs(1_700_000_000 + words.trade_id);
                EventBody::Trade { instrument, seq, trade: Trade { ts_event, ..trade }, replay: true }
            }
            "status" => EventBody::Status(FeedStatus::from_name(&words.status).unwrap()),
            "beat" => EventBody::Heartbeat,
            _ => panic!("no input {verb}"),
        }
    }

    /// Gives one line of input and returns what the market tells.
    pub(crate) fn step(&mut self, line: &str) -> String {
        let verb = line.split_whitespace().next().unwrap();
        let words = self.words(line);
        match verb {
            "connect" => {
                self.line = 0;
                self.market.handle_connect(self.now);
            }
            "disconnect" => self.market.handle_disconnect(self.now),
            "timeout" => {
                self.line -= 1;
                self.market.handle_timeout(self.now);
            }
            _ => {
                let body = self.body(verb, &words);
                let event = Event {
                    epoch: Epoch(words.epoch),
                    line: self.line,
                    ts_event: self.now,
                    ts_recv: self.now,
                    body,
                };
                let levels = words.bids.iter().chain(&words.asks).copied().collect();
                self.market.apply(&event, &EventBatch { events: Vec::new(), levels });
            }
        }
        self.told()
    }

    fn told(&mut self) -> String {
        let mut told = Vec::new();
        while let Some(output) = self.market.poll_output() {
            told.push(match output {
                Output::Instrument(id) => format!("inst i{}", id.0),
                Output::Book { instrument, seq, epoch, .. } => {
                    format!("book i{} e{} @{}{}", instrument.0, epoch.0, seq.0, self.window(instrument))
                }
                Output::Bbo { instrument, .. } => format!("bbo i{}", instrument.0),
                Output::Trade { instrument, seq, epoch, trade } => {
                    format!("trade i{} e{} @{} #{}", instrument.0, epoch.0, seq.0, trade.id)
                }
                Output::Stale { instrument, reason } => format!("stale i{} {}", instrument.0, reason.name()),
                Output::Fresh { instrument } => format!("fresh i{}", instrument.0),
                Output::Status(status) => format!("status {}", status.name()),
                Output::Ask(Some(instrument)) => format!("ask i{}", instrument.0),
                Output::Ask(None) => "ask all".to_owned(),
            });
        }
        told.join(", ")
    }

    fn window(&self, id: InstrumentId) -> String {
        let mut delta = WindowDelta::default();
        self.market.window_delta(id, DEPTH_10, &mut delta);
        let mut text = String::new();
        for (index, side) in [&delta.bids, &delta.asks].into_iter().enumerate() {
            text.push_str(if index == 0 { "" } else { " /" });
            for change in side {
                write!(text, " {}:{}", change.level.price.0, change.level.qty.0).unwrap();
            }
        }
        text
    }

    pub(crate) fn book(&self, id: u32) -> String {
        let Some(book) = self.market.book(InstrumentId(id)) else { return "no book".to_owned() };
        let side = |side| book.side(side).map(|l| format!("{}:{} ", l.price.0, l.qty.0)).collect::<String>();
        format!("{}/ {}", side(Side::Bid), side(Side::Ask)).trim_end().to_owned()
    }
}

fn definition(words: &Words) -> Instrument {
    Instrument {
        symbol: format!("C{}/USD", words.id).into(),
        status: PairStatus::from_name(&words.status).unwrap_or_default(),
        price: Scale::from_increment(1, Scale::new(1).decimal(words.step.into())).unwrap(),
        qty: Scale::new(8),
        qty_min: Qty(1),
        cost_decimals: 5,
        cost_min: Scale::new(1).decimal(1),
    }
}

/// Starts with one fresh instrument: bids 99 98, asks 101 102, head 42 of epoch 7, last trade 9 at 41.
const START: &str = "connect\ninst i0\nreplay i0 @41 #9\nsnap i0 @42 99:1 98:1 / 101:1 102:1";

/// A market after [`START`].
pub(crate) fn started(limits: MarketLimits) -> Script {
    let mut script = Script::new(limits);
    START.lines().for_each(|line| drop(script.step(line)));
    assert!(!script.market.is_stale(InstrumentId(0)));
    script
}

/// Gives the lines left of `->` and compares what is told with what stands right of it.
pub(crate) fn check(script: &mut Script, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (input, expected) = line.split_once("->").unwrap();
        assert_eq!(script.step(input), expected.trim(), "{input}");
    }
}

/// [`check`] after [`START`].
pub(crate) fn check_from_start(lines: &str) -> Script {
    let mut script = started(MarketLimits::default());
    check(&mut script, lines);
    script
}
