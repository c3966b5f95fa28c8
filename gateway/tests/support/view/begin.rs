//! Where a client's subscriptions begin: at an acknowledgement, at a snapshot, or where an earlier connection left off.
//!
//! Keeps each subscription's place, so that it can be named to another connection or another gateway.

use serde_json::Value;

use super::{Key, View};

/// Epoch and sequence: where a subscription stands.
pub type Place = (u64, u64);

/// A subscription that went on, or did not, from where the client said that it stood.
#[derive(Clone, Debug)]
pub struct Resumed {
    pub key: Key,
    /// Where the client stood.
    pub own: Place,
    /// Where the stream stood when it was acknowledged.
    pub at: Place,
    pub recovered: bool,
}

impl View {
    /// Notes where a subscription begins.
    pub(super) fn acknowledge(&mut self, key: &Key, result: &Value) {
        self.joins += 1;
        let number = |name: &str| result[name].as_u64();
        let at = number("epoch").zip(number("seq"));
        let own = self.place(key);
        if let (Some(recovered), Some(at)) = (result["recovered"].as_bool(), at) {
            let own = own.unwrap_or_else(|| panic!("{key:?} was never anywhere: {result}"));
            self.resumed.push(Resumed { key: key.clone(), own, at, recovered });
            let merges = result["policy"] == "conflate" || result["policy"] == "latest";
            if recovered && own.1 < at.1 && merges && key.0 != "ohlc" {
                self.owed.insert(key.clone(), at.1);
            }
            if !recovered {
                // It begins anew: whatever was known is worth nothing.
                self.forget(key);
            }
        } else {
            assert_eq!(own, None, "{key:?} was to go on: {result}");
            // Who was never told its epoch cannot name its place.
            self.forget(key);
        }
        if let Some((epoch, seq)) = at.filter(|_| result["recovered"] != true) {
            self.epochs.insert(key.clone(), epoch);
            self.begun.insert(key.clone(), seq);
            if result["snapshot"] == false && result["recovered"].is_null() {
                self.links.insert(key.clone(), seq);
            }
        }
    }

    /// Where a subscription stands, so that another connection can go on from there.
    pub fn place(&self, key: &Key) -> Option<Place> {
        self.epochs.get(key).copied().zip(self.links.get(key).copied())
    }

    /// Everything about one subscription.
    pub(super) fn forget(&mut self, key: &Key) {
        self.links.remove(key);
        self.epochs.remove(key);
        self.begun.remove(key);
        self.owed.remove(key);
        self.resyncs.remove(key);
        match key.0.as_str() {
            "book" => {
                self.books.remove(&key.1);
                self.points.remove(&key.1);
            }
            "trade" => {
                self.trades.remove(&key.1);
                self.told.remove(&key.1);
            }
            _ => {}
        }
    }

    /// Forgets the connection and keeps what was received by it, to go on from there.
    pub fn reconnect(&mut self) {
        // Who waits for a snapshot stands nowhere.
        for key in std::mem::take(&mut self.resyncs) {
            self.forget(&key);
        }
        for key in std::mem::take(&mut self.begun).into_keys() {
            // Neither does who was acknowledged and has nothing yet.
            if !self.links.contains_key(&key) {
                self.forget(&key);
            }
        }
        self.subscribed.clear();
        self.answers.clear();
        self.owed.clear();
    }
}
