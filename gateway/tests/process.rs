//! The process in trouble and at its end: no descriptors, short of memory, a full disk below its log, SIGTERM with a crowd inside.
//!
//! Who is inside meanwhile loses nothing.

mod support;

use std::fs::File;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use support::client::Client;
use support::gateway::settings;
use support::http::{Samples, ask, get};
use support::running::{PORTS, Running, gateway};
use support::scene::Scene;
use support::socket::{CLOSE, Incoming, Socket};

const SYMBOLS: [&str; 3] = ["BTC/USD", "ETH/USD", "SOL/USD"];

/// A client that follows some symbols.
fn follower(running: &Running) -> Client {
    let mut client = running.client();
    client.subscribe(json!({ "channel": "book", "symbol": SYMBOLS }));
    client
}

/// The client goes on; its view checks that nothing is missing.
fn check_alive(client: &mut Client) {
    client.drain();
    let updates = client.view.updates;
    client.wait("the market to go on", |view| view.updates > updates + 20);
    assert_eq!(client.closed, None);
}

#[test]
fn without_descriptors_callers_are_shed_and_clients_are_served() {
    const DESCRIPTORS: u64 = 64;
    let binary = gateway(&[]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"")]).arg(binary);
    command.args(PORTS).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::over(command);
    let mut client = follower(&running);
    let samples = || Samples::parse(&get(running.admin, "/metrics").body);
    assert_eq!(samples().one("process_max_fds"), DESCRIPTORS);
    let shed = |samples: &Samples| samples.of("gateway_connections_refused_total", "reason", "descriptors");
    assert_eq!(shed(&samples()), 0);
    // More callers than there are descriptors; they say nothing.
    let callers: Vec<TcpStream> = (0..2 * DESCRIPTORS)
        .map(|_| TcpStream::connect(running.public).expect("the queue has room"))
        .collect();
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        check_alive(&mut client);
    }
    drop(callers);
    // Who is answered stood behind all of them in the kernel's queue.
    support::wait_for("descriptors to be had again", || {
        (get(running.public, "/0/public/Time").status == 200).then_some(())
    });
    let mut other = follower(&running);
    check_alive(&mut other);
    check_alive(&mut client);
    assert!(shed(&samples()) > 0);
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    let (_, logs) = running.said();
    let warnings = logs.matches("there are no descriptors left").count();
    assert!((1..1_000).contains(&warnings), "{logs}");
}

#[test]
fn short_of_memory_new_work_is_refused_and_old_goes_on() {
    const ROOM: usize = 512 << 20;
    let mut config = settings();
    // The gateway is in the process of this test, whatever that has already.
    config.memory.budget_bytes = resident() + ROOM as u64;
    let mut scene = Scene::start(config);
    let mut asker = scene.asker("/v2");
    let budget = resident() + ROOM as u64;
    let hog = vec![1_u8; ROOM];
    scene.gateway.wait_samples("memory to be short", |samples| samples.one("gateway_memory_tight") == 1);
    assert!(resident() > budget / 10 * 8, "{}", resident());
    let subscribe =
        json!({ "method": "subscribe", "params": { "channel": "ticker", "symbol": ["BTC/USD"] } });
    let refused = asker.ask(1, subscribe.to_string().as_bytes(), 1);
    assert_eq!(refused[0]["error"], "Memory is short here, try again later");
    let answer = ask(
        scene.gateway.public,
        "GET /v2 HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    assert_eq!((answer.status, &answer.body[..]), (503, "memory is short, try again later\n"));
    let readiness = scene.gateway.readiness();
    assert_eq!((readiness.status, &readiness.body[..]), (503, "not ready: memory is short\n"));
    assert_eq!(scene.gateway.samples().of("gateway_limit_refusals_total", "limit", "memory"), 2);
    scene.check_canary();
    drop(hog);
    scene.gateway.wait_samples("room again", |samples| samples.one("gateway_memory_tight") == 0);
    assert_eq!(asker.ask(1, subscribe.to_string().as_bytes(), 1)[0]["success"], true);
    drop(Socket::connect(scene.gateway.public, "/v2"));
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

#[test]
fn a_full_disk_below_the_log_costs_lines_and_nothing_else() {
    let mut command = gateway(&[&PORTS[..], &["--log-level", "debug"]].concat());
    command.stderr(File::options().write(true).open("/dev/full").expect("Linux"));
    let mut running = Running::over(command);
    let mut client = follower(&running);
    for _ in 0..50 {
        // Each is worth a line.
        assert_eq!(ask(running.public, "NONSENSE\r\n\r\n").status, 400);
    }
    let lost = |reason: &str| {
        let samples = Samples::parse(&get(running.admin, "/metrics").body);
        samples.of("gateway_log_lines_lost_total", "reason", reason)
    };
    support::wait_for("lines to be lost", || (lost("not_written") > 50).then_some(()));
    check_alive(&mut client);
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    // The pipe is never emptied: it takes 64 KiB, the queue some thousand lines.
    let mut running = Running::start(&["--log-level", "trace,gateway=trace"]);
    let mut client = follower(&running);
    let lost = |running: &Running| {
        let samples = Samples::parse(&get(running.admin, "/metrics").body);
        samples.of("gateway_log_lines_lost_total", "reason", "queue_full")
    };
    support::wait_for("the queue to be full", || {
        for _ in 0..100 {
            ask(running.public, "NONSENSE\r\n\r\n");
        }
        (lost(&running) > 0).then_some(())
    });
    check_alive(&mut client);
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
}

/// Connections, every second one of which opted in, that have seen the status.
fn crowd(running: &Running, count: usize) -> Vec<Socket> {
    let path = |n: usize| if n.is_multiple_of(2) { "/v2" } else { "/v2?ext=1" };
    let mut sockets: Vec<Socket> = (0..count).map(|n| Socket::connect(running.public, path(n))).collect();
    for socket in &mut sockets {
        assert!(socket.frame().text().contains("\"status\""));
    }
    sockets
}

/// Reads a connection to its end: when it was closed, with what, and the notice before that.
fn read_out(mut socket: Socket) -> (Instant, u16, String, Option<serde_json::Value>) {
    let mut notice = None;
    loop {
        let frame = socket.frame();
        if frame.opcode == CLOSE {
            let (code, reason) = frame.close();
            return (Instant::now(), code, reason.to_owned(), notice);
        }
        let message: serde_json::Value = serde_json::from_str(frame.text()).expect("JSON");
        if message["channel"] == "notice" {
            notice = Some(message["data"][0].clone());
        }
    }
}

#[test]
fn sigterm_closes_a_crowd_evenly_and_asks_it_to_come_back_at_different_times() {
    const CROWD: usize = 300;
    let mut command = gateway(&PORTS);
    command.env("GATEWAY_DRAIN_WINDOW_MS", "3000").env("GATEWAY_DRAIN_RESTART", "true");
    command.env("GATEWAY_DRAIN_UNREADY_MS", "300").env("GATEWAY_DRAIN_RECONNECT_MS", "8000");
    let mut running = Running::over(command);
    drop(running.client());
    let sockets = crowd(&running, CROWD);
    let readers: Vec<_> =
        sockets.into_iter().map(|socket| std::thread::spawn(move || read_out(socket))).collect();
    let start = Instant::now();
    running.signal("TERM");
    support::wait_for("it to be not ready", || {
        (get(running.admin, "/readyz").body == "not ready: the gateway is stopping\n").then_some(())
    });
    // Still, who comes before the door is shut is served; afterwards nobody is accepted.
    support::wait_for("the door to be shut", || TcpStream::connect(running.public).is_err().then_some(()));
    assert!(start.elapsed() > Duration::from_millis(250), "{:?}", start.elapsed());
    // Operators may look meanwhile.
    let samples = Samples::parse(&get(running.admin, "/metrics").body);
    assert_eq!(samples.one("gateway_stopping"), 1);
    let mut seconds = [0_usize; 60];
    let mut delays = Vec::new();
    for (index, reader) in readers.into_iter().enumerate() {
        let (closed, code, reason, notice) = reader.join().expect("it was read to its end");
        assert_eq!(code, 1012);
        let delay = reason.strip_prefix("gateway restarts, come back after ");
        let delay = delay.and_then(|rest| rest.strip_suffix(" ms")).unwrap_or_else(|| panic!("{reason}"));
        let delay: u64 = delay.parse().expect("a number");
        assert_eq!(notice.is_some(), index % 2 == 1, "who opted in is told before");
        if let Some(notice) = notice {
            assert_eq!((&notice["code"], &notice["retry_ms"]), (&json!("closing"), &json!(delay)));
        }
        seconds[closed.duration_since(start).as_secs() as usize] += 1;
        delays.push(delay);
    }
    println!("closed in each second: {:?}", &seconds[..8]);
    let most = *seconds.iter().max().expect("there are some");
    assert!(most <= 2 * CROWD / 3, "at most twice the mean in any second: {seconds:?}");
    delays.sort_unstable();
    let widest = delays.windows(2).map(|pair| pair[1] - pair[0]).max().expect("there are some");
    assert!(widest < 200 && delays[0] < 200 && delays[CROWD - 1] > 7_800, "{delays:?}");
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_patience() {
    let mut command = gateway(&PORTS);
    command.env("GATEWAY_DRAIN_WINDOW_MS", "600000").env("GATEWAY_DRAIN_UNREADY_MS", "600000");
    let mut running = Running::over(command);
    let mut socket = crowd(&running, 1).remove(0);
    running.signal("TERM");
    support::wait_for("it to be not ready", || (get(running.admin, "/readyz").status == 503).then_some(()));
    let soon = Instant::now() + Duration::from_millis(200);
    while let Incoming::Frame(frame) = socket.read(soon) {
        assert_ne!(frame.opcode, CLOSE, "it is in no hurry");
    }
    running.signal("TERM");
    assert_eq!(socket.closing().0, 1001);
    assert_eq!(running.wait().code(), Some(0));
}
