//! A venue with its faults: what the in-process reader and the server have in common.
//!
//! Owns the venue, the plans of faults, and the silence. Never reads a clock and never numbers a line.
//! The caller brings the time and takes batches of lines.

use model::Nanos;
use wire::feed::FeedRequest;

use crate::encode::Lines;
use crate::fault::{Fault, FaultPlan, Faulty, Waiting};
use crate::recording::OpenError;
use crate::venue::{NEVER, SourceConfig, Venue};

/// A heartbeat is sent when nothing else was for this long.
pub const HEARTBEAT_EVERY: Nanos = Nanos::from_millis(250);

/// Symbols that a reader is still to be told: for an opening, or in answer to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling {
    next: usize,
    /// One after the last; none stands for all there are.
    end: Option<usize>,
    /// Begin with the status, and tell the instruments: an opening.
    is_opening: bool,
}

impl Telling {
    pub(crate) const OPENING: Self = Self { next: 0, end: None, is_opening: true };
}

/// What a turn leaves to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// When the next turn has something to do.
    pub(crate) next: Nanos,
    /// All connections are to be closed, and new ones until this time.
    pub(crate) closed_until: Option<Nanos>,
}

/// A venue with its faults.
pub(crate) struct Feed {
    venue: Box<dyn Venue>,
    waiting: Waiting,
    /// Plans, and when each is due next; none before the first turn.
    plans: Vec<(FaultPlan, Option<Nanos>)>,
    silent_until: Nanos,
    closed_until: Option<Nanos>,
}

impl Feed {
    pub(crate) fn open(source: &SourceConfig, plans: &[FaultPlan]) -> Result<Self, OpenError> {
        Ok(Self {
            venue: source.open()?,
            waiting: Waiting::default(),
            plans: plans.iter().map(|&plan| (plan, None)).collect(),
            silent_until: Nanos(0),
            closed_until: None,
        })
    }

    /// Lets a fault happen, now or to the next event that it can happen to.
    pub(crate) fn inject(&mut self, fault: Fault, now: Nanos) {
        match fault {
            Fault::Silence(span) => self.silent_until = self.silent_until.max(now + span),
            Fault::Disconnect(span) => self.closed_until = Some(now + span),
            other => self.waiting.push(other),
        }
    }

    pub(crate) fn is_silent(&self, now: Nanos) -> bool {
        now < self.silent_until
    }

    /// Tells so many lines per second from `now` on; 0 stands still.
    pub(crate) fn set_rate(&mut self, rate: f64, now: Nanos) {
        self.venue.set_rate(rate, now);
    }

    /// Whether the venue has nothing more to tell, ever.
    pub(crate) fn is_finished(&self) -> bool {
        self.venue.next_due() == NEVER
    }

    /// Tells what is due by `now`, about one batch.
    pub(crate) fn turn(&mut self, now: Nanos, lines: &mut Lines) -> Turn {
        let next_plan = self.inject_planned(now);
        let closed_until = self.closed_until.take();
        if self.is_silent(now) {
            return Turn { next: self.silent_until.min(next_plan), closed_until };
        }
        self.venue.poll(now, &mut Faulty { waiting: &mut self.waiting, lines });
        Turn { next: self.venue.next_due().min(next_plan), closed_until }
    }

    /// Injects the faults whose time has come, and says when the next one is due.
    fn inject_planned(&mut self, now: Nanos) -> Nanos {
        let mut next = NEVER;
        for at in 0..self.plans.len() {
            let (plan, due) = self.plans[at];
            let due = match due {
                Some(due) if due <= now => {
                    self.inject(plan.fault, now);
                    // Missed times are not made up for.
                    now + plan.every
                }
                Some(due) => due,
                None => now + plan.every,
            };
            self.plans[at].1 = Some(due);
            next = next.min(due);
        }
        next
    }

    /// What has to be told in answer to a request; none when it names a symbol that there is not.
    pub(crate) fn telling_of(&mut self, request: &FeedRequest) -> Option<Telling> {
        match request {
            FeedRequest::Snapshot(None) => Some(Telling { is_opening: false, ..Telling::OPENING }),
            FeedRequest::Snapshot(Some(symbol)) => {
                let next = self.venue.find(symbol)?;
                Some(Telling { next, end: Some(next + 1), is_opening: false })
            }
        }
    }

    /// Tells the next symbols, about one batch; true when that was all. The true books, with no faults.
    pub(crate) fn tell(&mut self, telling: &mut Telling, now: Nanos, lines: &mut Lines) -> bool {
        use crate::venue::Sink;
        if telling.is_opening && telling.next == 0 {
            self.venue.tell_status(now, lines);
        }
        let end = telling.end.unwrap_or_else(|| self.venue.symbols());
        while telling.next < end && !lines.is_full() {
            self.venue.tell(telling.next, telling.is_opening, now, lines);
            telling.next += 1;
        }
        telling.next >= end
    }

    pub(crate) fn heartbeat(&self, now: Nanos, lines: &mut Lines) {
        lines.heartbeat(self.venue.epoch(), now);
    }
}
