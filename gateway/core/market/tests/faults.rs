//! A feed that loses, repeats, garbles and restarts at random, against what truly happened.
//!
//! The venue keeps naive books. Whatever is done to its events on the way, the market must be right
//! whenever it says that it is fresh, a truncating client must hold the market's windows after every
//! event, sequences must only grow, and once the feed behaves everything must be fresh and equal.
#![expect(clippy::unwrap_used, reason = "a broken invariant fails its test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use market::{Market, MarketLimits, Output};
use model::{
    DEPTHS, Epoch, Event, EventBatch, EventBody, Instrument, InstrumentId, Level, LevelSpan, Nanos, OrdType,
    PairStatus, Price, Qty, Scale, Sequence, Side, Trade, WindowDelta,
};
use proptest::prelude::*;

const INSTRUMENTS: usize = 2;
/// Indexes into [`DEPTHS`] of the windows that are followed.
const FOLLOWED: [u8; 2] = [0, 1];
const TRADES_TOLD_AGAIN: usize = 5;

/// From price to quantity; bids at negated prices, so that the best comes first.
type SideMap = BTreeMap<i64, i64>;

fn key(side: Side, price: i64) -> i64 {
    if side == Side::Bid { -price } else { price }
}

fn set(map: &mut SideMap, key: i64, qty: i64) {
    if qty == 0 {
        map.remove(&key);
    } else {
        map.insert(key, qty);
    }
}

#[derive(Default)]
struct Truth {
    sides: [SideMap; 2],
    seq: u64,
    trades: Vec<(u64, Trade)>,
}

/// What a client was told of one instrument.
#[derive(Default)]
struct Client {
    windows: [[SideMap; 2]; FOLLOWED.len()],
    fresh: bool,
    book: Option<(Epoch, Sequence)>,
    trade: Option<(Epoch, Sequence, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Deliver,
    LoseLine,
    LoseQuietly,
    SendTwice,
    SendAgain,
    Garble,
}

#[derive(Clone, Debug)]
enum Step {
    Delta(usize, Act, Vec<(i64, i64)>),
    Trade(usize, Act),
    Answer,
    Time,
    Reconnect,
    Restart,
}

struct World {
    market: Market,
    truth: [Truth; INSTRUMENTS],
    clients: [Client; INSTRUMENTS],
    /// What the market asked for and has not got.
    asked: Vec<Option<InstrumentId>>,
    epoch: u64,
    line: u64,
    now: Nanos,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            market: Market::new(MarketLimits::default()),
            truth: Default::default(),
            clients: Default::default(),
            asked: Vec::new(),
            epoch: 1,
            line: 0,
            now: Nanos::from_secs(1_700_000_000),
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.market.handle_disconnect(self.now);
        self.drain();
        self.market.handle_connect(self.now);
        self.line = 0;
        self.asked.clear();
        for id in 0..INSTRUMENTS {
            let definition = Instrument {
                symbol: format!("C{id}/USD").into(),
                status: PairStatus::Online,
                price: Scale::new(1),
                qty: Scale::new(8),
                qty_min: Qty(1),
                cost_decimals: 5,
                cost_min: Scale::new(1).decimal(1),
            };
            self.send(EventBody::Instrument(InstrumentId(id as u32), Arc::new(definition)), Vec::new());
            self.answer(id);
        }
    }

    /// Latest trades and the snapshot.
    fn answer(&mut self, id: usize) {
        let instrument = InstrumentId(id as u32);
        for index in
            self.truth[id].trades.len().saturating_sub(TRADES_TOLD_AGAIN)..self.truth[id].trades.len()
        {
            let (seq, trade) = self.truth[id].trades[index];
            self.send(EventBody::Trade { instrument, seq: Sequence(seq), trade, replay: true }, Vec::new());
        }
        let truth = &self.truth[id];
        let side = |side: Side| {
            let of = truth.sides[side as usize].iter();
            of.map(move |(&k, &qty)| Level { price: Price(k.abs()), qty: Qty(qty) })
        };
        let levels: Vec<_> = side(Side::Bid).chain(side(Side::Ask)).collect();
        let bids = truth.sides[0].len() as u32;
        let span = LevelSpan { start: 0, bids, asks: levels.len() as u32 - bids };
        let seq = Sequence(truth.seq);
        self.send(EventBody::BookSnapshot { instrument, seq, levels: span }, levels);
    }

    fn send(&mut self, body: EventBody, levels: Vec<Level>) {
        self.line += 1;
        self.send_as(self.line, body, levels);
    }

    fn send_as(&mut self, line: u64, body: EventBody, levels: Vec<Level>) {
        let event = Event { epoch: Epoch(self.epoch), line, ts_event: self.now, ts_recv: self.now, body };
        // Looking ahead changes nothing, also when what is looked for is not there.
        self.market.warm((0..=INSTRUMENTS as u32).map(InstrumentId));
        self.market.apply(&event, &EventBatch { events: Vec::new(), levels });
        self.drain();
    }

    fn deliver(&mut self, act: Act, body: EventBody, levels: Vec<Level>) {
        match act {
            Act::Deliver | Act::Garble => self.send(body, levels),
            Act::LoseLine => self.line += 1,
            Act::LoseQuietly => {}
            Act::SendTwice => {
                self.send(body.clone(), levels.clone());
                self.send(body, levels);
            }
            Act::SendAgain => {
                self.send(body.clone(), levels.clone());
                self.send_as(self.line, body, levels);
            }
        }
    }

    fn step(&mut self, step: Step) {
        self.now = self.now + Nanos::from_millis(100);
        match step {
            Step::Delta(id, act, changes) => self.delta(id, act, changes),
            Step::Trade(id, act) => self.trade(id, act),
            Step::Answer => {
                for asked in std::mem::take(&mut self.asked) {
                    let ids = asked.map_or(0..INSTRUMENTS, |id| id.index()..id.index() + 1);
                    ids.for_each(|id| self.answer(id));
                }
            }
            Step::Time => {
                self.now = self.now + Nanos::SECOND;
                self.market.handle_timeout(self.now);
                self.drain();
            }
            Step::Reconnect => self.connect(),
            Step::Restart => {
                self.epoch += 1;
                for truth in &mut self.truth {
                    truth.seq = 0;
                    for (seq, _) in &mut truth.trades {
                        truth.seq += 1;
                        *seq = truth.seq;
                    }
                }
                self.connect();
            }
        }
        self.check();
    }

    fn delta(&mut self, id: usize, act: Act, changes: Vec<(i64, i64)>) {
        let truth = &mut self.truth[id];
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        for (price, qty) in changes {
            let (side, into) = if price < 50 { (Side::Bid, &mut bids) } else { (Side::Ask, &mut asks) };
            into.push(Level { price: Price(price), qty: Qty(qty) });
            set(&mut truth.sides[side as usize], key(side, price), qty);
        }
        if matches!(act, Act::Garble) {
            bids.push(Level { price: Price(99), qty: Qty(1) });
            asks.push(Level { price: Price(99), qty: Qty(1) });
        }
        truth.seq += 1;
        let levels = LevelSpan { start: 0, bids: bids.len() as u32, asks: asks.len() as u32 };
        let (instrument, seq) = (InstrumentId(id as u32), Sequence(truth.seq));
        bids.extend(asks);
        self.deliver(act, EventBody::BookDelta { instrument, seq, levels }, bids);
    }

    fn trade(&mut self, id: usize, act: Act) {
        let truth = &mut self.truth[id];
        truth.seq += 1;
        let trade = Trade {
            id: truth.trades.len() as u64,
            price: Price(50),
            qty: Qty(1),
            taker: Side::Ask,
            ord_type: OrdType::Market,
            ts_event: self.now,
        };
        truth.trades.push((truth.seq, trade));
        let (instrument, seq) = (InstrumentId(id as u32), Sequence(truth.seq));
        self.deliver(act, EventBody::Trade { instrument, seq, trade, replay: false }, Vec::new());
    }

    fn drain(&mut self) {
        while let Some(output) = self.market.poll_output() {
            match output {
                Output::Book { instrument, seq, epoch, .. } => {
                    let client = &mut self.clients[instrument.index()];
                    assert!(client.book < Some((epoch, seq)), "{:?} then {output:?}", client.book);
                    client.book = Some((epoch, seq));
                    assert_eq!(self.market.head(instrument), (epoch, seq));
                    follow(&self.market, instrument, client);
                }
                Output::Trade { instrument, seq, epoch, trade } => {
                    let last = &mut self.clients[instrument.index()].trade;
                    if let Some((last_epoch, last_seq, last_id)) = *last
                        && last_epoch == epoch
                    {
                        assert!(seq > last_seq && trade.id > last_id, "{last:?} then {output:?}");
                    }
                    *last = Some((epoch, seq, trade.id));
                }
                Output::Stale { instrument, .. } => {
                    assert!(std::mem::replace(&mut self.clients[instrument.index()].fresh, false));
                }
                Output::Fresh { instrument } => {
                    assert!(!std::mem::replace(&mut self.clients[instrument.index()].fresh, true));
                }
                Output::Ask(asked) => self.asked.push(asked),
                Output::Bbo { .. } | Output::Instrument(_) | Output::Status(_) => {}
            }
        }
    }

    fn check(&self) {
        for (id, (truth, client)) in self.truth.iter().zip(&self.clients).enumerate() {
            let id = InstrumentId(id as u32);
            assert_eq!(self.market.is_stale(id), !client.fresh);
            let book = self.market.book(id).unwrap();
            for side in Side::BOTH {
                let level = |level: Level| (key(side, level.price.0), level.qty.0);
                if client.fresh && self.market.head(id) == (Epoch(self.epoch), Sequence(truth.seq)) {
                    let held: SideMap = book.side(side).map(level).collect();
                    assert_eq!(held, truth.sides[side as usize], "fresh and wrong");
                }
                for (window, depth) in client.windows.iter().zip(FOLLOWED) {
                    let held = book.top(side, DEPTHS[usize::from(depth)].into()).map(level).collect();
                    assert_eq!(window[side as usize], held, "depth index {depth}");
                }
            }
        }
        let stale = self.clients.iter().filter(|client| !client.fresh).count();
        assert_eq!(self.market.stale_count(), stale);
    }

    /// The feed behaves from here on: the market recovers by what it asks for.
    fn settle(&mut self) {
        for id in 0..INSTRUMENTS {
            self.step(Step::Trade(id, Act::Deliver));
        }
        self.step(Step::Time);
        self.step(Step::Answer);
        for (id, truth) in self.truth.iter().enumerate() {
            let id = InstrumentId(id as u32);
            assert!(!self.market.is_stale(id), "{:?}", self.market.stale_reason(id));
            assert_eq!(self.market.head(id), (Epoch(self.epoch), Sequence(truth.seq)));
            let last = truth.trades.last().map(|(_, trade)| *trade);
            assert_eq!(self.market.trades(id).next_back().map(|one| one.trade), last);
            let mut ids: Vec<_> = self.market.trades(id).map(|one| one.trade.id).collect();
            assert!(ids.is_sorted());
            ids.dedup();
            assert_eq!(ids.len(), self.market.trades(id).len(), "a trade counts once");
        }
    }
}

/// Sets what a client is told and truncates after every level.
fn follow(market: &Market, id: InstrumentId, client: &mut Client) {
    let mut told = WindowDelta::default();
    for (window, depth) in client.windows.iter_mut().zip(FOLLOWED) {
        market.window_delta(id, depth, &mut told);
        for (side, changes) in [(Side::Bid, &told.bids), (Side::Ask, &told.asks)] {
            let map = &mut window[side as usize];
            for change in changes.iter().filter(|change| change.is_sent()) {
                set(map, key(side, change.level.price.0), change.level.qty.0);
                while map.len() > DEPTHS[usize::from(depth)].into() {
                    map.pop_last();
                }
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        20 => Just(Act::Deliver),
        1 => Just(Act::LoseLine),
        1 => Just(Act::LoseQuietly),
        1 => Just(Act::SendTwice),
        1 => Just(Act::SendAgain),
        1 => Just(Act::Garble),
    ];
    let level = (1_i64..99, prop_oneof![Just(0_i64), 1_i64..5]);
    prop_oneof![
        30 => (0..INSTRUMENTS, act.clone(), prop::collection::vec(level, 0..6)).prop_map(|(id, act, levels)| Step::Delta(id, act, levels)),
        10 => (0..INSTRUMENTS, act).prop_map(|(id, act)| Step::Trade(id, act)),
        4 => Just(Step::Answer),
        2 => Just(Step::Time),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn fresh_is_right_and_every_fault_heals(steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
    }
}
