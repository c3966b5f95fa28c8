//! Wires the parts: feed, engine, shards, listeners. The only place that knows all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, net};

use model::Nanos;
use parking_lot::RwLock;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use wire::ws::ReadLimits;

use crate::auth::{self, Auth, Guard};
use crate::clock::Clock;
use crate::config::{Config, Layout};
use crate::cores::Cores;
use crate::engine::{self, Engine, EngineHandle, EngineRequest};
use crate::feed::Reader;
use crate::http::{Door, Listener, PublicState, serve_admin, serve_public, tune};
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::reference::Reference;
use crate::shard::{self, Shard, ShardHandle, ShardInput, ShardSettings};
use crate::tls::{Tls, TlsError};
use crate::upstream::{Elsewhere, Here};
use crate::{VERSION, feed};

/// Clients that are closed per second at least when the gateway ends gently: a few need no window.
const CLOSES_PER_S_MIN: u64 = 100;

/// How often the end of something is looked for that cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why the gateway did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{setting} = {address}: {error}; choose another address or end what listens there")]
    Listen {
        /// The setting that holds the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// The files with keys cannot be used; everything that is wrong, one line each.
    #[error("{}", .0.join("\n  "))]
    Keys(Vec<String>),
    /// A core of `threads.cores` cannot be used.
    #[error("{0}")]
    Cores(String),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where clients connect over TLS, if they may.
    pub tls: Option<SocketAddr>,
    /// Where operators look.
    pub admin: SocketAddr,
    state: Arc<PublicState>,
    stopping: Arc<AtomicBool>,
    threads: Threads,
    keeper: JoinHandle<()>,
    /// Dropping it ends the public listener.
    door: Option<oneshot::Sender<()>>,
    /// Dropping it ends the HTTP runtime.
    front: Option<oneshot::Sender<()>>,
    front_thread: JoinHandle<()>,
}

impl App {
    /// Starts every thread; the settings have been checked.
    ///
    /// # Errors
    /// When an address or a thread is not to be had.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let clock = Clock::default();
        let (auth, inbox) = Auth::new(&config, clock).map_err(StartError::Keys)?;
        let guard =
            Guard::load(&config.admin.token_file).map_err(|problem| StartError::Keys(vec![problem]))?;
        let tls = config.tls.is_on().then(|| Tls::load(&config.tls)).transpose()?.map(Arc::new);
        let public = listen("public.listen", config.public.listen, |socket| tune(socket, &config))?;
        let secure =
            tls.as_ref().map(|_| listen("tls.listen", config.tls.listen, |socket| tune(socket, &config)));
        let secure = secure.transpose()?;
        let tls_address = secure.as_ref().map(net::TcpListener::local_addr).transpose()?;
        let admin = listen("admin.listen", config.admin.listen, |_| Ok(()))?;
        let (public_address, admin_address) = (public.local_addr()?, admin.local_addr()?);
        let stopping = Arc::new(AtomicBool::new(false));
        let reference = Arc::new(RwLock::new(Reference::default()));

        let requests = engine::requests();
        let layout = layout(&config);
        let memory = Arc::new(Budget::new(config.memory.budget_bytes));
        let shards = build_shards(&config, layout, &memory, &auth, &requests.0, clock)?;
        let (feed_lanes, reader) = feed::build(config.feed.clone(), clock, Arc::clone(&stopping));
        let (handle, engine) =
            engine::build(feed_lanes, shards.lanes, Arc::clone(&reference), clock, requests);
        let cores = Cores::new(&config.threads.cores).map_err(StartError::Cores)?;
        let threads = start_threads(layout, &cores, reader, engine, shards.shards)?;
        let keeper = auth::spawn(Arc::clone(&auth), inbox, shards.handles.clone())?;
        let state = Arc::new(public_state(
            config,
            Wardens { auth, memory, tls },
            shards.handles,
            handle,
            reference,
            clock,
        ));
        let metrics = Arc::new(Metrics::new(Arc::clone(&state), Arc::clone(&stopping)));
        let (door, front, front_thread) =
            start_front(public, secure, admin, Arc::clone(&state), metrics, guard)?;
        Ok(Self {
            public: public_address,
            tls: tls_address,
            admin: admin_address,
            state,
            stopping,
            threads,
            keeper,
            door: Some(door),
            front: Some(front),
            front_thread,
        })
    }

    /// Reads the files again that are read while the gateway runs: certificate and key, keys and revocations.
    pub fn reload(&self) {
        if let Some(tls) = &self.state.tls {
            tls.reload();
        }
        if !self.state.auth.order(auth::Order::Reload) {
            tracing::warn!("too many logins wait, keys are not read again now");
        }
    }

    /// Ends at once: nothing new is accepted, clients are closed, threads are joined.
    pub fn stop(mut self) {
        self.shut_door();
        let code = self.state.config.drain.code();
        self.tell_shards(|| ShardInput::Stop(code));
        self.join();
    }

    /// Ends gently: first it is not ready any more, then nothing new is accepted, then clients are told and closed one after the
    /// other. Looks again and again whether to hurry, and ends at once then.
    pub fn drain(mut self, mut hurry: impl FnMut() -> bool) {
        // Relaxed: the flag is only looked at again and again.
        self.stopping.store(true, Ordering::Relaxed);
        let drain = self.state.config.drain.clone();
        let unready_until = self.state.clock.mono() + Nanos::from_millis(drain.unready_ms);
        let mut hurried = false;
        while !hurried && self.state.clock.mono() < unready_until {
            thread::sleep(LOOK_EVERY);
            hurried = hurry();
        }
        self.shut_door();
        let (code, window) = (drain.code(), Nanos::from_millis(drain.window_ms));
        let each_max = Nanos(Nanos::SECOND.0 * self.state.shards.len() as u64 / CLOSES_PER_S_MIN);
        self.tell_shards(|| ShardInput::Drain { code, window, each_max });
        while !self.threads.shards.iter().all(JoinHandle::is_finished) {
            if !hurried && hurry() {
                hurried = true;
                self.tell_shards(|| ShardInput::Stop(code));
            }
            thread::sleep(LOOK_EVERY);
        }
        self.join();
    }

    /// Accepts no more clients; operators may look until the end.
    fn shut_door(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.door.take());
    }

    fn tell_shards(&self, input: impl Fn() -> ShardInput) {
        for shard in &self.state.shards {
            if shard.send(input()).is_err() {
                tracing::warn!("a shard is too busy to be told that the gateway ends, or has ended");
            }
        }
    }

    fn join(mut self) {
        self.threads.shards.into_iter().for_each(join);
        self.threads.feed.into_iter().for_each(join);
        // The engine comes after them: shards ask it until they have ended.
        let _ = self.state.engine.requests.send(EngineRequest::Stop);
        self.threads.engine.into_iter().for_each(join);
        drop(self.front.take());
        join(self.front_thread);
        self.state.auth.stop();
        join(self.keeper);
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    if thread.join().is_err() {
        tracing::error!(thread = name, "a thread had panicked");
    }
}

fn listen(
    setting: &'static str,
    address: SocketAddr,
    tune: impl Fn(&socket2::Socket) -> io::Result<()>,
) -> Result<net::TcpListener, StartError> {
    let bind = || {
        // The queue of connections not yet accepted: a storm of reconnects comes within one round trip.
        const BACKLOG: i32 = 4_096;
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        tune(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|error| StartError::Listen { setting, address, error })
}

/// Threads of the data's way. Where feed and engine share the shard's thread they have none.
#[derive(Debug)]
struct Threads {
    shards: Vec<JoinHandle<()>>,
    feed: Option<JoinHandle<()>>,
    engine: Option<JoinHandle<()>>,
}

fn start_threads(
    layout: Layout,
    cores: &Cores,
    reader: Reader,
    engine: Engine,
    mut shards: Vec<Shard>,
) -> io::Result<Threads> {
    match (layout, shards.pop()) {
        (Layout::Single, Some(only)) => {
            let thread = cores.make(0, || shard::spawn(only, Here::new(reader, engine)))?;
            Ok(Threads { shards: vec![thread], feed: None, engine: None })
        }
        (_, last) => {
            let shards: Vec<Shard> = shards.into_iter().chain(last).collect();
            let count = shards.len();
            let feed = Some(cores.make(count + 1, || feed::spawn(reader))?);
            let engine = Some(cores.make(count, || engine::spawn(engine))?);
            let spawn = |(number, shard)| cores.make(number, || shard::spawn(shard, Elsewhere));
            let shards = shards.into_iter().enumerate().map(spawn).collect::<io::Result<_>>()?;
            Ok(Threads { shards, feed, engine })
        }
    }
}

struct Shards {
    handles: Vec<ShardHandle>,
    lanes: Vec<crate::lane::ShardLane>,
    shards: Vec<Shard>,
}

/// The layout that `auto` stands for: threads that share one core only wait for each other, and the feed is not read while
/// clients wait, so that a burst stays in the feed's own socket.
fn layout(config: &Config) -> Layout {
    match config.threads.layout {
        Layout::Auto if cores() == 1 && config.shards.count <= 1 => Layout::Single,
        Layout::Auto => Layout::Spread,
        chosen => chosen,
    }
}

/// Cores that this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn build_shards(
    config: &Config,
    layout: Layout,
    memory: &Arc<Budget>,
    auth: &Arc<Auth>,
    engine: &crossbeam_channel::Sender<EngineRequest>,
    clock: Clock,
) -> Result<Shards, StartError> {
    let count = match (layout, config.shards.count) {
        (Layout::Single, _) => 1,
        (_, 0) => cores().min(64),
        (_, count) => count as usize,
    };
    let mut shards = Shards { handles: Vec::new(), lanes: Vec::new(), shards: Vec::new() };
    for index in 0..count {
        let settings = ShardSettings {
            index,
            limits: config.shard_limits(),
            memory: Arc::clone(memory),
            tiers: config.tier_bounds(),
            read_limits: ReadLimits {
                message_bytes_max: config.inbound.message_bytes_max,
                fragments_max: config.inbound.fragments_max,
            },
            message_max: Nanos::from_millis(config.inbound.message_ms),
            version: VERSION,
            busy_poll: config.threads.busy_poll,
            auth: Arc::clone(auth),
        };
        let (handle, lane, shard) = shard::build(settings, engine.clone(), clock)?;
        shards.handles.push(handle);
        shards.lanes.push(lane);
        shards.shards.push(shard);
    }
    Ok(shards)
}

/// Who decides whether there is room and leave for a client.
struct Wardens {
    auth: Arc<Auth>,
    memory: Arc<Budget>,
    tls: Option<Arc<Tls>>,
}

fn public_state(
    config: Config,
    Wardens { auth, memory, tls }: Wardens,
    shards: Vec<ShardHandle>,
    engine: EngineHandle,
    reference: Arc<RwLock<Reference>>,
    clock: Clock,
) -> PublicState {
    let door = Arc::new(Door::new(config.inbound.door_limits()));
    PublicState {
        config,
        auth,
        memory,
        tls,
        shards,
        engine,
        reference,
        clock,
        upgraded: Default::default(),
        refusals: Default::default(),
        door,
        echoes: Default::default(),
    }
}

/// Starts the thread that accepts connections and speaks HTTP. Dropping the first sender ends the public listener, dropping the
/// second one all of it.
fn start_front(
    public: net::TcpListener,
    secure: Option<net::TcpListener>,
    admin: net::TcpListener,
    state: Arc<PublicState>,
    metrics: Arc<Metrics>,
    guard: Option<Guard>,
) -> io::Result<(oneshot::Sender<()>, oneshot::Sender<()>, JoinHandle<()>)> {
    let (shut, is_shut) = oneshot::channel::<()>();
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (public, secure, admin) = {
        let _context = runtime.enter();
        let secure = secure.map(Listener::new).transpose()?;
        (Listener::new(public)?, secure, Listener::new(admin)?)
    };
    let memory = Arc::clone(&state.memory);
    let secure = serve_secure(secure, Arc::clone(&state));
    let door = async move {
        // Tasks of their own: to be woken among tasks costs no system call.
        let mut doors = JoinSet::new();
        doors.spawn_local(serve_public(public, None, state));
        doors.spawn_local(secure);
        tokio::select! {
            biased;
            _ = is_shut => {}
            Some(ended) = doors.join_next() => ended.expect("a listener is served until it is dropped"),
        }
        drop(doors);
        std::future::pending::<()>().await;
    };
    let front = async move {
        tokio::select! {
            // Whoever ends the gateway comes first; the others never end by themselves.
            biased;
            _ = stopped => {}
            () = memory.watch() => {}
            () = serve_admin(admin, metrics, guard) => {}
            () = door => {}
        }
    };
    let thread = thread::Builder::new().name("http".into()).spawn(move || {
        tokio::task::LocalSet::new().block_on(&runtime, front);
    })?;
    Ok((shut, stop, thread))
}

/// Serves the listener with TLS, if there is one, and renews its certificate; never ends.
async fn serve_secure(listener: Option<Listener>, state: Arc<PublicState>) {
    if let (Some(listener), Some(tls)) = (listener, state.tls.clone()) {
        tokio::select! {
            () = tls.watch() => {}
            () = serve_public(listener, Some(Arc::clone(&tls)), state) => {}
        }
    }
    std::future::pending().await
}
