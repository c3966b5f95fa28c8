//! The keeper: a thread that judges logins, and reads files again when they change. Shards see by the generation that they have to look
//! at everybody anew.
//!
//! A thread of its own, because a signature takes up to a tenth of a millisecond and files take what they take: neither shards nor the
//! thread of HTTP wait for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::auth::{Credential, Refusal, RevocationError};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use fanout::Login;
use model::Nanos;
use tokio::sync::oneshot;

use super::files::{self, Watch};
use super::{Auth, Seated};
use crate::shard::{ShardHandle, ShardInput};

/// How often something is offered to a shard that has no room.
const OFFERS_MAX: usize = 200;

/// Wait before it is offered again.
const OFFER_PAUSE: Duration = Duration::from_millis(10);

/// How long a keeper without files sleeps when nobody wants anything.
const IDLE: Duration = Duration::from_secs(3_600);

/// A login on its way from a shard.
#[derive(Debug)]
pub struct LoginRequest {
    /// The shard that the answer goes to.
    pub shard: usize,
    /// What was presented, and by whom.
    pub login: Login,
    /// Whose connection it has been so far.
    pub held: Option<Box<str>>,
}

/// What became of a login.
#[derive(Debug)]
pub struct Verdict {
    /// The login.
    pub login: Login,
    /// Who it is, or why it is nobody.
    pub outcome: Result<Seated, Refusal>,
}

/// Who is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// A subject, whatever it presents.
    Subject(Box<str>),
    /// A token by its `jti`.
    Token(Box<str>),
}

/// What the keeper is told.
#[derive(Debug)]
pub enum Order {
    /// Judge a login.
    Login(LoginRequest),
    /// Read all files, changed or not.
    Reload,
    /// Revoke somebody until the gateway ends; answered with how many are revoked.
    Revoke(Revoked, oneshot::Sender<Result<usize, RevocationError>>),
    /// End.
    Stop,
}

/// What the keeper is started with.
#[derive(Debug)]
pub struct Inbox {
    pub(super) orders: Receiver<Order>,
    pub(super) watch: Watch,
}

struct Keeper {
    auth: Arc<Auth>,
    shards: Vec<ShardHandle>,
    watch: Watch,
    /// When files are looked at next (monotonic).
    next_look: Nanos,
}

/// Starts the keeper; it ends at [`Order::Stop`].
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn spawn(auth: Arc<Auth>, inbox: Inbox, shards: Vec<ShardHandle>) -> io::Result<JoinHandle<()>> {
    let Inbox { orders, watch } = inbox;
    let next_look = auth.clock.mono();
    let mut keeper = Keeper { auth, shards, watch, next_look };
    thread::Builder::new().name("auth".into()).spawn(move || keeper.run(&orders))
}

impl Keeper {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(self.patience()) {
                Ok(Order::Login(request)) => self.judge(request),
                Ok(Order::Reload) => self.reload(),
                // A receiver that is gone does not need its answer.
                Ok(Order::Revoke(who, reply)) => drop(reply.send(self.revoke(&who))),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.look_at_files();
        }
    }

    fn patience(&self) -> Duration {
        if self.watch.is_empty() {
            return IDLE;
        }
        Duration::from_nanos(self.next_look.since(self.auth.clock.mono()).0)
    }

    fn look_at_files(&mut self) {
        if self.watch.is_empty() || self.auth.clock.mono() < self.next_look {
            return;
        }
        self.next_look = self.auth.clock.mono() + Nanos::from_millis(self.auth.settings.reload_ms);
        if self.watch.has_changed() {
            self.reload();
        }
    }

    /// Reads the files. What cannot be used changes nothing: the keys that are there go on to hold.
    fn reload(&mut self) {
        let ordered = self.auth.ordered.lock().clone();
        let loaded = files::load(&self.auth.settings, &ordered);
        let result = usize::from(loaded.is_err());
        // Relaxed: bare counts and a flag.
        self.auth.stats.unusable.store(loaded.is_err(), Ordering::Relaxed);
        match loaded {
            Ok(authority) => {
                self.auth.publish(authority);
                let [keys, api_keys, revocations] = self.auth.sizes();
                tracing::info!(keys, api_keys, revocations, "keys and revocations read again");
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(problem, "keys and revocations stay as they were");
                }
            }
        }
        // Relaxed: a count. Behind what is counted, so that whoever sees it sees that too.
        self.auth.stats.reloads[result].fetch_add(1, Ordering::Relaxed);
    }

    fn revoke(&self, who: &Revoked) -> Result<usize, RevocationError> {
        let ordered = {
            let mut ordered = self.auth.ordered.lock();
            match who {
                Revoked::Subject(name) => ordered.add_subject(name)?,
                Revoked::Token(id) => ordered.add_token(id)?,
            }
            ordered.clone()
        };
        self.auth.revoke(&ordered)
    }

    fn judge(&self, request: LoginRequest) {
        let LoginRequest { shard, login, held } = request;
        let credential = Credential::new(login.token.reveal());
        let outcome = credential.and_then(|credential| self.auth.seat(&credential, held.as_deref()));
        let outcome = outcome.map_err(|refusal| self.auth.count(refusal));
        offer(&self.shards[shard], ShardInput::LoggedIn(Box::new(Verdict { login, outcome })));
    }
}

/// Sends an answer to a shard, which may have no room for a moment.
fn offer(shard: &ShardHandle, mut input: ShardInput) {
    for _ in 0..OFFERS_MAX {
        match shard.send(input) {
            Ok(()) => return,
            Err(refused) => input = refused,
        }
        thread::park_timeout(OFFER_PAUSE);
    }
    tracing::error!("a shard does not take what became of a login");
}
