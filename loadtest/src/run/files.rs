//! Whether the process may open as many sockets as the run needs.
//!
//! Owns the reading of `/proc/self/limits`. Never raises a limit: that is the shell's to do.

/// Descriptors besides those of clients: standard ones, readiness sets, the admin listener, reports.
const OTHERS: u64 = 64;

/// Fails, with what to do, when there would be too few descriptors. Where no limit can be read there is none to keep.
pub(crate) fn check(clients: u32) -> Result<(), String> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    judge(clients, soft_limit(&limits))
}

fn judge(clients: u32, limit: Option<u64>) -> Result<(), String> {
    let needed = u64::from(clients) + OTHERS;
    match limit {
        Some(limit) if limit < needed => Err(format!(
            "{clients} clients need {needed} open files, and {limit} are allowed: raise that with `ulimit -n {needed}`"
        )),
        _ => Ok(()),
    }
}

/// The first number behind the name.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_told_before_anybody_connects() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 20000                files\n";
        assert_eq!(soft_limit(limits), Some(1_024));
        assert_eq!(
            soft_limit("Max open files            unlimited            unlimited            files"),
            None
        );
        assert!(judge(900, Some(1_024)).is_ok() && judge(1_000_000, None).is_ok());
        assert!(judge(1_000, Some(1_024)).unwrap_err().contains("ulimit -n 1064"));
    }
}
