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

/// User and system time of the calling thread; zero where there is no `/proc`.
pub(crate) fn of_thread() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let exact = schedstat.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    exact.map_or_else(|| read("/proc/thread-self/stat"), Duration::from_nanos)
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
    }
}
