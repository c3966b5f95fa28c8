//! Wires the parts: feed, engine, shards, listeners. The only place that knows all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::{io, net};

use parking_lot::RwLock;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wire::close::CloseCode;
use wire::ws::ReadLimits;

use crate::auth::{self, Auth, Guard};
use crate::clock::Clock;
use crate::config::{Config, Layout};
use crate::engine::{self, Engine, EngineHandle, EngineRequest};
use crate::feed::Reader;
use crate::http::{PublicState, serve_admin, serve_public, tune};
use crate::metrics::Metrics;
use crate::reference::Reference;
use crate::shard::{self, Shard, ShardHandle, ShardInput, ShardSettings};
use crate::upstream::{Elsewhere, Here};
use crate::{VERSION, feed};

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
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    state: Arc<PublicState>,
    stopping: Arc<AtomicBool>,
    threads: Threads,
    keeper: JoinHandle<()>,
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
        let public = listen("public.listen", config.public.listen, |socket| tune(socket, &config))?;
        let admin = listen("admin.listen", config.admin.listen, |_| Ok(()))?;
        let (public_address, admin_address) = (public.local_addr()?, admin.local_addr()?);
        let stopping = Arc::new(AtomicBool::new(false));
        let reference = Arc::new(RwLock::new(Reference::default()));

        let requests = engine::requests();
        let layout = layout(&config);
        let shards = build_shards(&config, layout, &requests.0, &auth, clock)?;
        let (feed_lanes, reader) = feed::build(config.feed.clone(), clock, Arc::clone(&stopping));
        let (handle, engine) =
            engine::build(feed_lanes, shards.lanes, Arc::clone(&reference), clock, requests);
        let threads = start_threads(layout, reader, engine, shards.shards)?;
        let keeper = auth::spawn(Arc::clone(&auth), inbox, shards.handles.clone())?;
        let state = Arc::new(public_state(config, auth, shards.handles, handle, reference, clock));
        let metrics = Arc::new(Metrics::new(Arc::clone(&state), Arc::clone(&stopping)));
        let (front, front_thread) = start_front(public, admin, Arc::clone(&state), metrics, guard)?;
        Ok(Self {
            public: public_address,
            admin: admin_address,
            state,
            stopping,
            threads,
            keeper,
            front: Some(front),
            front_thread,
        })
    }

    /// Reads the files again that are read while the gateway runs: keys and revocations.
    pub fn reload(&self) {
        if !self.state.auth.order(auth::Order::Reload) {
            tracing::warn!("too many logins wait, files are not read again now");
        }
    }

    /// Ends: nothing new is accepted, clients are closed with 1001, threads are joined.
    pub fn stop(mut self) {
        // Relaxed: the flag is only looked at again and again.
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.front.take());
        join(self.front_thread);
        self.state.auth.stop();
        join(self.keeper);
        for shard in &self.state.shards {
            if shard.send(ShardInput::Stop(CloseCode::GoingAway)).is_err() {
                tracing::warn!("a shard is too busy to be told that the gateway ends");
            }
        }
        self.threads.shards.into_iter().for_each(join);
        self.threads.feed.into_iter().for_each(join);
        // The engine is last: shards ask it until they have ended.
        let _ = self.state.engine.requests.send(EngineRequest::Stop);
        self.threads.engine.into_iter().for_each(join);
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
    reader: Reader,
    engine: Engine,
    mut shards: Vec<Shard>,
) -> io::Result<Threads> {
    match (layout, shards.pop()) {
        (Layout::Single, Some(only)) => {
            let thread = shard::spawn(only, Here::new(reader, engine))?;
            Ok(Threads { shards: vec![thread], feed: None, engine: None })
        }
        (_, last) => {
            let feed = Some(feed::spawn(reader)?);
            let engine = Some(engine::spawn(engine)?);
            let shards = shards.into_iter().chain(last).map(|shard| shard::spawn(shard, Elsewhere));
            Ok(Threads { shards: shards.collect::<io::Result<_>>()?, feed, engine })
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
    engine: &crossbeam_channel::Sender<EngineRequest>,
    auth: &Arc<Auth>,
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
            limits: config.limits.limits(),
            tiers: config.tier_bounds(),
            read_limits: ReadLimits {
                message_bytes_max: config.inbound.message_bytes_max,
                fragments_max: config.inbound.fragments_max,
            },
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

fn public_state(
    config: Config,
    auth: Arc<Auth>,
    shards: Vec<ShardHandle>,
    engine: EngineHandle,
    reference: Arc<RwLock<Reference>>,
    clock: Clock,
) -> PublicState {
    PublicState {
        config,
        auth,
        shards,
        engine,
        reference,
        clock,
        upgraded: Default::default(),
        refused_full: Default::default(),
        refused_malformed: Default::default(),
        refused_auth: Default::default(),
        handshakes: Default::default(),
    }
}

/// Starts the thread that accepts connections and speaks HTTP.
fn start_front(
    public: net::TcpListener,
    admin: net::TcpListener,
    state: Arc<PublicState>,
    metrics: Arc<Metrics>,
    guard: Option<Guard>,
) -> io::Result<(oneshot::Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (public, admin) = {
        let _context = runtime.enter();
        (TcpListener::from_std(public)?, TcpListener::from_std(admin)?)
    };
    let front = async move {
        tokio::select! {
            // Whoever ends the gateway comes first; the listeners never end by themselves.
            biased;
            _ = stopped => {}
            () = serve_public(public, state) => {}
            () = serve_admin(admin, metrics, guard) => {}
        }
    };
    let thread = thread::Builder::new().name("http".into()).spawn(move || {
        tokio::task::LocalSet::new().block_on(&runtime, front);
    })?;
    Ok((stop, thread))
}
