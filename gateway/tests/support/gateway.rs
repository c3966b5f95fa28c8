//! A gateway in this process, on free ports.

use std::net::SocketAddr;

use gateway::app::App;
use gateway::config::{Config, FeedSource};

use super::client::Client;
use super::http::{Answer, CHANNELS, Samples, get};
use super::wait_for;

/// Symbols of the market in most tests.
pub const SYMBOLS: usize = 4;

/// A running gateway; ends when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    app: Option<App>,
    pub public: SocketAddr,
    pub tls: Option<SocketAddr>,
    pub admin: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Settings for a test: free ports, two shards, whatever the machine, and a small market.
pub fn settings() -> Config {
    let mut config = Config::default();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.public.listen, config.admin.listen) = (free, free);
    config.shards.count = 2;
    config.feed.sim.symbols = SYMBOLS as u32;
    config.feed.sim.rate = 400.0;
    config.feed.sim.depth = 50;
    config
}

/// For clients that ask more often than strangers may.
pub fn let_hurry(config: &mut Config) {
    (config.inbound.messages_per_s, config.inbound.requests_per_s) = (0, 0);
}

/// The same with a feed over TCP.
pub fn settings_of(feed: SocketAddr) -> Config {
    let mut config = settings();
    config.feed.source = FeedSource::Tcp(feed.to_string());
    // A test's own feed has nothing to say while the test looks at something.
    config.feed.silence_ms = 60_000;
    config
}

impl Gateway {
    pub fn start(config: Config) -> Self {
        assert_eq!(config.problems(), Vec::<String>::new());
        let app = App::start(config).expect("free ports are to be had");
        Self { public: app.public, tls: app.tls, admin: app.admin, app: Some(app) }
    }

    /// A gateway that is ready to serve a market of [`SYMBOLS`] symbols.
    pub fn start_ready(config: Config) -> Self {
        let gateway = Self::start(config);
        gateway.wait_ready(SYMBOLS);
        gateway
    }

    /// Waits until so many instruments are announced and fresh.
    pub fn wait_ready(&self, symbols: usize) {
        self.wait_samples("the gateway to be ready", |samples| {
            let count = |name: &str| samples.one(name);
            count("gateway_instruments") == symbols as u64 && count("gateway_instruments_stale") == 0
        });
        assert_eq!(self.readiness().status, 200);
        // Shards count before they take what the engine posted: who counts once more knows what made the gateway ready.
        self.samples();
    }

    pub fn stop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }

    /// Has certificate and key read again, as SIGHUP does.
    pub fn reload(&self) {
        self.app.as_ref().expect("it runs").reload();
    }

    pub fn readiness(&self) -> Answer {
        get(self.admin, "/readyz")
    }

    pub fn samples(&self) -> Samples {
        self.wait_samples("the metrics", |_| true)
    }

    /// Waits until the counts are as wanted, and returns them.
    pub fn wait_samples(&self, what: &str, mut is_so: impl FnMut(&Samples) -> bool) -> Samples {
        wait_for(what, || {
            let page = get(self.admin, "/metrics");
            // On a loaded machine a shard may not have answered in its time.
            (page.status == 200).then(|| Samples::parse(&page.body)).filter(&mut is_so)
        })
    }

    /// Waits until the feed has ended and everything that it said was written to everybody.
    pub fn wait_ended(&self) -> Samples {
        self.wait_samples("the end of the feed", |samples| samples.one("gateway_feed_connected") == 0);
        self.wait_settled()
    }

    /// Waits until everything that there is was written to everybody; the feed must have nothing more to say.
    pub fn wait_settled(&self) -> Samples {
        let mut before = None;
        self.wait_samples("everything to be written", |samples| {
            let counts = |kind: &str| CHANNELS.map(|channel| samples.deliveries(kind, channel));
            let is_at_rest =
                samples.one("gateway_clients_lagging") == 0 && counts("pending") == [0; CHANNELS.len()];
            // Shards count before they take what the engine posted: only who counts twice knows that there is no more.
            let fanned_out = is_at_rest.then(|| counts("fanned_out_total"));
            let is_settled = is_at_rest && fanned_out == before;
            before = fanned_out;
            is_settled
        })
    }

    /// A client that did not opt in.
    pub fn client(&self) -> Client {
        Client::connect(self.public, "/v2")
    }

    /// A client that opted in to the superset.
    pub fn ext_client(&self) -> Client {
        Client::connect(self.public, "/v2?ext=1")
    }
}
