//! What lying clients send: each lie must be refused, or answered as not recovered, and harm nobody.

use super::World;
use super::asking::params;
use crate::oracle::View;

/// Requests that mean nothing, each refused once.
const GARBAGE: [&str; 7] = [
    "",
    "{",
    "\u{0}\u{1}\u{2}",
    r#"{"method":"conquer"}"#,
    r#"{"method":"subscribe","params":{"channel":"book","symbol":["S0/USD"],"depth":-1}}"#,
    r#"{"method":"subscribe","params":{"channel":"book","symbol":["S99/USD"]}}"#,
    r#"{"method":"unsubscribe","params":{"channel":"trade","symbol":["S99/USD"]},"req_id":7}"#,
];

impl World {
    /// A client that lies does so, another one does nothing.
    pub(super) fn lie(&mut self) {
        let (key, kind) = (self.pick_key(), self.rng.below(6));
        let has_begun = self.has_begun();
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        if !client.lies || !client.is_open() || !has_begun {
            return;
        }
        let (id, ext) = (client.id, client.oracle.ext);
        let has_it = client.oracle.views.contains_key(&key);
        let params = params(key, 10);
        let text = match kind {
            0 if !has_it => format!(r#"{{"method":"unsubscribe","params":{{{params}}}}}"#),
            1 if has_it && client.oracle.views.get(&key).is_some_and(|view| !view.leaving) => {
                format!(r#"{{"method":"subscribe","params":{{{params}}}}}"#)
            }
            2 if ext && !has_it => format!(r#"{{"method":"pause","params":{{{params}}}}}"#),
            3 | 4 if ext && !has_it => return self.claim(id, key, kind == 3),
            _ => GARBAGE[self.rng.below(GARBAGE.len() as u64) as usize].to_owned(),
        };
        client.oracle.refusals_due += 1;
        self.report.lies += 1;
        self.request(id, text);
    }

    /// Claims to stand where nobody ever stood: in the future, or in an epoch that never was.
    fn claim(&mut self, id: fanout::ClientId, key: crate::oracle::Key, future: bool) {
        let epoch = self.venue.epoch().0;
        let point = if future { (epoch, 1_000_000_000) } else { (epoch + 7, 1 + self.rng.below(50)) };
        self.report.lies += 1;
        self.resume(id, key, View::empty(10), point, true);
    }
}
