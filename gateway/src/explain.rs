//! What a client of some policy and speed would have received from a recorded tape: `gateway explain`.
//!
//! Plays the recording on virtual time through the decoder, market, publisher and hub of a gateway, to one client at the end of a
//! modelled link. No thread, no clock, no socket: the same plan gives the same answer. Decides nothing about delivery itself.
//!
//! | noun | file |
//! |---|---|
//! | what is asked, and its texts on the command line | `plan.rs`, `command.rs` |
//! | the recording | `tape.rs` |
//! | the gateway on virtual time | `world.rs` |
//! | the way to the client | `link.rs`, `socket.rs` |
//! | the client, and what it knows | `reader.rs`, `message.rs`, `view.rs` |
//! | the answer: messages and numbers | `received.rs`, `summary.rs` |
//! | for people | `show.rs`, `plot.rs` |

mod command;
mod link;
mod message;
mod plan;
mod plot;
mod reader;
mod received;
mod show;
mod socket;
mod summary;
mod tape;
mod view;
mod world;

use std::path::PathBuf;

use feed_sim::OpenError;
use model::{Channel, Nanos, StreamKey};
use serde::Serialize;
use thiserror::Error;
use wire::reply::Terms;

use crate::config::Config;
pub use command::{Args, run};
pub use plan::{Plan, Rate, StreamName, TextError, Window, parse_bytes};
pub use received::{Kind, Received};
pub use summary::{Ages, Summary};
use tape::{Counted, Survey};
use world::World;

/// Longest recording that is played: a wrong time in it must not keep the clock running for years.
const SPAN_MAX: Nanos = Nanos::from_secs(31 * 24 * 3_600);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The recording cannot be read.
    #[error(transparent)]
    Tape(#[from] OpenError),
    /// The recording has no such symbol.
    #[error("{symbol} is not on the tape, which has {known}{hint}")]
    NoSymbol {
        /// What was asked for.
        symbol: String,
        /// The symbols that there are, some of them when they are many.
        known: String,
        /// The nearest name, as part of a sentence.
        hint: String,
    },
    /// The recording has no symbol at all.
    #[error("{} announces no instrument", .0.display())]
    Empty(PathBuf),
    /// The recording is longer than any.
    #[error("the tape says that it is {} days long, at most {} are played", days(.0), days(&SPAN_MAX))]
    TooLong(Nanos),
    /// The client would connect when the tape is over.
    #[error("--from is beyond the end of the tape, which is {:.1} s long", seconds(.0))]
    TooLate(Nanos),
    /// The recording ended before every book that the client wants was told.
    #[error("the tape ends before the client could subscribe: it has no book of {0} there")]
    NeverThere(String),
    /// The recording does not end when its times say that it should.
    #[error("the tape does not end: a line of it has a wrong time")]
    Endless,
    /// The settings name no such tier.
    #[error("the settings have no tier {name}, but {names}")]
    NoTier {
        /// What was asked for.
        name: String,
        /// What there is.
        names: String,
    },
    /// What a client would have been told.
    #[error("{0}")]
    Refused(String),
    /// Nobody takes the answer any more.
    #[error("nobody takes the answer any more")]
    Unwatched,
    /// A mistake of ours.
    #[error("the client cannot read what it was sent: {0}")]
    Unreadable(String),
}

fn days(span: &Nanos) -> u64 {
    span.0 / Nanos::SECOND.0 / 86_400
}

fn seconds(span: &Nanos) -> f64 {
    span.0 as f64 / Nanos::SECOND.0 as f64
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ending {
    /// Connected, and the client has everything.
    Live,
    /// Connected, but the client did not receive everything in an hour after the tape.
    Behind,
    /// Closed by the gateway.
    Closed {
        /// The close code.
        code: u16,
        /// When the gateway closed it, from the beginning of the tape.
        #[serde(rename = "offset_us", serialize_with = "received::micros")]
        offset: Nanos,
        /// Whether the client received the close frame.
        told: bool,
    },
}

/// What is known when the client subscribes.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Symbols on the tape.
    pub symbols: usize,
    /// Book changes and trades on it.
    pub events: u64,
    /// Those of the symbol that is looked at.
    pub symbol_events: u64,
    /// Whether the symbol was chosen because it has the most.
    pub is_chosen: bool,
    /// Wall time of the beginning of the tape.
    pub first: Nanos,
    /// How long it is.
    pub span: Nanos,
    /// The stream that is looked at.
    pub stream: StreamKey,
    /// Its symbol.
    pub symbol: String,
    /// How it is served.
    pub terms: Terms,
    /// Bandwidth that the gateway keeps; 0 is none.
    pub bytes_per_s: u64,
    /// Bytes that the kernel holds.
    pub held_max: u64,
}

/// Takes what happens, as it happens.
pub trait Watch {
    /// The client has subscribed.
    fn begin(&mut self, scene: &Scene);
    /// The client received a message about the stream or its connection.
    fn received(&mut self, received: &Received);
    /// Time has come to this offset of a tape of that length.
    fn progress(&mut self, now: Nanos, span: Nanos);
    /// Whether nobody takes the answer any more, so that the rest need not be played.
    fn is_gone(&self) -> bool {
        false
    }
}

/// Plays a plan; the summary, and when which age was received.
///
/// # Errors
/// When the recording cannot be used, or a client would have been refused.
pub fn explain(plan: &Plan, config: &Config, watch: &mut dyn Watch) -> Result<Answer, ExplainError> {
    let survey = Survey::of(&plan.tape)?;
    if survey.symbols.is_empty() {
        return Err(ExplainError::Empty(plan.tape.clone()));
    }
    if survey.span() > SPAN_MAX {
        return Err(ExplainError::TooLong(survey.span()));
    }
    if plan.from > survey.span() {
        return Err(ExplainError::TooLate(survey.span()));
    }
    World::new(plan, &survey, choose(plan, &survey)?, config)?.run(watch)
}

/// What [`explain`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The numbers.
    pub summary: Summary,
    /// Receipt and age of data, in the order of receipt.
    pub ages: Vec<(Nanos, Nanos)>,
    /// When the client subscribed, and when everything was over.
    pub window: (Nanos, Nanos),
}

/// The symbol that is looked at; all that are named must be on the tape.
fn choose<'a>(plan: &'a Plan, survey: &'a Survey) -> Result<&'a Counted, ExplainError> {
    let find = |symbol: &str| {
        let found = survey.symbols.iter().find(|one| one.symbol == symbol);
        found.ok_or_else(|| no_symbol(symbol, survey))
    };
    for beside in &plan.beside {
        find(&beside.symbol)?;
    }
    let busiest = || survey.busiest(weight(plan)).ok_or_else(|| ExplainError::Empty(plan.tape.clone()));
    plan.symbol.as_deref().map_or_else(busiest, find)
}

/// Events of a symbol that become entries of the stream, as far as one knows before.
fn weight(plan: &Plan) -> impl Fn(&Counted) -> u64 {
    let is_bbo = plan.params.get("event_trigger").is_some_and(|trigger| trigger == "bbo");
    let of_books = plan.channel == Channel::Book || (plan.channel == Channel::Ticker && is_bbo);
    move |one| if of_books { one.books } else { one.trades }
}

fn no_symbol(symbol: &str, survey: &Survey) -> ExplainError {
    const SHOWN_MAX: usize = 12;
    let names = || survey.symbols.iter().map(|one| &*one.symbol);
    let nearest = names().min_by_key(|name| strsim::damerau_levenshtein(name, symbol));
    let nearest = nearest.filter(|name| strsim::damerau_levenshtein(name, symbol) <= 2);
    let mut known: Vec<String> = names().take(SHOWN_MAX).map(str::to_owned).collect();
    if survey.symbols.len() > SHOWN_MAX {
        known.push(format!("{} more", survey.symbols.len() - SHOWN_MAX));
    }
    ExplainError::NoSymbol {
        symbol: symbol.to_owned(),
        hint: nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default(),
        known: known.join(", "),
    }
}
