//! What `gateway explain` says against what clients of a running gateway get.
//!
//! Exactly: a client that does not read while known events happen, for every policy on every channel where it fits. Within a
//! tolerance: a recording in real time to a client that reads at the speed of a slow link. And what the command prints: golden
//! files below `golden`, which `UPDATE_GOLDEN=1` writes anew, and the example of the operations page.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use feed_sim::{Arrivals, Lines, Simulator, SimulatorConfig, Stamper, Venue, tell_opening};
use gateway::config::FeedSource;
use model::Nanos;
use serde_json::{Value, json};
use support::asleep::{FEW, MANY, NOISE, RING, SYMBOL, Scene, Start, params};
use support::gateway::{Gateway, settings};
use support::socket::Socket;
use support::view::View;

/// How long the explained client sleeps behind the last event that it misses, and how much later the next event comes: the running
/// gateway has all the time that it needs.
const SLEEP: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(2);

/// Runs `gateway explain`, with as many entries in a ring as there are in those of the gateway that it is compared with; standard
/// output.
fn explain(ring_entries: u64, arguments: &[String]) -> String {
    let (out, err) = try_explain(ring_entries, arguments);
    assert_eq!(err, "", "{arguments:?}");
    out
}

/// The same with what it says on standard error.
fn try_explain<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(
    ring_entries: u64,
    arguments: &[S],
) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAY_")) {
        command.env_remove(name);
    }
    command.env("GATEWAY_LIMITS_RING_ENTRIES", ring_entries.to_string());
    command.current_dir(root()).arg("explain").args(arguments).stdin(Stdio::null());
    let output = command.output().expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    assert_eq!(output.status.success(), output.stderr.is_empty(), "{arguments:?}: {}", output.status);
    (text(&output.stdout), text(&output.stderr))
}

/// The folder of the workspace, from where people run examples.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above the gateway")
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// What a client of the explained gateway gets that does what the sleeper of a scene did: subscribes behind a line, reads
/// nothing up to another, and sees what the feed has told by now.
fn explain_sleeper(scene: &Scene, params: &Value, start: Start, missed: u64) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), scene.feed.tape(missed, PAUSE)).expect("room for it");
    let offset = |line| Duration::from_nanos(scene.feed.offset(line));
    let us = |time: Duration| format!("{}us", time.as_micros());
    // Between two lines, which are a millisecond apart.
    let asleep = offset(start.line) + Duration::from_micros(500);
    let mut arguments = vec![
        format!("--tape={}", file.path().display()),
        format!("--symbol={SYMBOL}"),
        format!("--beside=book:{NOISE}:1000"),
        format!("--from={}", us(offset(start.line) + Duration::from_micros(250))),
        format!("--stall={}..{}", us(asleep), us(offset(missed) + SLEEP)),
        "--send-buffer=4096".to_owned(),
        "--json".to_owned(),
    ];
    // A flag has the name of its parameter. Whether there is a snapshot is no flag; it comes before the client falls asleep.
    for (key, value) in params.as_object().expect("params are an object") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if key != "symbol" && key != "snapshot" {
            arguments.push(format!("--{}={value}", key.replace('_', "-")));
        }
    }
    objects(&explain(RING, &arguments))
}

/// The messages about the symbol that a client got after it woke, as the scene shows them but for what is in them.
fn show_explained(lines: &[Value], start: Start, woke: Duration) -> Vec<String> {
    let ack = lines.iter().find(|line| line["kind"] == "subscribed").expect("it is subscribed");
    let since = |line: &Value, key: &str| match line[key].as_u64() {
        seq if seq == ack["seq"].as_u64() => 0,
        Some(seq) => seq.checked_sub(start.seq).unwrap_or_else(|| panic!("{key} is of the past: {line}")),
        None => panic!("no {key}: {line}"),
    };
    let show = |line: &Value| match line["kind"].as_str().expect("a kind") {
        kind @ ("merged" | "gap" | "resynced") => Some(format!(
            "{kind} {}..{} of {}",
            since(line, "from_seq"),
            since(line, "to_seq"),
            line["count"]
        )),
        "snapshot" => Some(format!("snapshot at {}", since(line, "seq"))),
        "update" => {
            let merged = line.get("merged").map(|count| format!(" merged {count}")).unwrap_or_default();
            Some(format!("{}>{}{merged}", since(line, "prev"), since(line, "seq")))
        }
        "close" => Some(format!("close {} {}", line["code"], line["text"])),
        _ => None,
    };
    let is_later = |line: &&Value| line["offset_us"].as_u64() >= Some(woke.as_micros() as u64);
    lines.iter().filter(is_later).filter_map(show).collect()
}

/// Takes out what an update says of its content, which the explainer does not tell.
fn without_content(line: &str) -> String {
    let words = line.split(' ').filter(|word| !word.starts_with('#'));
    words.collect::<Vec<_>>().join(" ")
}

/// The number of messages that the policy gives for events that were missed, before the next event.
fn messages_of(channel: &str, policy: &str, events: u64) -> usize {
    let kept = events.min(RING) as usize;
    match policy {
        // A notice, and a merged update.
        "conflate" | "latest" => 2,
        // A notice, and for a book a snapshot.
        "drop_newest" => 1 + usize::from(channel == "book"),
        _ if channel == "book" && events > RING => 2,
        _ => kept + usize::from(events > RING),
    }
}

#[test]
fn every_policy_of_every_channel_is_explained_as_it_is() {
    let policies = [
        ("book", &["conflate", "drop_oldest", "drop_newest", "disconnect"][..]),
        ("ticker", &["latest", "drop_oldest", "drop_newest", "disconnect"]),
        ("ohlc", &["latest", "drop_oldest", "drop_newest", "disconnect"]),
        ("trade", &["drop_oldest", "drop_newest", "disconnect"]),
    ];
    let mut scene = Scene::start();
    let mut compared = 0;
    for (channel, policies) in policies {
        for (policy, events) in policies.iter().flat_map(|policy| [(*policy, FEW), (*policy, MANY)]) {
            if policy == "disconnect" && events == MANY {
                continue;
            }
            let case = format!("{policy} of {channel} after {events}");
            let params = params(channel, policy);
            let sleeper = scene.fall_asleep(&params);
            let start = sleeper.start;
            scene.miss(channel, events);
            let missed = scene.feed.line();
            let got = scene.wake(sleeper, messages_of(channel, policy, events));
            let woke = Duration::from_nanos(scene.feed.offset(missed)) + SLEEP;
            let lines = explain_sleeper(&scene, &params, start, missed);
            let told = show_explained(&lines, start, woke);
            println!("{case}: {told:?}");
            assert_eq!(told, got.iter().map(|line| without_content(line)).collect::<Vec<_>>(), "{case}");
            compared += told.len();
            check_accounts(&lines, &case);
            scene.tidy_up();
        }
    }
    println!("{compared} messages compared");
    assert!(compared > 150, "{compared} messages");
}

/// Every entry became something, and the client ends with what the engine has, or was told that it does not.
fn check_accounts(lines: &[Value], case: &str) {
    let summary = lines.last().expect("a summary comes last");
    let count = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("{case}: no {key} in {summary}"));
    let became = ["updates", "merged", "dropped", "dropped_silently", "covered", "unsent"].map(count);
    assert_eq!(count("entries"), became.iter().sum::<u64>(), "{case}: {summary}");
    assert_eq!(
        (&summary["end"]["how"], &summary["equal"]),
        (&json!("live"), &json!(true)),
        "{case}: {summary}"
    );
}

#[test]
fn the_end_of_a_client_that_disconnects_rather_than_to_lag_is_explained_as_it_is() {
    let cases = [
        ("trade", json!({ "max_lag_entries": 5 }), FEW),
        ("book", json!({ "max_lag_entries": 5 }), FEW),
        ("ticker", json!({ "max_lag_ms": 1 }), 1),
        // The limits allow it, but what it wants is no longer there.
        ("trade", json!({}), MANY),
    ];
    let mut scene = Scene::start();
    for (index, (channel, limits, events)) in cases.into_iter().enumerate() {
        let mut params = params(channel, "disconnect");
        let keys = params.as_object_mut().expect("params are an object");
        keys.extend(limits.as_object().expect("limits are an object").clone());
        let mut sleeper = scene.fall_asleep(&params);
        let start = sleeper.start;
        scene.miss(channel, events);
        let missed = scene.feed.line();
        scene.gateway.wait_samples("the gateway to give up", |samples| {
            samples.of("gateway_connections_closed_total", "code", "slow_consumer") == index as u64 + 1
        });
        let (code, reason) = sleeper.socket.closing();
        drop(sleeper);
        let lines = explain_sleeper(&scene, &params, start, missed);
        let woke = Duration::from_nanos(scene.feed.offset(missed)) + SLEEP;
        let told = show_explained(&lines, start, woke);
        assert_eq!(told, [format!("close {code} {reason:?}")], "{params} after {events}");
        assert_eq!(lines.last().expect("a summary")["end"]["told"], true);
        scene.tidy_up();
    }
}

/// The recording of the comparison in real time: one busy symbol.
const BUSY: &str = "BTC/USD";
const BUSY_SPAN: Nanos = Nanos::from_secs(12);
const BUSY_RATE: f64 = 900.0;

/// How the client takes what it is sent.
const BYTES_PER_S: u64 = 64_000;
const DEPTH: u64 = 25;

/// Makes a recording, as feed-sim would record a simulated market.
fn record_busy_market() -> String {
    let start = Nanos::from_secs(1_770_000_000);
    let config = SimulatorConfig {
        symbols: 1,
        rate: BUSY_RATE,
        arrivals: "poisson".parse::<Arrivals>().expect("a name of arrivals"),
        depth: 100,
        ..SimulatorConfig::default()
    };
    let mut simulator = Simulator::new(config).expect("settings in their ranges");
    let (mut lines, mut stamper, mut out) = (Lines::default(), Stamper::default(), Vec::new());
    let mut now = start;
    tell_opening(&mut simulator, now, &mut lines);
    while now.since(start) < BUSY_SPAN {
        stamper.stamp(&lines, &mut out);
        lines.clear();
        simulator.poll(now, &mut lines);
        now = simulator.next_due();
    }
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// When an event of the recording happened, from its beginning; nanoseconds.
fn recorded_offset(tape: &str, seq: u64) -> u64 {
    let time = |line: &str| {
        let (_, rest) = line.split_once(",\"ts\":").expect("every line has a time");
        let digits = rest.find(|c: char| !c.is_ascii_digit()).expect("something follows");
        rest[..digits].parse::<u64>().expect("a number")
    };
    let event = format!("\"symbol\":\"{BUSY}\",\"seq\":{seq},");
    let line = tape.lines().find(|line| line.contains(&event)).expect("the event is on the tape");
    time(line) - time(tape.lines().next().expect("a first line"))
}

/// Nanoseconds since midnight of now, and of a time as it stands in a message.
fn now_in_day() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    now.as_nanos() as u64 % DAY
}

const DAY: u64 = 86_400_000_000_000;

fn time_in_day(message: &Value) -> u64 {
    let text = message["data"][0]["timestamp"].as_str().expect("a book has a timestamp");
    let number = |part: std::ops::Range<usize>| text[part].parse::<u64>().expect("digits");
    ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1_000_000_000 + number(20..26) * 1_000
}

/// What a client of a running gateway got.
#[derive(Debug, Default)]
struct Got {
    view: View,
    updates: u64,
    /// Entries that were folded into others.
    merged: u64,
    bytes: u64,
    /// Of each update when it was received, nanoseconds.
    ages: Vec<u64>,
    /// When it subscribed, and the first update's number and time.
    subscribed: u64,
    first: Option<(u64, u64)>,
}

/// Reads slowly what a gateway sends of the recording until the book is at its last entry.
fn read_slowly(tape: &Path, last_seq: u64) -> Got {
    let mut config = settings();
    config.feed.source = FeedSource::Replay(tape.to_owned());
    config.feed.replay.looping = false;
    config.shards.count = 1;
    let gateway = Gateway::start(config);
    gateway.wait_ready(1);
    let mut other = gateway.ext_client();
    other.subscribe(json!({ "channel": "instrument" }));
    let mut got = Got::default();
    got.view.precisions.clone_from(&other.view.precisions);
    drop(other);
    let mut socket = Socket::connect_narrow(gateway.public, "/v2?ext=1");
    (socket.bytes_per_s, socket.read_bytes_max) = (Some(BYTES_PER_S), 640);
    let params = json!({ "channel": "book", "symbol": [BUSY], "depth": DEPTH });
    socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    got.subscribed = now_in_day();
    while got.view.books.get(BUSY).is_none_or(|book| book.seq < last_seq) {
        let frame = socket.frame();
        let now = now_in_day();
        got.bytes += frame.payload.len() as u64 + if frame.payload.len() < 126 { 2 } else { 4 };
        got.view.apply(frame.text());
        let message: Value = serde_json::from_str(frame.text()).expect("the view read it");
        if message["channel"] != "book" || message["type"] != "update" {
            continue;
        }
        let time = time_in_day(&message);
        got.updates += 1;
        got.merged += message["data"][0]["merged"].as_u64().unwrap_or(1) - 1;
        got.ages.push((now + DAY - time) % DAY);
        got.first.get_or_insert_with(|| (message["data"][0]["seq"].as_u64().expect("a position"), time));
    }
    gateway.samples().check_conserved();
    got
}

#[test]
fn a_recording_in_real_time_to_a_slow_reader_is_what_was_explained() {
    const TOLERANCE: f64 = 0.15;
    let tape = record_busy_market();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &tape).expect("room for it");
    let explain = |arguments: &[String]| {
        let mut all = vec![
            format!("--tape={}", file.path().display()),
            format!("--symbol={BUSY}"),
            format!("--depth={DEPTH}"),
            "--json".to_owned(),
            "--summary".to_owned(),
        ];
        all.extend_from_slice(arguments);
        objects(&explain(1_024, &all)).pop().expect("a summary comes last")
    };
    let last_seq = explain(&[])["seq"].as_u64().expect("a position");
    let mut got = read_slowly(file.path(), last_seq);
    // The time of the first update says when the gateway's replay began.
    let (seq, time) = got.first.expect("there were updates");
    let began = (time + DAY - recorded_offset(&tape, seq)) % DAY;
    let from = (got.subscribed + DAY - began) % DAY;
    let told = explain(&[format!("--from={}us", from / 1_000), format!("--link={BYTES_PER_S}B/s")]);
    got.ages.sort_unstable();
    let median = got.ages[got.ages.len() / 2] / 1_000;
    let mut wrong = Vec::new();
    for (what, live, told) in [
        ("updates", got.updates, &told["updates"]),
        ("merged entries", got.merged, &told["merged"]),
        ("bytes", got.bytes, &told["bytes"]),
        ("microseconds of median age", median, &told["age"]["p50_us"]),
    ] {
        let told = told.as_u64().expect("a number");
        let off = told as f64 / live as f64 - 1.0;
        println!("{what}: {live} got, {told} explained, {:+.1} %", off * 100.0);
        wrong.extend((off.abs() > TOLERANCE).then_some(what));
    }
    assert!(wrong.is_empty(), "{wrong:?} differ by more than {TOLERANCE}: {told}");
    // It was as slow as it was meant to be.
    assert!(got.merged > got.updates / 2 && median > 500_000, "{} merged, {median}", got.merged);
    let point = got.view.points[BUSY].last().expect("a book");
    assert_eq!((&told["equal"], &told["seq"]), (&json!(true), &json!(point.seq)));
    assert_eq!(told["checksum"], point.own, "the books of both clients end alike");
}

/// Entries of a ring by default.
const RING_DEFAULT: u64 = 512;

/// Compares the answer to some arguments about a short tape with a file.
fn golden(name: &str, arguments: &str) {
    let arguments = format!("--tape gateway/tests/golden/explain-tape.jsonl {arguments}");
    let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    let got = explain(RING_DEFAULT, &arguments);
    let path = root().join("gateway/tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &got).expect("the folder is there");
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(got == expected, "{name} differs, UPDATE_GOLDEN=1 writes it anew; got\n{got}");
}

#[test]
fn answers_about_a_short_tape_are_as_written() {
    let slow = "--link 2kB/s --send-buffer 1kB --stall 500ms..1500ms";
    golden("explain-conflate.txt", slow);
    golden("explain-conflate.jsonl", &format!("{slow} --json"));
    golden("explain-gap.txt", "--policy drop_newest --link 3kB/s --send-buffer 800B --stall 500ms..1500ms");
    golden(
        "explain-disconnect.txt",
        "--policy disconnect --max-lag-entries 3 --send-buffer 600 --stall 1s..2500ms",
    );
    golden(
        "explain-plain-trades.txt",
        "--channel trade --plain --link 200B/s --send-buffer 300 --from 1s --for 1.5s",
    );
    golden(
        "explain-candles.txt",
        "--channel ohlc --interval-ms 700 --beside book:ETH/USD --beside trade:BTC/USD",
    );
    golden("explain-ticker.txt", "--channel ticker --event-trigger bbo --max-bytes-per-s 500 --summary");
}

#[test]
fn what_cannot_be_explained_is_said_in_the_words_of_the_gateway() {
    let kraken = "feed-sim/data/kraken-2021-04-17/kraken_book1000_10pairs.txt.gz";
    for (arguments, told) in [
        (
            &["--policy", "latest"][..],
            "Policy not supported, choose conflate, drop_oldest, drop_newest, disconnect",
        ),
        (
            &["--policy", "newest"],
            "Malformed request: policy must be one of conflate, latest, drop_oldest, drop_newest, disconnect",
        ),
        (&["--depth", "11"], "Subscription depth not supported"),
        (&["--channel", "ohlc", "--interval", "2"], "Subscription ohlc interval not supported"),
        (
            &["--channel", "ticker", "--event-trigger", "all"],
            "Malformed request: event_trigger must be trades or bbo",
        ),
        (&["--symbol", "XMR/USD", "--beside", "book:XMR/USD:25"], "Already subscribed"),
        (
            &["--symbol", "XMR/EUR"],
            "XMR/EUR is not on the tape, which has ADA/BTC, BTC/CHF, OMG/USD, OCEAN/BTC",
        ),
        (&["--beside", "book:ETH/CFH"], "WAVES/EUR; did you mean ETH/CHF?"),
        (&["--tier", "gold"], "the settings have no tier gold, but default"),
        (&["--from", "1h"], "--from is beyond the end of the tape, which is 29.2 s long"),
        (&["--stall", "7s..2s"], "is no window: expected FROM..TO such as 2s..7s"),
        (&["--link", "64kB"], "\"64kB\" is no rate: expected bytes or bits per second such as 64kB/s"),
        (&["--plain", "--policy", "conflate"], "cannot be used with"),
    ] {
        let (out, err) = try_explain(RING_DEFAULT, &[&["--tape", kraken], arguments].concat());
        assert!(err.starts_with("error: ") && err.contains(told), "{arguments:?}: {err}");
        assert!(!out.contains("summary"), "{arguments:?}: {out}");
    }
    let (_, err) = try_explain(RING_DEFAULT, &["--tape", "no/such/tape"]);
    assert!(err.starts_with("error: cannot read no/such/tape: "), "{err}");
    let (_, err) = try_explain(RING_DEFAULT, &["--tape", "README.md"]);
    assert!(err.contains("README.md is no recording"), "{err}");
}

#[test]
fn terms_are_brought_inside_what_the_operator_allows() {
    let settings = tempfile::NamedTempFile::new().expect("a file");
    let text = "[delivery.book]\npolicies = [\"conflate\"]\ninterval_ms_min = 50\n\
                [tiers.gold]\nbytes_per_s_max = 9000\n[tiers.gold.book]\ninterval_ms_min = 10\n";
    fs::write(settings.path(), text).expect("room for it");
    let config = settings.path().to_str().expect("UTF-8");
    let scene = |arguments: &[&str]| {
        let tape = "gateway/tests/golden/explain-tape.jsonl";
        let all = [&["--tape", tape, "--config", config, "--json", "--summary"], arguments].concat();
        let (out, err) = try_explain(RING_DEFAULT, &all);
        if err.is_empty() { objects(&out).remove(0) } else { Value::String(err) }
    };
    assert_eq!(scene(&["--interval-ms", "20"])["interval_ms"], 50);
    let gold = scene(&["--interval-ms", "20", "--tier", "gold", "--max-bytes-per-s", "99999"]);
    assert_eq!((&gold["interval_ms"], &gold["bytes_per_s"]), (&json!(20), &json!(9_000)));
    assert_eq!(scene(&["--policy", "disconnect"]), "error: Policy not supported, choose conflate\n");
}

/// The operations page shows a command and parts of its answer: each line of them is in the answer, in their order.
#[test]
fn the_example_of_the_operations_page_is_what_the_command_prints() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("the page is there");
    let (_, block) = page.split_once("$ gateway explain ").expect("the page has the example");
    let (block, _) = block.split_once("```").expect("the block ends");
    let (command, shown) = block.split_once('\n').expect("an answer follows the command");
    let arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let out = explain(RING_DEFAULT, &arguments);
    let mut lines = out.lines();
    let mut compared = 0;
    for line in shown.lines().filter(|line| !line.is_empty() && *line != "...") {
        assert!(lines.any(|one| one == line), "the command prints no such line, or earlier:\n{line}");
        compared += 1;
    }
    assert!(compared > 20, "{compared} lines are shown");
}
