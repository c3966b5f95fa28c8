//! Who is let in, and as whom: files are read here, credentials are judged, and grants are made of what they say.
//!
//! A credential comes from the head of a request (`gateway/src/http/upgrade.rs`) or from a `login` that a shard passes on to the
//! keeper (`keeper.rs`), which also looks whether files have changed. What was accepted goes to a shard as an [`Admission`]: a grant for
//! its hub, and a seat that stays with the socket. Nothing here stands on the way of an update, and no credential is ever logged.

pub mod command;
mod files;
mod guard;
mod keeper;
mod seats;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ::auth::{Authority, Credential, Identity, Proof, Refusal, RevocationError, Revocations, Standing};
use crossbeam_channel::{Sender, TrySendError, bounded};
use fanout::{Coverage, Grant, TierBounds};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use model::{Channel, Nanos};
use parking_lot::{Mutex, RwLock};

use crate::clock::Clock;
use crate::config::{AuthConfig, Config};
pub use guard::Guard;
pub(crate) use keeper::spawn;
pub use keeper::{Inbox, LoginRequest, Order, Revoked, Verdict};
pub use seats::Seat;
use seats::{Seats, Share};

/// Logins and orders that wait for the keeper.
const ORDERS_MAX: usize = 1_024;

/// Somebody who was let in.
#[derive(Debug, Default)]
pub struct Admission {
    /// What it may have; none is everything that the first tier covers.
    pub grant: Option<Arc<Grant>>,
    /// Its place among the connections of its subject; none for somebody who presented nothing.
    pub seat: Option<Box<Seat>>,
}

/// Somebody who presented something that was accepted.
pub type Seated = (Arc<Grant>, Box<Seat>);

/// Whether somebody who was let in before still is.
#[derive(Debug)]
pub enum Review {
    /// As before.
    Holds,
    /// With another grant.
    Changed(Arc<Grant>),
    /// No more.
    Ended,
}

/// What was counted, for the metrics.
#[derive(Debug, Default)]
pub struct AuthStats {
    /// Credentials accepted: tokens, API keys.
    pub accepted: [AtomicU64; 2],
    /// Refusals, in the order of [`Refusal::ALL`].
    pub refused: [AtomicU64; Refusal::ALL.len()],
    /// Times that changed files were read: whole, and in vain.
    pub reloads: [AtomicU64; 2],
    /// Whether the last time was in vain.
    pub unusable: AtomicBool,
}

/// What a tier means to somebody who is let in.
#[derive(Debug)]
struct Tier {
    bounds: TierBounds,
    requests_per_s: u32,
    connections_max: u32,
}

/// The one who lets in.
#[derive(Debug)]
pub struct Auth {
    settings: AuthConfig,
    /// In the order in which shards know them.
    tiers: Vec<Tier>,
    /// A lock because readers are rare (a connection, a login) and hold it for the copy of a pointer.
    authority: RwLock<Arc<Authority>>,
    /// Grows with each new authority, after it is there: whoever was judged before is looked at again by its shard.
    generation: AtomicU64,
    /// What operators revoked since the start; files are laid over it.
    ordered: Mutex<Revocations>,
    seats: Arc<Seats>,
    orders: Sender<Order>,
    /// What somebody gets who presents nothing, when it is not the first tier.
    anonymous: Option<Arc<Grant>>,
    /// Counts.
    pub stats: AuthStats,
    clock: Clock,
}

impl Auth {
    /// Reads the files that the settings name; the settings themselves have been checked.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn new(config: &Config, clock: Clock) -> Result<(Arc<Self>, Inbox), Vec<String>> {
        let settings = config.auth.clone();
        let tiers = tiers(config);
        // Looked at before they are read: what changes in between is read again.
        let watch = files::Watch::new(&settings);
        let authority = files::load(&settings, &Revocations::default())?;
        let anonymous = tiers.iter().position(|tier| *tier.bounds.name == *settings.anonymous);
        let anonymous = anonymous.filter(|&tier| tier > 0).map(|tier| Arc::new(Grant::of_tier(tier as u8)));
        let (orders, inbox) = bounded(ORDERS_MAX);
        let inbox = Inbox { orders: inbox, watch };
        let auth = Self {
            settings,
            tiers,
            authority: RwLock::new(Arc::new(authority)),
            generation: AtomicU64::new(1),
            ordered: Mutex::default(),
            seats: Arc::default(),
            orders,
            anonymous,
            stats: AuthStats::default(),
            clock,
        };
        Ok((Arc::new(auth), inbox))
    }

    /// What stands in the head of a request: nothing, or one bearer credential. Other schemes are somebody else's business.
    fn presented(headers: &HeaderMap) -> Result<Option<Credential>, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Credential::from_header(value.as_bytes()).transpose(),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Lets in whoever sends a request with these headers, or not.
    ///
    /// # Errors
    /// Why not; it has been counted.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Admission, Refusal> {
        let admission = Self::presented(headers).and_then(|presented| match presented {
            Some(credential) => {
                let (grant, seat) = self.seat(&credential, None)?;
                Ok(Admission { grant: Some(grant), seat: Some(seat) })
            }
            None => Ok(Admission { grant: self.anonymous()?, seat: None }),
        });
        admission.map_err(|refusal| self.count(refusal))
    }

    /// What somebody gets who presents nothing.
    fn anonymous(&self) -> Result<Option<Arc<Grant>>, Refusal> {
        match (self.settings.refuses_anonymous(), self.settings.login_ms) {
            (false, _) => Ok(self.anonymous.clone()),
            (true, 0) => Err(Refusal::Missing),
            (true, login_ms) => {
                let ends = self.clock.mono() + Nanos::from_millis(login_ms);
                Ok(Some(Arc::new(Grant::until_login(ends))))
            }
        }
    }

    /// Judges a credential and gives its bearer a seat; `held` is the subject of the connection that it takes the place of.
    fn seat(&self, credential: &Credential, held: Option<&str>) -> Result<Seated, Refusal> {
        // Read before the authority: a judgement is never taken for newer than it is.
        let generation = self.generation();
        let identity = self.identify(credential)?;
        let tier = self.tier(&identity)?;
        let spare = u32::from(held == Some(&*identity.subject));
        let Tier { requests_per_s, connections_max, .. } = self.tiers[tier];
        let connections_max = (connections_max > 0).then(|| connections_max.saturating_add(spare));
        let share = Share { requests_per_s, connections_max };
        let requests = self.seats.take(&identity.subject, share).ok_or(Refusal::Connections)?;
        // From here on the seat is given back when it is dropped.
        let seat = Seat::new(identity, generation, requests, Arc::clone(&self.seats));
        let grant = self.grant(&seat)?;
        let kind = usize::from(matches!(seat.identity().proof, Proof::ApiKey(_)));
        self.stats.accepted[kind].fetch_add(1, Ordering::Relaxed);
        Ok((grant, Box::new(seat)))
    }

    fn identify(&self, credential: &Credential) -> Result<Identity, Refusal> {
        let authority = Arc::clone(&self.authority.read());
        authority.authenticate(credential, self.now_s())
    }

    fn tier(&self, identity: &Identity) -> Result<usize, Refusal> {
        let name = identity.tier.as_deref().unwrap_or(&self.settings.tier);
        self.tiers.iter().position(|tier| *tier.bounds.name == *name).ok_or(Refusal::UnknownTier)
    }

    /// What the identity of a seat may have.
    fn grant(&self, seat: &Seat) -> Result<Arc<Grant>, Refusal> {
        let identity = seat.identity();
        let now = self.clock.now();
        let expires = identity.expires_s.map(|seconds| Nanos(seconds.saturating_mul(Nanos::SECOND.0)));
        Ok(Arc::new(Grant {
            subject: identity.subject.clone(),
            tier: self.tier(identity)? as u8,
            coverage: coverage(&identity.narrowing).map_err(|_| Refusal::Malformed)?,
            // On the monotonic clock from here on: a clock that is set must not end sessions.
            ends: expires.map(|expires| now.mono + expires.since(now.wall)),
            expires,
            awaits_login: false,
            requests: seat.requests(),
        }))
    }

    /// How many levels of the book of a symbol may be told to whoever sends a request with these headers; `None` when none.
    pub(crate) fn depth_max(&self, headers: &HeaderMap, symbol: &str) -> Option<u16> {
        let grant = Self::presented(headers).and_then(|presented| match presented {
            None => self.anonymous(),
            Some(credential) => {
                let identity = self.identify(&credential)?;
                let (tier, coverage) = (self.tier(&identity)?, coverage(&identity.narrowing));
                let coverage = coverage.map_err(|_| Refusal::Malformed)?;
                Ok(Some(Arc::new(Grant { coverage, ..Grant::of_tier(tier as u8) })))
            }
        });
        let grant = grant.map_err(|refusal| self.count(refusal)).ok()?;
        let tier = grant.as_ref().map_or(0, |grant| usize::from(grant.tier));
        let tier = &self.tiers[tier].bounds.coverage;
        let coverages = [Some(tier), grant.as_ref().map(|grant| &grant.coverage)].into_iter().flatten();
        let mut depth_max = u16::MAX;
        for coverage in coverages {
            coverage.check_any_depth(Channel::Book, Some(symbol)).ok()?;
            depth_max = depth_max.min(coverage.depth_max());
        }
        Some(depth_max).filter(|&most| most > 0)
    }

    /// Whether somebody who sits may stay. Costs one look at a number unless something has changed.
    pub fn review(&self, seat: &mut Seat) -> Review {
        let generation = self.generation();
        if seat.generation() == generation {
            return Review::Holds;
        }
        let authority = Arc::clone(&self.authority.read());
        let standing = authority.standing(seat.identity(), self.now_s());
        match standing {
            Standing::Holds => {
                seat.renew(None, generation);
                Review::Holds
            }
            Standing::Changed(identity) if identity.subject == seat.identity().subject => {
                seat.renew(Some(identity), generation);
                self.grant(seat).map_or(Review::Ended, Review::Changed)
            }
            Standing::Changed(_) | Standing::Ended => Review::Ended,
        }
    }

    /// Passes a login on to the keeper.
    ///
    /// # Errors
    /// The login, when too many wait.
    pub fn pass_on(&self, login: LoginRequest) -> Result<(), LoginRequest> {
        match self.orders.try_send(Order::Login(login)).map_err(TrySendError::into_inner) {
            Err(Order::Login(login)) => {
                self.count(Refusal::Busy);
                Err(login)
            }
            _ => Ok(()),
        }
    }

    /// Tells the keeper something; `false` when too much waits for it.
    pub(crate) fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// Ends the keeper, after what waits for it.
    pub(crate) fn stop(&self) {
        // The keeper is gone when this fails.
        let _ = self.orders.send(Order::Stop);
    }

    fn count(&self, refusal: Refusal) -> Refusal {
        // Relaxed: counts, as all others here.
        self.stats.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason = refusal.name(), "a client was refused");
        refusal
    }

    fn now_s(&self) -> u64 {
        self.clock.wall().0 / Nanos::SECOND.0
    }

    /// Which of the authorities so far is in force.
    pub(crate) fn generation(&self) -> u64 {
        // Acquire: whoever sees the number sees the authority that it is of.
        self.generation.load(Ordering::Acquire)
    }

    /// Puts a new authority in the place of the old one.
    fn publish(&self, authority: Authority) {
        *self.authority.write() = Arc::new(authority);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Adds revocations to the authority in force; says how many there are.
    fn revoke(&self, ordered: &Revocations) -> Result<usize, RevocationError> {
        let mut authority = self.authority.write();
        let mut revocations = authority.revocations.clone();
        revocations.extend(ordered.clone())?;
        let count = revocations.len();
        *authority = Arc::new(authority.with_revocations(revocations));
        drop(authority);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(count)
    }

    /// How many keys there are: those that verify tokens, API keys, and how many revocations.
    pub fn sizes(&self) -> [usize; 3] {
        let authority = self.authority.read();
        [authority.keys.len(), authority.api_keys.len(), authority.revocations.len()]
    }
}

fn tiers(config: &Config) -> Vec<Tier> {
    let deliveries = std::iter::once(&config.delivery).chain(config.tiers.values());
    let tier = |(bounds, delivery): (TierBounds, &crate::config::DeliveryConfig)| Tier {
        bounds,
        requests_per_s: delivery.requests_per_s,
        connections_max: delivery.connections_per_subject,
    };
    config.tier_bounds().into_iter().zip(deliveries).map(tier).collect()
}

/// What a credential says it covers.
fn coverage(narrowing: &::auth::Narrowing) -> Result<Coverage, String> {
    let ::auth::Narrowing { symbols, channels, depth_max } = narrowing;
    Coverage::new(symbols.as_deref(), channels.as_deref(), *depth_max)
}
