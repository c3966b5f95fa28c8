//! CPU time that the generator itself used.
//!
//! Owns the reading of `/proc/<..>/stat` and `schedstat`. Never measures the server.
//! A generator at its limit measures itself instead of the gateway; [`crate::report`] warns of that.

use std::time::Duration;

/// Clock ticks per second in `/proc`: `USER_HZ`, which is 100 on every Linux we build for.
const TICKS_PER_S: u64 = 100;

/// User and system time of this process; zero where there is no `/proc`.
pub(crate) fn of_process() -> Duration {
    read("/proc/self/stat")
}

/// What the calling thread has had of the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadTime {
    /// It ran.
    pub(crate) ran: Duration,
    /// It was ready to run, and another ran.
    pub(crate) waited: Duration,
}

impl ThreadTime {
    /// What passed since an earlier moment.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { ran: self.ran.saturating_sub(before.ran), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// Of the calling thread; without the kernel's schedstat in hundredths of a second and without waiting.
pub(crate) fn of_thread() -> ThreadTime {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    parse_schedstat(&schedstat)
        .unwrap_or_else(|| ThreadTime { ran: read("/proc/thread-self/stat"), waited: Duration::ZERO })
}

/// Nanoseconds of running and of waiting, then a count.
fn parse_schedstat(text: &str) -> Option<ThreadTime> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().map(Duration::from_nanos));
    Some(ThreadTime { ran: fields.next()?.ok()?, waited: fields.next()?.ok()? })
}

fn read(path: &str) -> Duration {
    std::fs::read_to_string(path).ok().and_then(|stat| parse(&stat)).unwrap_or_default()
}

/// Fields 14 and 15. The second field is the command in parentheses and may itself contain blanks.
fn parse(stat: &str) -> Option<Duration> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_is_skipped() {
        let stat = "7 (a (b) c) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("7 (a"), None);
        let time = ThreadTime { ran: Duration::from_nanos(1_500), waited: Duration::from_nanos(70) };
        assert_eq!(parse_schedstat("1500 70 3\n"), Some(time));
        assert_eq!(parse_schedstat(""), None);
    }
}
