//! Whether the gateway's counts add up, and are those of its clients.
//!
//! Owns the comparison of what clients received with what the gateway says that it wrote, merged and dropped. Never asks:
//! [`crate::gateway`] does. Breaches are violations like any other.

use crate::gateway::{Deliveries, Scrape};
use crate::scan::Channel;
use crate::tally::Tally;
use crate::time;
use crate::violation::{Kind, Violation};
use serde::Serialize;

/// What the comparison can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Comparison {
    /// There was no admin listener to ask.
    NotAsked,
    /// Every connection of the run ended with nothing unread and nobody else was there: counts must be equal.
    Exact,
    /// Connections broke off, or others were connected: the gateway may have written more than was read, never less.
    AtLeast,
}

/// The comparison of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Conservation {
    pub(crate) comparison: Comparison,
    /// By channel; only those that were used.
    pub(crate) channels: Vec<ChannelCounts>,
    /// Times that the gateway itself found a mistake.
    breaches: u64,
}

/// Both sides of one channel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ChannelCounts {
    channel: Channel,
    /// Updates that clients received.
    pub(crate) received: u64,
    /// What the gateway counted meanwhile.
    pub(crate) fanned_out: i64,
    pub(crate) written: i64,
    pub(crate) merged: i64,
    pub(crate) dropped: i64,
    pub(crate) discarded: i64,
    pub(crate) pending: i64,
}

impl ChannelCounts {
    /// Name of the channel.
    pub(crate) fn name(&self) -> &'static str {
        self.channel.name()
    }
}

impl Conservation {
    /// Nobody was asked.
    pub(crate) const fn not_asked() -> Self {
        Self { comparison: Comparison::NotAsked, channels: Vec::new(), breaches: 0 }
    }
}

/// Reports the deliveries of a scrape that do not add up.
pub(crate) fn check_sum(scrape: &Scrape, tally: &mut Tally) {
    for channel in Channel::ALL {
        let Some(counts) = scrape.deliveries(channel) else { continue };
        let Deliveries { fanned_out, written, merged, dropped, discarded, pending } = counts;
        let sum = written + merged + dropped + discarded + pending;
        if fanned_out != sum {
            let expected = format!("{fanned_out} deliveries fanned out on {}", channel.name());
            let got = format!(
                "{written} written, {merged} merged, {dropped} dropped, {discarded} discarded, {pending} pending: {sum}"
            );
            report(tally, expected, got);
        }
    }
}

/// Compares what the gateway counted between two scrapes with what clients received between them. The first is taken before
/// anybody connects, the last when everybody has left.
pub(crate) fn compare(first: &Scrape, last: &Scrape, tally: &mut Tally) -> Conservation {
    let moved = |name: &str| last.sum(name) - first.sum(name);
    let is_alone = first.value("gateway_connections") == Some(0.0)
        && moved("gateway_connections_opened_total") as u64 == tally.handshakes;
    let is_exact = is_alone && tally.quiet_ends == tally.handshakes;
    let mut channels = Vec::new();
    for channel in Channel::ALL {
        let (Some(before), Some(after)) = (first.deliveries(channel), last.deliveries(channel)) else {
            continue;
        };
        if after.fanned_out == before.fanned_out && tally.received[channel as usize].updates == 0 {
            continue;
        }
        compare_channel(channel, before, after, is_exact, tally);
        channels.push(ChannelCounts {
            channel,
            received: tally.received[channel as usize].updates,
            fanned_out: after.fanned_out - before.fanned_out,
            written: after.written - before.written,
            merged: after.merged - before.merged,
            dropped: after.dropped - before.dropped,
            discarded: after.discarded - before.discarded,
            pending: after.pending,
        });
    }
    let breaches = moved("gateway_conservation_breaches_total") as u64;
    if breaches > 0 {
        report(tally, "no breach found by the gateway itself".to_owned(), format!("{breaches} breaches"));
    }
    let comparison = if is_exact { Comparison::Exact } else { Comparison::AtLeast };
    Conservation { comparison, channels, breaches }
}

fn compare_channel(
    channel: Channel,
    before: Deliveries,
    after: Deliveries,
    is_exact: bool,
    tally: &mut Tally,
) {
    let name = channel.name();
    let received = tally.received[channel as usize];
    let mut judge = |what: &str, told: u64, counted: i64, must_equal: bool| {
        let told = told as i64;
        if counted < told || (must_equal && counted != told) {
            let expected = format!("{told} deliveries {what} on {name}, as clients saw");
            report(tally, expected, format!("the gateway counts {counted}"));
        }
    };
    judge("written", received.updates, after.written - before.written, is_exact);
    // Who did not opt in is not told of what was folded or lost.
    let all_told = is_exact && received.plain == 0;
    judge("merged", received.folded, after.merged - before.merged, all_told);
    let lost = received.told_lost + received.lost_by_link;
    judge("dropped", lost, after.dropped - before.dropped, all_told);
    if is_exact && after.pending != before.pending {
        let got = format!("the gateway counts {}", after.pending);
        report(tally, format!("nothing pending on {name}, since nobody is there"), got);
    }
}

fn report(tally: &mut Tally, expected: String, got: String) {
    tally.violations.push(Kind::Conservation, || Violation {
        kind: Kind::Conservation.name(),
        client: None,
        symbol: String::new(),
        expected,
        got,
        at_us: time::now(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gateway's text with counts in the order of [`Deliveries`], connections open and opened.
    fn scrape(counts: [i64; 6], open: u64, opened: u64) -> Scrape {
        let names = [
            "fanned_out_total",
            "written_total",
            "merged_total",
            "dropped_total",
            "discarded_total",
            "pending",
        ];
        let rows = names.iter().zip(counts);
        let mut text: String = rows
            .map(|(name, count)| format!("gateway_deliveries_{name}{{channel=\"book\"}} {count}\n"))
            .collect();
        text += &format!("gateway_connections {open}\ngateway_connections_opened_total {opened}\n");
        text += "gateway_conservation_breaches_total 0\n";
        Scrape::of(&text)
    }

    fn tally(updates: u64, folded: u64, told_lost: u64) -> Tally {
        let mut tally = Tally::new(&[true]);
        let received = tally.received(Channel::Book);
        (received.updates, received.folded, received.told_lost) = (updates, folded, told_lost);
        (tally.handshakes, tally.quiet_ends) = (2, 2);
        tally
    }

    fn check(last: Scrape, mut tally: Tally, comparison: Comparison, violations: u64) {
        let first = scrape([0; 6], 0, 0);
        let found = compare(&first, &last, &mut tally);
        let told = tally.violations.examples();
        assert_eq!((found.comparison, tally.violations.total()), (comparison, violations), "{told:#?}");
    }

    #[test]
    fn a_sum_that_does_not_add_up_is_reported() {
        let mut tally = Tally::new(&[true]);
        check_sum(&scrape([10, 5, 2, 1, 1, 1], 0, 0), &mut tally);
        assert_eq!(tally.violations.total(), 0);
        check_sum(&scrape([10, 5, 2, 1, 1, 0], 0, 0), &mut tally);
        assert_eq!(tally.violations.count(Kind::Conservation), 1);
    }

    #[test]
    fn counts_must_be_equal_when_everything_was_read() {
        check(scrape([20, 10, 6, 3, 1, 0], 0, 2), tally(10, 6, 3), Comparison::Exact, 0);
        check(scrape([20, 10, 6, 3, 1, 0], 0, 2), tally(9, 6, 3), Comparison::Exact, 1);
        check(scrape([20, 10, 6, 3, 1, 0], 0, 2), tally(10, 5, 2), Comparison::Exact, 2);
        check(scrape([20, 10, 6, 3, 0, 1], 0, 2), tally(10, 6, 3), Comparison::Exact, 1);
    }

    #[test]
    fn the_gateway_may_have_written_more_than_was_read_and_never_less() {
        let broken_off = |updates| {
            let mut tally = tally(updates, 0, 0);
            tally.quiet_ends = 1;
            tally
        };
        check(scrape([20, 10, 6, 3, 1, 0], 0, 2), broken_off(7), Comparison::AtLeast, 0);
        check(scrape([20, 10, 6, 3, 1, 0], 0, 2), broken_off(11), Comparison::AtLeast, 1);
        check(scrape([20, 10, 6, 3, 1, 0], 0, 3), tally(7, 0, 0), Comparison::AtLeast, 0);
    }
}
