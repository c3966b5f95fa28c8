//! What a hub does about clients that send too much, ping without reading, or want nothing: by the clock that it is given.

use fanout::{Allowance, ClientId, Hub, Limits, Now, Output, Sink, TierBounds, Written};
use model::Nanos;

/// A socket that takes as many bytes as it is allowed, and keeps them.
#[derive(Default)]
struct Socket {
    room: usize,
    taken: Vec<u8>,
}

impl Sink for Socket {
    fn write(&mut self, _: ClientId, bytes: &[u8]) -> Written {
        let len = bytes.len().min(self.room);
        self.room -= len;
        self.taken.extend_from_slice(&bytes[..len]);
        Written::Bytes(len)
    }

    fn now(&mut self) -> Now {
        Now::default()
    }
}

fn at(millis: u64) -> Now {
    Now { mono: Nanos::from_millis(millis), wall: Nanos::from_millis(millis) }
}

fn hub(limits: Limits) -> (Hub, ClientId) {
    let mut hub = Hub::new(limits, vec![TierBounds::default()], "test");
    let id = hub.handle_connect(1, false, at(0));
    (hub, id)
}

/// Opcodes of the frames that were written, and the payloads of pongs.
fn frames(mut bytes: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut opcodes, mut pongs) = (Vec::new(), Vec::new());
    while let [first, second, rest @ ..] = bytes {
        let (len, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            len => (usize::from(*len), rest),
        };
        opcodes.push(first & 0xF);
        if first & 0xF == 0xA {
            pongs.push(rest[..len].to_vec());
        }
        bytes = &rest[len..];
    }
    (opcodes, pongs)
}

#[test]
fn who_pings_without_reading_has_one_pong_waiting() {
    let (mut hub, id) = hub(Limits::default());
    let mut socket = Socket { room: 5, ..Socket::default() };
    hub.handle_ping(id, b"before");
    hub.handle_ping(id, b"and again");
    hub.sweep(8, &mut socket);
    assert_eq!(socket.taken.len(), 5, "the socket is full within the status");
    for number in 0..500_u32 {
        hub.handle_ping(id, &number.to_be_bytes());
        if number == 250 {
            hub.handle_message(id, &mut br#"{"method":"ping","req_id":7}"#.to_vec(), at(1));
        }
    }
    socket.room = usize::MAX;
    hub.handle_writable(id);
    hub.sweep(8, &mut socket);
    let (opcodes, pongs) = frames(&socket.taken);
    assert_eq!(opcodes, [1, 0xA, 0xA, 1, 0xA], "status, what was there before, the answer, one pong");
    let newest = 499_u32.to_be_bytes().to_vec();
    assert_eq!(pongs, [b"before".to_vec(), b"and again".to_vec(), newest]);
    // A socket that takes everything again gets each of them.
    socket.taken.clear();
    (0..3).for_each(|_| hub.handle_ping(id, b"x"));
    hub.sweep(8, &mut socket);
    assert_eq!(frames(&socket.taken).0, [0xA; 3]);
}

#[test]
fn one_pong_waits_also_where_nothing_else_does() {
    let (mut hub, id) = hub(Limits::default());
    let mut socket = Socket::default();
    hub.sweep(8, &mut socket);
    let status = socket.taken.len();
    assert_eq!(status, 0, "the socket takes nothing at all");
    hub.handle_ping(id, b"one");
    hub.handle_ping(id, b"two");
    socket.room = usize::MAX;
    hub.handle_writable(id);
    hub.sweep(8, &mut socket);
    assert_eq!(frames(&socket.taken).1, [b"two".to_vec()]);
}

#[test]
fn messages_are_heard_until_they_are_too_many() {
    let limits = Limits { messages: Allowance { per_s: 20, burst: 100 }, ..Limits::default() };
    let (mut hub, id) = hub(limits);
    // Half an hour at the rate.
    assert!((0..36_000).all(|n| hub.is_heard(id, at(50 * n))));
    let now = at(50 * 36_000);
    assert_eq!((0..1_000).filter(|_| hub.is_heard(id, now)).count(), 100);
    let mut socket = Socket { room: usize::MAX, ..Socket::default() };
    hub.sweep(8, &mut socket);
    assert_eq!(frames(&socket.taken).0, [1, 8], "the status and the goodbye");
    assert_eq!(hub.poll_output(), Some(Output::Closed(id)));
    assert_eq!((hub.stats().message_floods, hub.is_heard(id, at(9_999_999))), (1, false));
}

#[test]
fn who_is_idle_is_closed_and_who_pings_is_not() {
    let limits = Limits { idle_max: Nanos::from_secs(10), ..Limits::default() };
    let (mut hub, idle) = hub(limits);
    let pinging = hub.handle_connect(2, false, at(0));
    for seconds in 1..30 {
        assert!(hub.is_heard(pinging, at(seconds * 1_000)));
        (0..4).for_each(|_| hub.handle_timeout(at(seconds * 1_000)));
        let closed = u64::from(seconds > 10);
        assert_eq!(hub.stats().idle_closed, closed, "after {seconds} s");
        assert_eq!(hub.is_heard(idle, at(0)), closed == 0);
    }
}

#[test]
fn a_drain_closes_evenly_whoever_is_left() {
    const CLIENTS: u64 = 1_000;
    let limits = Limits { reconnect_max: Nanos::from_secs(10), ..Limits::default() };
    let (mut hub, _) = hub(limits);
    for number in 1..CLIENTS {
        hub.handle_connect(number + 1, false, at(0));
    }
    let mut socket = Socket { room: usize::MAX, ..Socket::default() };
    hub.sweep(usize::MAX, &mut socket);
    let window = Nanos::from_secs(60);
    let code = wire::close::CloseCode::ServiceRestart;
    assert_eq!(hub.drain(code, window, Nanos::from_secs(1), at(0).mono), window);
    let closed = |hub: &Hub| hub.stats().closes.iter().sum::<u64>();
    let mut before = 0;
    for second in 1..=60 {
        for tick in 0..20 {
            hub.handle_timeout(at(second * 1_000 - 950 + 50 * tick));
        }
        if second == 10 {
            // Some leave by themselves.
            (600..700).for_each(|index| hub.handle_disconnect(ClientId(index)));
        }
        let now = closed(&hub);
        assert!(now - before <= 2 * CLIENTS / 60, "{} in second {second}", now - before);
        before = now;
    }
    assert_eq!(closed(&hub), CLIENTS - 100);
    // A few need no window.
    let (mut few, _) = self::hub(Limits::default());
    assert_eq!(few.drain(code, window, Nanos::from_millis(10), at(0).mono), Nanos::from_millis(10));
    few.handle_timeout(at(10));
    assert_eq!(closed(&few), 1);
}
