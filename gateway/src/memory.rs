//! The memory budget: how much the process may use, how much it does, and whether there is room for more work.
//!
//! Owns the verdict, which the door and the shards ask for. New work is refused from four fifths of the budget on; what is there
//! is served to the end. Reads `/proc` and the control group, a few times a second, on the HTTP thread.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often the memory in use is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Share of the budget, in percent, from which on new work is refused, and the one below which it is taken again.
const TIGHT_PERCENT: u64 = 80;
const ROOMY_PERCENT: u64 = 75;

/// Memory of the process against what it may use.
#[derive(Debug)]
pub struct Budget {
    bytes: u64,
    used: AtomicU64,
    tight: AtomicBool,
}

impl Budget {
    /// A budget of so many bytes; of 0, what the control group or the machine has.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let bytes = if bytes > 0 { bytes } else { available() };
        let budget = Self { bytes, used: AtomicU64::new(0), tight: AtomicBool::new(false) };
        budget.look();
        budget
    }

    /// Most bytes that the process should use.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is no room for more work.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        // Relaxed: nothing hangs on its order.
        self.tight.load(Ordering::Relaxed)
    }

    /// Looks at the memory in use for ever.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        // A kernel that does not say leaves the verdict as it is.
        if let Some(used) = fs::read_to_string("/proc/self/status").ok().and_then(|text| resident(&text)) {
            self.judge(used);
        }
    }

    fn judge(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
        let limit = if self.is_tight() { ROOMY_PERCENT } else { TIGHT_PERCENT };
        let tight = used >= self.bytes / 100 * limit;
        if tight != self.tight.swap(tight, Ordering::Relaxed) {
            let budget = self.bytes;
            if tight {
                tracing::warn!(used, budget, "memory is short: new clients and subscriptions are refused");
            } else {
                tracing::info!(used, budget, "there is memory again");
            }
        }
    }
}

/// Resident bytes, from `/proc/self/status`.
fn resident(status: &str) -> Option<u64> {
    kilobytes(status, "VmRSS:")
}

/// The number of a line such as `VmRSS:     1234 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

/// The least of what the control groups and the machine allow.
fn available() -> u64 {
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let groups = groups.into_iter().map(Path::new).filter_map(|path| fs::read_to_string(path).ok());
    // A group without a limit says `max`, or a number above any machine.
    let groups = groups.filter_map(|text| text.trim().parse().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemTotal:"));
    groups.chain(machine).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_are_tight_until_it_is_less_than_three_quarters() {
        let budget = Budget::new(u64::MAX / 2);
        assert!(!budget.is_tight());
        let budget = Budget { bytes: 1_000, ..budget };
        let seen: Vec<bool> = [0, 799, 800, 900, 760, 750, 749, 799, 800]
            .into_iter()
            .map(|used| {
                budget.judge(used);
                budget.is_tight()
            })
            .collect();
        assert_eq!(seen, [false, false, true, true, true, true, false, false, true]);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let status = "Name:\tgateway\nVmHWM:\t    9999 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(resident(status), Some(1_234 * 1_024));
        assert_eq!((resident("VmRSS: much"), resident("")), (None, None));
        let own = resident(&fs::read_to_string("/proc/self/status").unwrap()).unwrap();
        assert!((1 << 20..available()).contains(&own), "{own} of {}", available());
    }
}
