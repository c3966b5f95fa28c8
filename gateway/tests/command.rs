//! The command itself: what it prints, what it refuses and with which exit code, and how it starts and ends.

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;
use support::client::Client;
use support::http::{Samples, get};
use support::running::{Running, gateway};

/// From the start of the command until a client has a book.
const FIRST_BOOK_MAX: Duration = Duration::from_secs(5);

/// Runs to the end; exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    shown(&gateway(arguments).output().expect("the command starts"))
}

fn shown(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

/// A settings file that is there as long as it is held.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("room for it");
    file
}

#[test]
fn version_is_that_of_the_package() {
    let expected = format!("gateway {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]), (0, expected, String::new()));
}

#[test]
fn help_names_every_flag_and_command() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    let flags = ["--config", "--listen", "--admin-listen", "--feed", "--shards", "--log-level", "--version"];
    let commands = [
        "check-config",
        "print-config",
        "explain",
        "top",
        "tail",
        "mint-token",
        "check-token",
        "completions",
    ];
    for word in flags.into_iter().chain(commands) {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
    // Whatever a flag sets has its default beside it.
    assert!(help.contains("127.0.0.1:8080") && help.contains("127.0.0.1:9464"), "{help}");
    for command in commands {
        assert_eq!(run(&[command, "--help"]).0, 0, "{command}");
    }
}

#[test]
fn what_is_no_flag_is_an_error_of_usage() {
    for arguments in [&["--lisen", "x"][..], &["serve"], &["--shards", "many"], &["completions", "klingon"]] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, &out[..]), (2, ""), "{arguments:?}");
        assert!(err.starts_with("error: "), "{err}");
    }
    assert!(run(&["--lisen", "x"]).2.contains("--listen"), "no hint");
}

#[test]
fn good_settings_are_called_good() {
    let good = (0, "the settings are good\n".to_owned(), String::new());
    assert_eq!(run(&["check-config"]), good);
    let file = file("[public]\nlisten = \"0.0.0.0:0\"\n[feed]\nsource = \"tcp://localhost:7001\"\n");
    let path = file.path().to_str().unwrap();
    assert_eq!(run(&["check-config", "--config", path]), good);
    let output = gateway(&["check-config"]).env("GATEWAY_CONFIG", path).output().unwrap();
    assert_eq!(shown(&output), good);
}

#[test]
fn every_wrong_key_is_named_at_once() {
    let file = file("colour = 1\n[public]\nlisen = \"x\"\n[feed.sim]\nsymbols = \"many\"\n");
    let path = file.path().to_str().unwrap();
    for arguments in
        [&["check-config", "--config", path][..], &["print-config", "--config", path], &["--config", path]]
    {
        let mut command = gateway(arguments);
        let output = command.env("GATEWAY_SHARD_COUNT", "2").output().unwrap();
        let (code, out, err) = shown(&output);
        assert_eq!((code, &out[..]), (78, ""), "{arguments:?}");
        let expected = format!(
            "error: 4 problems in the settings\n  \
             {path}: colour: unknown key\n  \
             {path}: feed.sim.symbols: expected integer such as 20, found string\n  \
             {path}: public.lisen: unknown key, did you mean public.listen?\n  \
             GATEWAY_SHARD_COUNT: no such setting, did you mean GATEWAY_SHARDS_COUNT?\n"
        );
        assert_eq!(err, expected);
    }
}

#[test]
fn settings_that_cannot_be_read_or_used_exit_with_78() {
    let broken = file("[public\n");
    let broken = broken.path().to_str().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["check-config", "--config", "/no/such/file"], "/no/such/file: "),
        (&["check-config", "--config", broken], "TOML parse error at line 1"),
        (&["check-config", "--listen", "here"], "invalid socket address"),
        (&["check-config", "--feed", "udp://x"], "`udp://x` is no feed"),
        (&["check-config", "--shards", "65"], "shards.count must be at most 64"),
        (
            &["--log-level", "a=b=c", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
            "log.level = ",
        ),
    ];
    for (arguments, words) in cases {
        let (code, out, err) = run(arguments);
        assert_eq!((code, &out[..]), (78, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains(words), "{err}");
    }
}

#[test]
fn what_is_printed_is_read_back_the_same() {
    let flags = ["--listen", "127.0.0.1:1234", "--shards", "3", "--feed", "tcp://localhost:7001"];
    let (code, printed, _) = run(&[&["print-config"], &flags[..]].concat());
    assert_eq!(code, 0);
    for line in ["listen = \"127.0.0.1:1234\"", "count = 3", "source = \"tcp://localhost:7001\""] {
        assert!(printed.contains(line), "{line} is missing:\n{printed}");
    }
    let file = file(&printed);
    let path = file.path().to_str().unwrap();
    assert_eq!(run(&["print-config", "--config", path]), (0, printed, String::new()));
    // A flag wins over the environment, and that over the file.
    let mut command = gateway(&["print-config", "--config", path, "--log-level", "warn"]);
    command.env("GATEWAY_LOG_LEVEL", "trace").env("GATEWAY_SHARDS_COUNT", "4");
    let (_, printed, _) = shown(&command.output().unwrap());
    assert!(printed.contains("level = \"warn\"") && printed.contains("count = 4"), "{printed}");
}

#[test]
fn completions_know_the_flags() {
    let (code, out, err) = run(&["completions", "bash"]);
    assert_eq!((code, &err[..]), (0, ""));
    assert!(out.contains("_gateway()") && out.contains("--admin-listen"), "{out}");
}

#[test]
fn an_address_in_use_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for (setting, listen, admin) in [("public.listen", &address[..], free), ("admin.listen", free, &address)]
    {
        let (code, out, err) = run(&["--listen", listen, "--admin-listen", admin, "--log-level", "error"]);
        assert_eq!((code, &out[..]), (1, ""), "{err}");
        let begin = format!("error: {setting} = {address}: Address already in use");
        assert!(err.starts_with(&begin) && err.contains("choose another address"), "{err}");
    }
}

#[test]
fn a_client_has_a_book_within_seconds_of_the_start() {
    let start = Instant::now();
    let running = Running::start(&[]);
    let mut client = running.client();
    client.subscribe(json!({ "channel": "book", "symbol": ["BTC/USD"] }));
    client.wait("an update", |view| view.points["BTC/USD"].len() > 1);
    let took = start.elapsed();
    println!("a book and an update after {took:?}");
    assert!(took < FIRST_BOOK_MAX, "{took:?}");
    assert!(client.view.books["BTC/USD"].book.bids.len() == 10);
    assert_eq!(get(running.admin, "/readyz").status, 200);
}

/// Ends the command with a signal while clients take data.
fn check_signal(name: &str) {
    let mut running = Running::start(&["--shards", "2"]);
    let mut clients = [(); 4].map(|()| running.client());
    clients[0].subscribe(json!({ "channel": "ticker", "symbol": ["BTC/USD"] }));
    running.signal(name);
    assert_eq!(clients.each_mut().map(Client::wait_closed), [1001; 4]);
    assert_eq!(running.wait().code(), Some(0));
    let (rest, logs) = running.said();
    assert!(rest.contains("/v2") && rest.contains("/metrics"), "{rest}");
    assert!(logs.contains("started") && logs.contains("stopped"), "{logs}");
    assert!(!logs.contains("ERROR") && !logs.contains("panicked"), "{logs}");
}

#[test]
fn sigterm_closes_clients_with_1001_and_ends_well() {
    check_signal("TERM");
}

#[test]
fn sigint_does_the_same() {
    check_signal("INT");
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    let mut running = Running::start(&[]);
    drop(running.client());
    support::wait_for("the gateway to be ready", || {
        (get(running.admin, "/readyz").status == 200).then_some(())
    });
    // Shards count before they take what the engine posted: who counts once more knows what made the gateway ready.
    get(running.admin, "/metrics");
    let mut socket = support::socket::Socket::connect_narrow(running.public, "/v2");
    let symbols = ["BTC/USD", "ETH/USD", "SOL/USD"];
    let params = json!({ "channel": "book", "symbol": symbols, "depth": 1000 });
    socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    support::wait_for("the gateway to be blocked", || {
        let samples = Samples::parse(&get(running.admin, "/metrics").body);
        (samples.one("gateway_clients_lagging") == 1).then_some(())
    });
    let start = Instant::now();
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn logs_are_json_when_asked() {
    let file = file("[log]\nformat = \"json\"\n");
    let mut running = Running::start(&["--config", file.path().to_str().unwrap()]);
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    let (_, logs) = running.said();
    let lines: Vec<serde_json::Value> =
        logs.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(lines.iter().any(|line| line["fields"]["message"] == "started"), "{logs}");
}
