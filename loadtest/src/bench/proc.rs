//! What the kernel says of processes and sockets.
//!
//! Owns the reading of `/proc` and of `ss`. Never judges a figure. What cannot be read is none or empty: a process may
//! end while it is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Bytes of a page in `/proc/net/sockstat`.
const PAGE_BYTES: u64 = 4_096;

/// A thread of a process, with the name that it has given itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thread {
    process: u32,
    number: u32,
    /// Its name.
    pub(crate) name: String,
}

/// Memory of some processes together, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident, mapped files included.
    pub(crate) resident: u64,
    /// Resident and their own: heap and stacks.
    pub(crate) anonymous: u64,
    /// Shared pages counted in part, as many as share them.
    pub(crate) proportional: u64,
}

/// The server's side of its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    /// How many are established.
    pub(crate) count: u64,
    /// How many of them have something unsent or not acknowledged.
    pub(crate) queued: u64,
    /// What the kernel holds for those, in bytes, its own book-keeping included.
    pub(crate) queued_bytes: u64,
}

/// A process and all that it has started, directly or not.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = numbers("/proc").filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let children = parents.iter().filter(|(_, parent)| *parent == found[at]).map(|(pid, _)| *pid);
        let children: Vec<u32> = children.filter(|pid| !found.contains(pid)).collect();
        found.extend(children);
        at += 1;
    }
    found
}

/// Entries of a folder that are numbers.
fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may itself contain blanks.
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The name of a process.
pub(crate) fn name(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

/// The number of the calling thread.
pub(crate) fn own_thread() -> Option<u32> {
    fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

/// CPU time of each thread of some processes.
pub(crate) fn cpu(processes: &[u32]) -> BTreeMap<Thread, Duration> {
    let mut times = BTreeMap::new();
    for &process in processes {
        for number in numbers(&format!("/proc/{process}/task")) {
            let name = fs::read_to_string(format!("/proc/{process}/task/{number}/comm")).unwrap_or_default();
            let thread = Thread { process, number, name: name.trim_end().to_owned() };
            if let Some(time) = thread_cpu(process, number) {
                times.insert(thread, time);
            }
        }
    }
    times
}

/// CPU time of one thread.
pub(crate) fn thread_cpu(process: u32, thread: u32) -> Option<Duration> {
    let schedstat = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok()?;
    schedstat.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Memory of some processes.
pub(crate) fn memory(processes: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for process in processes {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
        sum.resident += kilobytes(&status, "VmRSS:").unwrap_or(0);
        sum.anonymous += kilobytes(&status, "RssAnon:").unwrap_or(0);
        sum.proportional += kilobytes(&rollup, "Pss:").unwrap_or(0);
    }
    sum
}

/// The value of a line such as `VmRSS:     1234 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|value| value * 1_024)
}

/// Memory of all TCP sockets of the machine, both ends of each connection on it, in bytes.
pub(crate) fn socket_memory() -> Option<u64> {
    parse_sockstat(&fs::read_to_string("/proc/net/sockstat").ok()?)
}

fn parse_sockstat(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "mem");
    words.nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE_BYTES)
}

/// The connections of the server that listens on a port; none when `ss` does not run here.
pub(crate) fn connections(port: u16) -> Option<Connections> {
    let filter = format!("( sport = :{port} )");
    let output = Command::new("ss").args(["-tmnH", "state", "established", &filter]).output().ok()?;
    output.status.success().then(|| parse_ss(&String::from_utf8_lossy(&output.stdout)))
}

/// Each socket is a line with its queues, and one that begins with a blank and has its memory, such as
/// `skmem:(r0,rb131072,t0,tb2626560,f0,w0,o0,bl0,d0)`; some versions put both on one line.
fn parse_ss(text: &str) -> Connections {
    let mut connections = Connections::default();
    let mut is_queued = false;
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            let unsent = line.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
            is_queued = unsent.is_some_and(|bytes| bytes > 0);
            connections.count += 1;
            connections.queued += u64::from(is_queued);
        }
        if let (true, Some((_, memory))) = (is_queued, line.split_once("skmem:(")) {
            let field =
                |key| memory.split([',', ')']).find_map(|field| field.strip_prefix(key)?.parse().ok());
            connections.queued_bytes += field("w").unwrap_or(0_u64);
        }
    }
    connections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_are_read() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nRssAnon:\t  10 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1_234 * 1_024));
        assert_eq!(kilobytes(status, "Pss:"), None);
        let sockstat = "sockets: used 14\nTCP: inuse 4 orphan 0 tw 3 alloc 9 mem 25\nUDP: inuse 0 mem 1\n";
        assert_eq!(parse_sockstat(sockstat), Some(25 * 4_096));
        let ss = "0 0 127.0.0.1:9 127.1.0.1:1\n\t skmem:(r0,rb131072,t0,tb2626560,f4096,w0,o0,bl0,d0)\n\
                  0 52 127.0.0.1:9 127.1.0.1:2\n\t skmem:(r0,rb131072,t0,tb131072,f256,w69376,o0,bl0,d0)\n\
                  0 7 127.0.0.1:9 127.1.0.1:3 skmem:(r0,rb1,t0,tb1,f0,w1000,o0,bl0,d0)\n";
        assert_eq!(parse_ss(ss), Connections { count: 3, queued: 2, queued_bytes: 70_376 });
    }

    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        let thread = own_thread().expect("a thread has a number");
        let start = thread_cpu(own, thread).expect("a thread has a time");
        while thread_cpu(own, thread).is_some_and(|time| time < start + Duration::from_millis(2)) {
            std::hint::black_box(0);
        }
        assert!(cpu(&tree(own)).keys().any(|thread| thread.process == own));
        assert!(memory(&[own]).anonymous > 0);
        assert!(socket_memory().is_some());
        let mut child = Command::new("sleep").arg("60").spawn().expect("there is a sleep");
        let is_seen = tree(own).contains(&child.id());
        child.kill().and_then(|()| child.wait()).expect("it is ours");
        assert!(is_seen);
    }
}
