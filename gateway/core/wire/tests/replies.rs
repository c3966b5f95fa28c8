//! Every answer that is not market data, against its golden file.

mod support;

use model::{Channel, Epoch, FeedStatus, InstrumentId, Nanos, Policy, Sequence, StreamKey, Trigger};
use support::golden;
use wire::reply::{
    self, Failure, LoggedIn, Notice, NoticeCode, Refusal, Stamp, Subscribed, SubscribedExt, Terms,
};
use wire::request::{self, ReqId};

/// 2026-02-03T04:05:06.789012345Z, answered 55 microseconds later.
const STAMP: Stamp = Stamp {
    time_in: Nanos(1_770_091_506_789_012_345),
    time_out: Nanos(1_770_091_506_789_067_345),
    req_id: None,
};

const BTC: InstrumentId = InstrumentId(0);

fn check(name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    let mut out = Vec::new();
    write(&mut out);
    golden(name, &out);
}

fn subscribed(stream: StreamKey, snapshot: bool) -> Subscribed<'static> {
    Subscribed { stream, symbol: "BTC/USD", snapshot, ext: None }
}

#[test]
fn a_subscription_is_acknowledged_with_the_keys_of_its_channel() {
    let cases = [
        ("ack-subscribe-book", subscribed(StreamKey::Book(BTC, 1), true)),
        ("ack-subscribe-ticker", subscribed(StreamKey::Ticker(BTC, Trigger::Bbo), true)),
        ("ack-subscribe-trade", subscribed(StreamKey::Trade(BTC), false)),
        ("ack-subscribe-ohlc", subscribed(StreamKey::Ohlc(BTC, 2), true)),
        ("ack-subscribe-instrument", subscribed(StreamKey::Instruments, true)),
    ];
    for (name, made) in cases {
        check(name, |out| reply::subscribed(&made, STAMP, out));
    }
}

const TERMS: Terms =
    Terms { policy: Policy::Conflate, interval_ms: 100, max_lag_ms: 30_000, max_lag_entries: 1_000 };

/// Terms whose limits mean something.
const STRICT: Terms = Terms { policy: Policy::Disconnect, interval_ms: 0, max_lag_ms: 5_000, ..TERMS };

fn with_id(id: u64) -> Stamp {
    Stamp { req_id: Some(ReqId::Unsigned(id)), ..STAMP }
}

#[test]
fn an_opted_in_connection_is_told_epoch_sequence_and_terms() {
    let ext = SubscribedExt { epoch: Epoch(7), seq: Sequence(81_234), terms: TERMS, recovered: None };
    let book = |ext| Subscribed { ext: Some(ext), ..subscribed(StreamKey::Book(BTC, 0), true) };
    check("ack-subscribe-book-ext", |out| reply::subscribed(&book(ext), with_id(1), out));
    let recovered = SubscribedExt { recovered: Some(true), ..ext };
    check("ack-subscribe-book-recovered", |out| reply::subscribed(&book(recovered), with_id(2), out));
    let ext = SubscribedExt { terms: STRICT, recovered: Some(false), ..ext };
    let trade = Subscribed { ext: Some(ext), ..subscribed(StreamKey::Trade(BTC), false) };
    check("ack-subscribe-trade-not-recovered", |out| reply::subscribed(&trade, with_id(3), out));
}

#[test]
fn new_terms_are_acknowledged_with_what_is_in_force() {
    let book = StreamKey::Book(BTC, 0);
    check("ack-configure", |out| reply::configured(book, "BTC/USD", &TERMS, with_id(4), out));
    let trade = StreamKey::Trade(BTC);
    check("ack-configure-disconnect", |out| reply::configured(trade, "BTC/USD", &STRICT, STAMP, out));
    check("ack-configure-connection", |out| reply::configured_connection(64_000, with_id(5), out));
}

#[test]
fn a_login_is_acknowledged_with_who_it_is_and_until_when() {
    let until = Nanos(1_770_095_106_000_000_000);
    let login = LoggedIn { subject: "alice", tier: "gold", expires: Some(until) };
    check("ack-login", |out| reply::logged_in(&login, with_id(9), out));
    let robot = LoggedIn { subject: "a \"robot\"", tier: "default", expires: None };
    check("ack-login-forever", |out| reply::logged_in(&robot, STAMP, out));
}

#[test]
fn a_pause_is_acknowledged_for_one_subscription_or_for_all() {
    let book = StreamKey::Book(BTC, 0);
    check("ack-pause", |out| reply::paused(book, "BTC/USD", true, with_id(6), out));
    check("ack-resume", |out| reply::paused(book, "BTC/USD", false, with_id(7), out));
    check("ack-pause-all", |out| reply::paused_all(12, true, STAMP, out));
    check("ack-resume-all", |out| reply::paused_all(12, false, with_id(8), out));
}

#[test]
fn the_end_of_a_subscription_is_acknowledged_without_snapshot_and_warnings() {
    let cases = [
        ("ack-unsubscribe-book", StreamKey::Book(BTC, 1)),
        ("ack-unsubscribe-ticker", StreamKey::Ticker(BTC, Trigger::Trades)),
        ("ack-unsubscribe-trade", StreamKey::Trade(BTC)),
        ("ack-unsubscribe-ohlc", StreamKey::Ohlc(BTC, 0)),
        ("ack-unsubscribe-instrument", StreamKey::Instruments),
    ];
    for (name, stream) in cases {
        check(name, |out| reply::unsubscribed(stream, "BTC/USD", STAMP, out));
    }
}

#[test]
fn a_refusal_says_why_in_the_words_of_the_venue() {
    let cases = [
        ("error-unknown-symbol", Refusal::UnknownSymbol("XBT/USD"), "XBT/USD"),
        ("error-depth", Refusal::Depth, "BTC/USD"),
        ("error-interval", Refusal::Interval, "BTC/USD"),
        ("error-already-subscribed", Refusal::AlreadySubscribed, "BTC/USD"),
        ("error-policy", Refusal::Policy("drop_oldest, drop_newest, disconnect"), "BTC/USD"),
    ];
    for (name, refusal, symbol) in cases {
        let text = refusal.to_string();
        let failure = Failure { text: &text, method: Some("subscribe"), symbol: Some(symbol) };
        check(name, |out| reply::error(&failure, STAMP, out));
    }
    let text = Refusal::NotFound.to_string();
    let failure = Failure { text: &text, method: Some("unsubscribe"), symbol: Some("BTC/USD") };
    check("error-not-found", |out| reply::error(&failure, STAMP, out));
    let text = Refusal::Rate.to_string();
    let failure = Failure { text: &text, method: Some("subscribe"), symbol: None };
    check("error-rate", |out| reply::error(&failure, STAMP, out));
}

#[test]
fn a_request_that_cannot_be_read_is_answered_with_what_could() {
    let cases = [
        ("error-not-json", "subscribe"),
        ("error-unknown-method", r#"{"method":"subscribe\n","req_id":0}"#),
        (
            "error-unknown-channel",
            r#"{"method":"subscribe","params":{"channel":"books","symbol":["BTC/USD"]}}"#,
        ),
        ("error-private-channel", r#"{"method":"subscribe","params":{"channel":"balances"},"req_id":3}"#),
        ("error-pushed-channel", r#"{"method":"subscribe","params":{"channel":"status"}}"#),
        ("error-missing-symbol", r#"{"method":"subscribe","params":{"channel":"book"},"req_id":-4}"#),
        (
            "error-wrong-type",
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":"10"}}"#,
        ),
    ];
    for (name, sent) in cases {
        let failed = request::decode(&mut sent.as_bytes().to_vec()).expect_err(name);
        check(name, |out| reply::request_error(&failed, STAMP, out));
    }
}

#[test]
fn text_of_strangers_is_cut_before_it_is_repeated() {
    let long = "€".repeat(1_000);
    let text = Refusal::UnknownSymbol(&long).to_string();
    let failure = Failure { text: &text, method: Some(&long), symbol: Some(&long) };
    let mut out = Vec::new();
    reply::error(&failure, STAMP, &mut out);
    assert!(out.len() < 500, "{}", out.len());
}

#[test]
fn pong_repeats_the_id_and_nothing_else() {
    let id = |id| Stamp { req_id: Some(id), ..STAMP };
    check("pong", |out| reply::pong(STAMP, out));
    check("pong-id-zero", |out| reply::pong(id(ReqId::Unsigned(0)), out));
    check("pong-id-largest", |out| reply::pong(id(ReqId::Unsigned(u64::MAX)), out));
    check("pong-id-smallest", |out| reply::pong(id(ReqId::Signed(i64::MIN)), out));
}

#[test]
fn what_is_pushed_begins_with_its_channel() {
    check("status", |out| reply::status(9_007_199_254_740_991, FeedStatus::Online, "0.1.0", out));
    check("status-maintenance", |out| reply::status(1, FeedStatus::Maintenance, "0.1.0", out));
    check("heartbeat", reply::heartbeat);
}

#[test]
fn a_notice_leaves_out_what_it_does_not_know() {
    let btc = |code, channel| Notice { channel, symbol: Some("BTC/USD"), ..Notice::new(code) };
    let range = |from, to, count| (Some(Sequence(from)), Some(Sequence(to)), Some(count));
    check("notice-stale", |out| reply::notice(&btc(NoticeCode::Stale, Some(Channel::Book)), out));
    check("notice-fresh", |out| reply::notice(&btc(NoticeCode::Fresh, Some(Channel::Book)), out));
    check("notice-lagging", |out| reply::notice(&Notice::new(NoticeCode::Lagging), out));
    check("notice-revoked", |out| reply::notice(&btc(NoticeCode::Revoked, Some(Channel::Trade)), out));
    let (from_seq, to_seq, count) = range(81_235, 81_301, 12);
    let gap = Notice { from_seq, to_seq, count, ..btc(NoticeCode::Gap, Some(Channel::Trade)) };
    check("notice-gap", |out| reply::notice(&gap, out));
    let gap = Notice { to_seq: Some(Sequence(17)), epoch: Some(Epoch(8)), ..gap };
    check("notice-gap-epoch", |out| reply::notice(&gap, out));
    let resynced = Notice { from_seq, to_seq, count, ..btc(NoticeCode::Resynced, Some(Channel::Book)) };
    check("notice-resynced", |out| reply::notice(&resynced, out));
    let candles = Notice {
        from_seq,
        to_seq,
        count,
        ..Notice::about(NoticeCode::Merged, StreamKey::Ohlc(BTC, 2), "BTC/USD")
    };
    check("notice-merged-ohlc", |out| reply::notice(&candles, out));
    let merged = Notice { from_seq, to_seq, count, ..btc(NoticeCode::Merged, Some(Channel::Book)) };
    check("notice-merged", |out| reply::notice(&merged, out));
    let text = Some("gateway is going away");
    let closing = Notice { text, retry_ms: Some(1_750), ..Notice::new(NoticeCode::Closing) };
    check("notice-closing", |out| reply::notice(&closing, out));
}

#[test]
fn every_notice_has_its_own_snake_case_name() {
    let names = NoticeCode::ALL.map(NoticeCode::name);
    for (index, name) in names.iter().enumerate() {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
        assert!(!names[..index].contains(name), "{name}");
    }
}
