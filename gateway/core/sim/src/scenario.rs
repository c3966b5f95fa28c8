//! What kinds of worlds there are, each with its name.

/// What kind of world a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Steps in which things happen; the world then calms down until everybody has everything.
    pub steps: u64,
    /// Instruments.
    pub symbols: usize,
    /// Most clients at once.
    pub clients: usize,
    /// Clients that connect at once.
    pub connects: usize,
    /// Events of the venue in one step, at most.
    pub events: u64,
    /// Dirty clients that are visited in one step, at most.
    pub visits: u64,
    /// One feed line in this many is lost, doubled or garbled; 0 is none.
    pub feed_trouble: u64,
    /// Entries of a ring: few, so that clients fall out of it.
    pub ring_entries: usize,
    /// Whether batches are sometimes given up as if a lane had been full.
    pub lossy_lane: bool,
    /// How rarely a client is cut off, to come back on another connection: one in this many chances.
    pub steadiness: u64,
    /// Whether clients that opted in begin with a bandwidth.
    pub rated: bool,
    /// Whether clients have grants, which change, end and are renewed.
    pub granted: bool,
    /// Subscriptions that begin or end behind each line of the feed.
    pub churn: u64,
    /// Levels a side that books begin with.
    pub levels: i64,
    /// Depths that books are subscribed to.
    pub depths: &'static [usize],
    /// Longest frame: a snapshot of the deepest book.
    pub frame_bytes_max: usize,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 8] = [
        Self::calm_feed(),
        Self::troubled_feed(),
        Self::lossy_lane(),
        Self::flapping(),
        Self::rated(),
        Self::granted(),
        Self::churn(),
        Self::crowd(),
    ];

    /// A feed without trouble: whoever reads gets everything or is told.
    #[must_use]
    pub const fn calm_feed() -> Self {
        Self {
            name: "calm_feed",
            steps: 500,
            symbols: 3,
            clients: 12,
            connects: 1,
            events: 6,
            visits: 8,
            feed_trouble: 0,
            ring_entries: 8,
            lossy_lane: false,
            steadiness: 6,
            rated: false,
            granted: false,
            churn: 0,
            levels: 29,
            depths: &[10, 25, 500],
            frame_bytes_max: 8_192,
        }
    }

    /// Lines that are lost, doubled or garbled, reconnects, new epochs.
    #[must_use]
    pub const fn troubled_feed() -> Self {
        Self { name: "troubled_feed", feed_trouble: 60, ..Self::calm_feed() }
    }

    /// Entries that are lost between the engine and the shard.
    #[must_use]
    pub const fn lossy_lane() -> Self {
        Self { name: "lossy_lane", lossy_lane: true, ..Self::troubled_feed() }
    }

    /// Clients that are cut off again and again and go on from where they stood.
    #[must_use]
    pub const fn flapping() -> Self {
        Self { name: "flapping", steadiness: 1, ..Self::troubled_feed() }
    }

    /// Clients with a bandwidth.
    #[must_use]
    pub const fn rated() -> Self {
        Self { name: "rated", rated: true, feed_trouble: 0, ..Self::calm_feed() }
    }

    /// Clients whose grants are narrowed, renewed, taken back or over while they are served.
    #[must_use]
    pub const fn granted() -> Self {
        Self { name: "granted", granted: true, ..Self::calm_feed() }
    }

    /// Clients that subscribe and unsubscribe all the time, to everything that there is, while the feed runs at full rate.
    #[must_use]
    pub const fn churn() -> Self {
        Self {
            name: "churn",
            symbols: 6,
            clients: 40,
            events: 40,
            visits: 60,
            churn: 2,
            levels: 60,
            depths: &[10, 25, 100, 500, 1000],
            frame_bytes_max: 16_384,
            ..Self::calm_feed()
        }
    }

    /// Thousands of clients for a moment.
    #[must_use]
    pub const fn crowd() -> Self {
        Self {
            name: "crowd",
            steps: 60,
            clients: 2_000,
            connects: 500,
            visits: 3_000,
            ring_entries: 16,
            ..Self::troubled_feed()
        }
    }

    /// The scenario of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name == name)
    }

    /// The scenario that a seed plays when none is named: each in its turn, those that take long once in a while.
    #[must_use]
    pub const fn of_seed(seed: u64) -> Self {
        const CROWD_EVERY: u64 = 200;
        const CHURN_EVERY: u64 = 50;
        const LONG: u64 = 2;
        if seed % CROWD_EVERY == CROWD_EVERY - 1 {
            return Self::crowd();
        }
        if seed % CHURN_EVERY == CHURN_EVERY - 1 {
            return Self::churn();
        }
        Self::ALL[(seed % (Self::ALL.len() as u64 - LONG)) as usize]
    }
}
