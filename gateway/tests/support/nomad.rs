//! A client that loses its connection again and again, and each time goes on from where it stood.
//!
//! Owns what is known from all its connections, and the chance that decides how each of them ends. Where it comes back, and
//! when, is its test's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use socket2::SockRef;

use super::dice::Dice;
use super::socket::{CLOSE, Socket, TEXT, frame};
use super::view::{Key, View};
use super::visitor::Visitor;

/// A subscription that it wants wherever it is: all parameters but the symbol.
#[derive(Clone, Debug)]
pub struct Want {
    pub symbol: String,
    pub params: Value,
}

impl Want {
    /// The subscription that it becomes.
    pub fn key(&self) -> Key {
        let channel = self.params["channel"].as_str().expect("a channel");
        (channel.into(), self.symbol.clone(), self.params["interval"].as_u64().unwrap_or(0))
    }
}

#[derive(Debug)]
pub struct Nomad {
    pub dice: Dice,
    pub view: View,
    pub wants: Vec<Want>,
}

impl Nomad {
    /// Begins with the precisions that somebody else has learned.
    pub fn new(seed: u64, knower: &View, wants: Vec<Want>) -> Self {
        let mut view = View::default();
        view.precisions.clone_from(&knower.precisions);
        Self { dice: Dice::new(seed), view, wants }
    }

    /// Connects and asks for everything that it wants: to go on where it stands, and from the beginning where it stands nowhere.
    pub fn come_back(&mut self, gateway: SocketAddr) -> Visitor {
        let path = *self.dice.pick(&["/v2", "/v2?ext=1"]);
        let narrow = self.dice.one_in(2);
        let connect = if narrow { Socket::connect_narrow } else { Socket::connect };
        self.view.reconnect();
        let mut visitor = Visitor::over(connect(gateway, path), std::mem::take(&mut self.view));
        for (params, symbols) in self.groups() {
            let params: Value = serde_json::from_str(&params).expect("it was written as JSON");
            self.ask(&mut visitor, params, &symbols);
        }
        visitor
    }

    /// Symbols that are wanted with equal parameters go into one request.
    fn groups(&self) -> BTreeMap<String, Vec<Key>> {
        let mut groups: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        for want in &self.wants {
            groups.entry(want.params.to_string()).or_default().push(want.key());
        }
        groups
    }

    fn ask(&mut self, visitor: &mut Visitor, params: Value, keys: &[Key]) {
        let places: Vec<_> = keys.iter().map(|key| visitor.view.place(key)).collect();
        let mut subscribe = |keys: &[&Key], resume: Value| {
            let mut params = params.clone();
            params["symbol"] = keys.iter().map(|key| key.1.clone()).collect();
            if !resume.is_null() {
                params["resume"] = resume;
            }
            if !keys.is_empty() {
                visitor.ask(&json!({ "method": "subscribe", "params": params }), keys.len());
            }
        };
        let all = keys.iter().zip(places);
        let (known, unknown): (Vec<_>, Vec<_>) = all.partition(|(_, place)| place.is_some());
        let points: Vec<(&Key, Value)> = known
            .into_iter()
            .filter_map(|(key, place)| place.map(|(epoch, seq)| (key, json!({ "epoch": epoch, "seq": seq }))))
            .collect();
        // Both forms: one point for a request of one symbol, or a point by symbol.
        match &points[..] {
            [(key, point)] if self.dice.one_in(2) => subscribe(&[key], point.clone()),
            _ => {
                let by_symbol: Map<String, Value> =
                    points.iter().map(|(key, point)| (key.1.clone(), point.clone())).collect();
                let keys: Vec<&Key> = points.iter().map(|(key, _)| *key).collect();
                subscribe(&keys, by_symbol.into());
            }
        }
        subscribe(&unknown.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), Value::Null);
    }

    /// Loses its connection, in any way in which connections are lost, and keeps what it knows.
    pub fn lose(&mut self, mut visitor: Visitor) {
        let way = self.dice.below(6);
        if way == 2 || way == 3 {
            // In the middle of a frame of its own.
            let whole = frame(0x80 | TEXT, br#"{"method":"ping"}"#);
            let len = 1 + self.dice.below(whole.len() - 1);
            visitor.send_raw(&whole[..len]);
        }
        match way {
            // A reset, whatever is on its way.
            0 | 2 => visitor.with_stream(|stream| {
                SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a socket can linger");
            }),
            // It has nothing more to say, and reads on to the end.
            4 => {
                visitor.end();
                visitor.read_out();
            }
            5 => {
                visitor.send_frame(CLOSE, b"\x03\xE8");
                visitor.read_out();
            }
            // It just goes; where something is left unread the kernel resets.
            _ => {}
        }
        self.view = visitor.leave();
    }
}
