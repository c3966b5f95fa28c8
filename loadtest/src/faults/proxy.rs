//! The fault proxy: TCP links that can be cut, delayed and stalled.
//!
//! Owns a listening address of its own, one thread, and the bytes that are on their way, of which it holds few, so that who does
//! not read is felt at the other end. Never looks into the bytes, unless a lie is planted ([`super::lie`]). Where
//! links lead to, and what befalls them, is told by [`super::conduct`].

use super::lie::{Liar, Lie};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Tokens of links: an even one is the end that called, the next one that which was called.
const FIRST_LINK: usize = 2;
/// Bytes of one direction that are held at most; beyond it the sender waits.
const HELD_BYTES_MAX: usize = 32 << 10;
/// Bytes taken in one read.
const READ_BYTES: usize = 16 << 10;
/// Buffers of the kernel at both ends: small, for the same reason.
const SOCKET_BYTES: usize = 16 << 10;
/// Bytes of a segment, as on a network. The loopback's are larger than those buffers, and wait for timers then.
const SEGMENT_BYTES: u32 = 1_448;
/// `EINPROGRESS`, the answer to connecting without waiting; the standard library has no stable name for it.
const IN_PROGRESS: i32 = 115;
const EVENTS_MAX: usize = 256;

/// What befalls links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Weather {
    /// Bytes pass.
    Fair,
    /// Each byte is held for this long.
    Delay(Duration),
    /// No byte passes, and none is lost.
    Stall,
}

enum Command {
    /// New links lead there; without an address they are reset.
    Lead(Option<SocketAddr>),
    /// So many of a hundred links that there are get this weather.
    Change(Weather, u32),
    /// So many of a hundred links are reset at both ends.
    Cut(u32),
    Stop,
}

/// A proxy at work; it ends when this is dropped.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of the loopback. Each link tells the lie, if there is one.
    pub(super) fn start(name: &str, lie: Option<Lie>) -> io::Result<Self> {
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        SockRef::from(&listener).set_tcp_mss(SEGMENT_BYTES)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (commands, inbox) = channel();
        let relay = Relay {
            poll,
            listener,
            inbox,
            target: None,
            links: BTreeMap::new(),
            next: FIRST_LINK,
            lie,
            buffer: vec![0; READ_BYTES],
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || relay.run())?;
        Ok(Self { address, commands, waker, thread: Some(thread) })
    }

    /// Lets new links lead to a server, or to nobody. Those that there are stay.
    pub(super) fn lead(&self, target: Option<SocketAddr>) {
        self.send(Command::Lead(target));
    }

    /// Changes the weather of so many of a hundred of the links that there are; new ones have it fair.
    pub(super) fn change(&self, weather: Weather, percent: u32) {
        self.send(Command::Change(weather, percent));
    }

    /// Resets so many of a hundred of the links that there are.
    pub(super) fn cut(&self, percent: u32) {
        self.send(Command::Cut(percent));
    }

    fn send(&self, command: Command) {
        // A relay that has failed is noticed by everybody who talks through it.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Lane {
    held: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    may_read: bool,
    may_write: bool,
    /// The sender has nothing more to say.
    is_ended: bool,
    /// And the receiver knows.
    is_shut: bool,
}

/// One link: the caller's socket and the server's, and what is under way from each to the other.
struct Link {
    ends: [TcpStream; 2],
    /// From the caller, and to the caller.
    lanes: [Lane; 2],
    weather: Weather,
    liar: Option<Liar>,
}

struct Relay {
    poll: Poll,
    listener: TcpListener,
    inbox: Receiver<Command>,
    target: Option<SocketAddr>,
    links: BTreeMap<usize, Link>,
    next: usize,
    lie: Option<Lie>,
    buffer: Vec<u8>,
}

impl Relay {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
                Ok(()) => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => {}
                    Token(number) => self.note(number, event),
                }
            }
            while let Ok(command) = self.inbox.try_recv() {
                match command {
                    Command::Lead(target) => self.target = target,
                    Command::Change(weather, percent) => self.each(percent, |link| link.weather = weather),
                    Command::Cut(percent) => self.each(percent, Link::reset),
                    Command::Stop => return,
                }
            }
            self.move_on();
        }
    }

    /// Until the next byte that is held has waited long enough.
    fn patience(&self) -> Option<Duration> {
        let now = Instant::now();
        let stays = |link: &&Link| link.weather != Weather::Stall;
        let due = self.links.values().filter(stays).flat_map(Link::due).min()?;
        // A millisecond is what the kernel can wait for.
        Some(due.saturating_duration_since(now).max(Duration::from_millis(1)))
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((caller, _)) => {
                    let linger = SockRef::from(&caller).set_linger(Some(Duration::ZERO));
                    // Dropping it resets it, which is what a server that is not there does.
                    let Some(target) = self.target.filter(|_| linger.is_ok()) else { continue };
                    // Who cannot be linked is reset as well.
                    let _ = self.link(caller, target);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn link(&mut self, caller: TcpStream, target: SocketAddr) -> io::Result<()> {
        let mut ends = [caller, call(target)?];
        let number = self.next;
        self.next += 2;
        for (end, stream) in ends.iter_mut().enumerate() {
            let socket = SockRef::from(&*stream);
            socket.set_linger(Some(Duration::ZERO))?;
            socket.set_tcp_nodelay(true)?;
            socket.set_recv_buffer_size(SOCKET_BYTES)?;
            socket.set_send_buffer_size(SOCKET_BYTES)?;
            let all = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(stream, Token(number + end), all)?;
        }
        let liar = self.lie.map(Liar::new);
        let link = Link { ends, lanes: Default::default(), weather: Weather::Fair, liar };
        self.links.insert(number, link);
        Ok(())
    }

    fn note(&mut self, token: usize, event: &mio::event::Event) {
        let (number, end) = (token & !1, token & 1);
        let Some(link) = self.links.get_mut(&number) else { return };
        let is_over = event.is_read_closed() || event.is_error();
        link.lanes[end].may_read |= event.is_readable() || is_over;
        link.lanes[1 - end].may_write |= event.is_writable();
    }

    /// Does something to a share of the links, spread over all of them.
    fn each(&mut self, percent: u32, act: impl Fn(&mut Link)) {
        for (place, link) in (0..).zip(self.links.values_mut()) {
            if (place + 1) * percent / 100 > place * percent / 100 {
                act(link);
            }
        }
    }

    /// Moves what may move, and forgets links that are over.
    fn move_on(&mut self) {
        let Self { links, buffer, .. } = self;
        // Dropping the sockets resets them where something was unread, and closes them otherwise.
        links.retain(|_, link| link.move_on(buffer, Instant::now()).is_ok_and(|goes_on| goes_on));
    }
}

impl Link {
    fn due(&self) -> impl Iterator<Item = Instant> + '_ {
        let can = |lane: &&Lane| lane.may_write;
        self.lanes.iter().filter(can).filter_map(|lane| lane.held.front().map(|(due, _)| *due))
    }

    fn reset(&mut self) {
        for lane in &mut self.lanes {
            (lane.is_ended, lane.is_shut) = (true, true);
            lane.held.clear();
        }
        // Its next turn is the last: nothing is held and both lanes are shut.
    }

    /// Reads, and writes what is due; says whether the link goes on. Fails when an end has failed.
    fn move_on(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<bool> {
        if self.weather == Weather::Stall {
            return Ok(!self.lanes.iter().all(|lane| lane.is_shut));
        }
        let held_for = if let Weather::Delay(time) = self.weather { time } else { Duration::ZERO };
        for from in 0..2 {
            loop {
                self.take(from, buffer, now + held_for)?;
                self.give(from, now)?;
                let lane = &self.lanes[from];
                // What made room may let more in, and nobody tells of it again.
                if !lane.may_read || lane.is_ended || lane.bytes >= HELD_BYTES_MAX {
                    break;
                }
            }
        }
        Ok(!self.lanes.iter().all(|lane| lane.is_shut))
    }

    fn take(&mut self, from: usize, buffer: &mut [u8], due: Instant) -> io::Result<()> {
        let lane = &mut self.lanes[from];
        while lane.may_read && !lane.is_ended && lane.bytes < HELD_BYTES_MAX {
            match self.ends[from].read(buffer) {
                Ok(0) => lane.is_ended = true,
                Ok(came) => {
                    let mut bytes = buffer[..came].to_vec();
                    if let Some(liar) = self.liar.as_mut().filter(|_| from == 1) {
                        bytes = liar.twist(&bytes);
                    }
                    lane.bytes += bytes.len();
                    lane.held.push_back((due, bytes));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => lane.may_read = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn give(&mut self, from: usize, now: Instant) -> io::Result<()> {
        let (lane, out) = (&mut self.lanes[from], &mut self.ends[1 - from]);
        while lane.may_write
            && let Some((_, bytes)) = lane.held.front_mut().filter(|(due, _)| *due <= now)
        {
            match out.write(bytes) {
                Ok(taken) => {
                    lane.bytes -= taken;
                    bytes.drain(..taken);
                    if bytes.is_empty() {
                        lane.held.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => lane.may_write = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if lane.is_ended && lane.held.is_empty() && !lane.is_shut {
            lane.is_shut = true;
            // The other direction may still have something to say.
            out.shutdown(std::net::Shutdown::Write)?;
        }
        Ok(())
    }
}

/// Begins to connect.
fn call(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_mss(SEGMENT_BYTES)?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) && error.kind() != ErrorKind::WouldBlock => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A link through a proxy, both ends of it.
    fn linked() -> (Proxy, net::TcpStream, net::TcpStream) {
        let server = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start("proxy", None).unwrap();
        proxy.lead(Some(server.local_addr().unwrap()));
        // The order may come after the call: who comes too early is reset.
        let limit = Instant::now() + PATIENCE;
        loop {
            let mut caller = net::TcpStream::connect(proxy.address).unwrap();
            caller.set_read_timeout(Some(PATIENCE)).unwrap();
            caller.write_all(b"x").unwrap();
            server.set_nonblocking(true).unwrap();
            let soon = Instant::now() + Duration::from_millis(500);
            while Instant::now() < soon {
                if let Ok((mut called, _)) = server.accept() {
                    called.set_nonblocking(false).unwrap();
                    called.set_read_timeout(Some(PATIENCE)).unwrap();
                    assert_eq!(read(&mut called, 1), b"x");
                    return (proxy, caller, called);
                }
                std::thread::yield_now();
            }
            assert!(Instant::now() < limit, "in vain waited for a link");
        }
    }

    fn read(stream: &mut net::TcpStream, bytes: usize) -> Vec<u8> {
        let mut came = vec![0; bytes];
        stream.read_exact(&mut came).unwrap();
        came
    }

    #[test]
    fn bytes_pass_both_ways_and_ends_are_passed_on() {
        let (_proxy, mut caller, mut called) = linked();
        let long: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let expected = long.clone();
        let reader = std::thread::spawn(move || {
            assert!(read(&mut called, 1_000_000) == expected);
            called.write_all(b"thanks").unwrap();
            called
        });
        caller.write_all(&long).unwrap();
        assert_eq!(read(&mut caller, 6), b"thanks");
        drop(reader.join().unwrap());
        assert_eq!(caller.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_delay_holds_bytes_and_a_stall_keeps_them() {
        let (proxy, mut caller, mut called) = linked();
        let delay = Duration::from_millis(100);
        proxy.change(Weather::Delay(delay), 100);
        // What is sent before the change is seen is not held: the second byte is sent after it was.
        let held = |caller: &mut net::TcpStream, called: &mut net::TcpStream| {
            let sent_at = Instant::now();
            caller.write_all(b"a").unwrap();
            assert_eq!(read(called, 1), b"a");
            sent_at.elapsed() >= delay
        };
        let limit = Instant::now() + PATIENCE;
        while !held(&mut caller, &mut called) {
            assert!(Instant::now() < limit, "bytes are never held");
        }
        proxy.change(Weather::Stall, 100);
        called.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        loop {
            caller.write_all(b"b").unwrap();
            let mut one = [0];
            match called.read(&mut one) {
                // Not stalled yet.
                Ok(count) => assert_eq!((count, one[0]), (1, b'b')),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(Instant::now() < limit, "bytes always pass");
        }
        proxy.change(Weather::Fair, 100);
        called.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read(&mut called, 1), b"b");
    }

    #[test]
    fn a_cut_resets_both_ends_and_without_a_target_nobody_gets_through() {
        let (proxy, mut caller, mut called) = linked();
        proxy.lead(None);
        proxy.cut(100);
        for end in [&mut caller, &mut called] {
            assert_eq!(end.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        let mut late = net::TcpStream::connect(proxy.address).unwrap();
        late.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(late.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_share_is_spread_over_all() {
        let hit = |percent: u32| {
            (0..10_u32).filter(|place| (place + 1) * percent / 100 > place * percent / 100).count()
        };
        assert_eq!([hit(0), hit(30), hit(50), hit(100)], [0, 3, 5, 10]);
    }
}
