//! What the market does with a feed, well behaved or not: every rule of the table in
//! `docs/feed-protocol.md`, told as scripts.
#![expect(clippy::unwrap_used, reason = "a script that cannot be read fails its test")]

mod script;

use market::MarketLimits;
use model::{
    Epoch, Event, EventBatch, EventBody, FeedStatus, InstrumentId, PairStatus, Price, Qty, Sequence,
};
use script::{Script, check, check_from_start, started};

#[test]
fn a_start_tells_the_book_then_fresh_and_keeps_replayed_trades_as_history() {
    let mut script = Script::new(MarketLimits::default());
    let id = InstrumentId(0);
    assert!(script.market.is_stale(id));
    check(
        &mut script,
        "connect                                   ->
         status online                             ->
         inst i0                                   -> inst i0
         replay i0 @40 #8                          ->
         replay i0 @41 #9                          ->
         delta i0 @41 99:1                         ->",
    );
    assert!(script.market.book(id).is_none() && script.market.is_stale(id));
    assert_eq!(script.market.stale_reason(id).map(market::StaleReason::name), Some("never"));
    check(
        &mut script,
        "snap i0 @42 99:1 98:1 / 101:1             -> book i0 e7 @42 99:1 98:1 / 101:1, bbo i0, fresh i0
         delta i0 @43 98:5                         -> book i0 e7 @43 98:5 /
         delta i0 @44 99:3                         -> book i0 e7 @44 99:3 /, bbo i0
         delta i0 @45 99:3 50:0                    ->
         trade i0 @46 #10                          -> trade i0 e7 @46 #10
         status maintenance                        -> status maintenance
         status maintenance                        ->
         beat                                      ->
         inst i0 post_only                         -> inst i0
         inst i0 post_only                         ->",
    );
    assert_eq!(script.market.head(id), (Epoch(7), Sequence(46)));
    let trades: Vec<_> = script.market.trades(id).map(|t| (t.seq.0, t.trade.id)).collect();
    assert_eq!(trades, [(40, 8), (41, 9), (46, 10)]);
    assert_eq!(script.market.ticker(id).last, Some(Price(110)));
    assert_eq!(script.market.candles(id, 0).map(|c| c.trades).sum::<u64>(), 3);
    assert_eq!(script.market.instrument(id).unwrap().status, PairStatus::PostOnly);
    assert_eq!(script.market.stats().stale_delta, 1);
    assert_eq!(script.market.stale_count(), 0);
}

#[test]
fn a_snapshot_of_an_empty_book_makes_fresh_too() {
    let mut script = Script::new(MarketLimits::default());
    check(
        &mut script,
        "connect -> \n inst i0 -> inst i0 \n snap i0 @0 -> fresh i0 \n delta i0 @1 5:1 -> book i0 e7 @1 5:1 /, bbo i0",
    );
}

#[test]
fn a_skipped_line_makes_everything_stale_and_asks_for_all() {
    let script = check_from_start(
        "inst i1                                   -> inst i1
         snap i1 @5 9:1                            -> book i1 e7 @5 9:1 /, bbo i1, fresh i1
         delta i0 @43 98:7 l9                      -> stale i0 transport_gap, stale i1 transport_gap, ask all
         beat l12                                  ->
         delta i0 @44 98:8                         ->
         snap i1 @5 9:1                            -> fresh i1
         snap i0 @44 99:1 98:8 / 101:1 102:1       -> book i0 e7 @44 98:8 /, fresh i0
         delta i0 @45 98:9                         -> book i0 e7 @45 98:9 /",
    );
    let stats = script.market.stats();
    assert_eq!((stats.transport_gaps, stats.stale_delta), (2, 2));
}

#[test]
fn a_connection_that_does_not_begin_with_line_one_has_a_gap() {
    let mut script = Script::new(MarketLimits::default());
    check(&mut script, "connect -> \n inst i0 l2 -> ask all, inst i0");
}

#[test]
fn a_repeated_line_is_ignored() {
    let script = check_from_start(
        "delta i0 @43 98:7 l3                      ->
         delta i0 @43 98:8 l4                      -> book i0 e7 @43 98:8 /
         delta i0 @44 98:9 l4                      ->",
    );
    assert_eq!(script.market.stats().duplicate_line, 2);
}

/// Its number is given by the decoder, whatever becomes of the line.
#[test]
fn an_instrument_that_a_repeated_line_announces_is_known_all_the_same() {
    let script = check_from_start(
        "inst i1 l2                                -> inst i1
         inst i1 cancel_only l2                    ->
         inst i2 l4                                -> inst i2",
    );
    assert_eq!(script.market.stats().duplicate_line, 2);
    assert_eq!(script.market.instruments().map(|(id, _)| id.0).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_skipped_sequence_makes_stale_and_asks_once() {
    let script = check_from_start(
        "delta i0 @44 98:7                         -> stale i0 sequence_gap, ask i0
         delta i0 @45 98:8                         ->
         delta i0 @43 98:9                         ->
         snap i0 @45 99:1 98:8 / 101:1 102:1       -> book i0 e7 @45 98:8 /, fresh i0
         delta i0 @46 98:0                         -> book i0 e7 @46 98:0 /",
    );
    let stats = script.market.stats();
    assert_eq!((stats.sequence_gaps, stats.stale_delta), (1, 2));
}

#[test]
fn a_trade_that_reveals_a_gap_is_told_all_the_same() {
    let script = check_from_start(
        "trade i0 @45 #12                          -> stale i0 sequence_gap, ask i0, trade i0 e7 @45 #12
         trade i0 @46 #13                          -> trade i0 e7 @46 #13
         trade i0 @46 #13                          ->
         replay i0 @44 #11                         ->
         replay i0 @46 #13                         ->
         snap i0 @46 99:1 98:1 / 101:1 102:1       -> fresh i0
         trade i0 @47 #14                          -> trade i0 e7 @47 #14",
    );
    assert_eq!(script.market.stats().repeated_trade, 3);
}

#[test]
fn a_sequence_that_repeats_or_goes_back_is_ignored() {
    let script = check_from_start(
        "delta i0 @42 98:7                         ->
         trade i0 @41 #10                          ->
         snap i0 @42 1:1                           ->
         snap i0 @41 1:1                           ->
         delta i0 @43 98:8                         -> book i0 e7 @43 98:8 /",
    );
    let stats = script.market.stats();
    assert_eq!((stats.old_sequence, stats.old_snapshot), (2, 1));
}

#[test]
fn a_trade_takes_its_place_in_the_sequence_even_when_its_id_is_known() {
    check_from_start(
        "trade i0 @43 #9                           ->
         delta i0 @44 98:8                         -> book i0 e7 @44 98:8 /",
    );
}

#[test]
fn an_event_that_would_cross_the_book_is_not_applied() {
    for crossing in ["101:1", "103:1 98:0", "/ 99:1", "/ 98:1 101:0"] {
        let mut script = started(MarketLimits::default());
        check(&mut script, &format!("delta i0 @43 {crossing} -> stale i0 crossed, ask i0"));
        assert_eq!(script.book(0), "99:1 98:1 / 101:1 102:1", "{crossing}");
        check(
            &mut script,
            "delta i0 @44 98:3                     ->
             snap i0 @44 101:1 / 100:1             ->
             snap i0 @44 100:1 / 101:1             -> book i0 e7 @44 99:0 98:0 100:1 / 102:0, bbo i0, fresh i0",
        );
        assert_eq!(script.market.stats().crossed, 2);
    }
}

#[test]
fn a_side_that_grows_beyond_its_limit_is_refused() {
    let mut script = started(MarketLimits { levels_per_side_max: 3, ..MarketLimits::default() });
    check(
        &mut script,
        "delta i0 @43 97:1                         -> book i0 e7 @43 97:1 /
         delta i0 @44 99:5 96:1                    -> stale i0 limit, ask i0
         snap i0 @44 99:5 98:1 97:1 96:1           ->
         snap i0 @45 99:5 98:1 97:1 / 101:1 102:1  -> book i0 e7 @45 99:5 /, bbo i0, fresh i0",
    );
    assert_eq!(script.market.stats().levels_limit, 2);
}

#[test]
fn books_go_on_from_the_snapshots_of_a_new_epoch() {
    let script = check_from_start(
        "snap i0 e8 @3 99:1 98:2 / 101:1 102:1     -> book i0 e8 @3 98:2 /
         delta i0 e8 @4 98:3                       -> book i0 e8 @4 98:3 /
         delta i0 e9 @1 98:4                       -> stale i0 new_epoch, ask i0
         delta i0 e9 @2 98:5                       ->
         snap i0 e9 @2 99:1 98:5 / 101:1 102:1     -> book i0 e9 @2 98:5 /, fresh i0",
    );
    assert_eq!(script.market.stats().new_epoch, 1);
    assert_eq!(script.market.head(InstrumentId(0)), (Epoch(9), Sequence(2)));
}

#[test]
fn trade_ids_may_begin_again_in_a_new_epoch() {
    let script = check_from_start(
        "trade i0 @43 #10                          -> trade i0 e7 @43 #10
         replay i0 e8 @1 #1                        ->
         snap i0 e8 @1 99:1 98:1 / 101:1 102:1     ->
         trade i0 e8 @2 #2                         -> trade i0 e8 @2 #2
         trade i0 e9 @1 #1                         -> stale i0 new_epoch, ask i0, trade i0 e9 @1 #1
         replay i0 e9 @1 #1                        ->",
    );
    assert_eq!(script.market.stats().trades, 5);
}

#[test]
fn history_told_again_in_a_new_epoch_counts_once() {
    let script = check_from_start(
        "replay i0 e8 @1 #9                        ->
         replay i0 e8 @2 #10                       ->
         snap i0 e8 @2 99:1 98:1 / 101:1 102:1     ->",
    );
    let id = InstrumentId(0);
    let trades: Vec<_> = script.market.trades(id).map(|t| (t.epoch.0, t.seq.0, t.trade.id)).collect();
    assert_eq!(trades, [(8, 1, 9), (8, 2, 10)]);
    assert_eq!(script.market.ticker(id).volume, Qty(2));
}

#[test]
fn a_missed_trade_that_a_new_epoch_tells_stands_in_its_place() {
    let script = check_from_start(
        "replay i0 @44 #11                         -> trade i0 e7 @44 #11
         replay i0 e8 @1 #9                        ->
         replay i0 e8 @2 #10                       ->
         replay i0 e8 @3 #11                       ->",
    );
    let id = InstrumentId(0);
    let trades: Vec<_> = script.market.trades(id).map(|t| (t.epoch.0, t.trade.id)).collect();
    assert_eq!(trades, [(8, 9), (8, 10), (8, 11)]);
    let (ticker, candle) = (script.market.ticker(id), script.market.candles(id, 0).next_back().unwrap());
    assert_eq!((ticker.volume, ticker.last, candle.close), (Qty(3), Some(Price(111)), Price(111)));
}

#[test]
fn a_lost_connection_makes_stale_and_the_next_one_tells_only_what_differs() {
    let script = check_from_start(
        "trade i0 @43 #10                          -> trade i0 e7 @43 #10
         disconnect                                -> stale i0 disconnected
         disconnect                                ->
         timeout +5000                             ->
         connect                                   ->
         inst i0                                   ->
         replay i0 @41 #9                          ->
         replay i0 @43 #10                         ->
         replay i0 @45 #11                         -> trade i0 e7 @45 #11
         snap i0 @46 99:1 97:2 / 101:1 102:1       -> book i0 e7 @46 98:0 97:2 /, fresh i0
         delta i0 @47 97:0                         -> book i0 e7 @47 97:0 /
         connect                                   -> stale i0 disconnected
         snap i0 @47 99:1 / 101:1 102:1            -> fresh i0",
    );
    assert_eq!(script.market.status(), FeedStatus::Online);
    assert_eq!(script.market.stats().snapshots, 3);
}

#[test]
fn a_replayed_trade_below_what_was_told_is_dropped() {
    check_from_start(
        "trade i0 @43 #10                          -> trade i0 e7 @43 #10
         replay i0 @43 #11                         ->
         replay i0 @42 #12                         ->
         replay i0 @44 #13                         -> trade i0 e7 @44 #13",
    );
}

#[test]
fn a_snapshot_cannot_take_back_what_clients_were_told() {
    let script = check_from_start(
        "delta i0 @43 98:2                         -> book i0 e7 @43 98:2 /
         disconnect                                -> stale i0 disconnected
         connect                                   ->
         snap i0 @42 99:1 98:1 / 101:1 102:1       ->
         snap i0 @43 99:1 98:1 / 101:1 102:1       ->
         timeout +1000                             -> ask i0
         snap i0 @44 99:1 98:1 / 101:1 102:1       -> book i0 e7 @44 98:1 /, fresh i0",
    );
    assert_eq!(script.market.stats().old_snapshot, 2);
}

#[test]
fn an_instrument_is_not_redefined() {
    let script = check_from_start(
        "inst i0 step5                             ->
         inst i0 cancel_only step5                 ->
         inst i0 cancel_only                       -> inst i0
         delta i1 @1 5:1                           ->",
    );
    let stats = script.market.stats();
    assert_eq!((stats.redefined, stats.unknown_instrument), (2, 1));
    assert_eq!(script.market.instruments().count(), 1);
}

#[test]
fn a_snapshot_that_does_not_come_is_asked_for_again() {
    check_from_start(
        "timeout +9000                             ->
         delta i0 @50                              -> stale i0 sequence_gap, ask i0
         timeout +999                              ->
         timeout +1                                -> ask i0
         timeout +999                              ->
         timeout +1                                -> ask i0
         snap i0 @50 7:1                           -> book i0 e7 @50 99:0 98:0 7:1 / 101:0 102:0, bbo i0, fresh i0
         timeout +9000                             ->",
    );
}

#[test]
fn many_overdue_snapshots_are_one_request_which_is_given_time_while_answers_come() {
    let mut script = Script::new(MarketLimits::default());
    let _ = script.step("connect");
    for id in 0..20 {
        let _ = script.step(&format!("inst i{id}"));
    }
    check(
        &mut script,
        "timeout +999                              ->
         timeout +1                                -> ask all
         snap i0 @1 5:1 +900                       -> book i0 e7 @1 5:1 /, bbo i0, fresh i0
         timeout +900                              ->
         snap i1 @1 5:1                            -> book i1 e7 @1 5:1 /, bbo i1, fresh i1
         snap i1 @1 5:1                            ->
         timeout +999                              ->
         timeout +1                                -> ask all",
    );
    for id in 2..18 {
        let _ = script.step(&format!("snap i{id} @1"));
    }
    check(&mut script, "timeout +1000 -> ask i18, ask i19 \n timeout +1000 -> ask i18, ask i19");
}

#[test]
fn trades_kept_are_limited() {
    let mut script = started(MarketLimits { trades_kept: 2, ..MarketLimits::default() });
    for n in 0..5 {
        let _ = script.step(&format!("trade i0 @{} #{}", 43 + n, 10 + n));
    }
    let ids: Vec<_> = script.market.trades(InstrumentId(0)).map(|t| t.trade.id).collect();
    assert_eq!(ids, [13, 14]);
    assert_eq!(script.market.trades(InstrumentId(77)).len(), 0);
    assert_eq!(script.market.candles(InstrumentId(77), 0).len(), 0);
}

#[test]
#[should_panic(expected = "outputs are drained")]
fn outputs_are_drained_before_the_next_event() {
    let mut script = started(MarketLimits::default());
    script.market.handle_disconnect(script.now);
    let event = Event {
        epoch: Epoch(7),
        line: 5,
        ts_event: script.now,
        ts_recv: script.now,
        body: EventBody::Heartbeat,
    };
    script.market.apply(&event, &EventBatch::default());
}
