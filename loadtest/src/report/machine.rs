//! What the run was made on: a figure without its machine says little.
//!
//! Owns the reading of `/proc`. What cannot be read is left empty.

use serde::Serialize;
use std::fs;
use std::num::NonZero;
use std::thread::available_parallelism;

/// The generator's machine, which on loopback is the gateway's as well.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// As the processor calls itself.
    pub(crate) processor: String,
    /// Name and release.
    pub(crate) kernel: String,
    /// Processes that wanted to run in the last minute, on average; of all programs.
    pub(crate) load: Option<f64>,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: available_parallelism().map_or(1, NonZero::get),
            processor: processor(&text("/proc/cpuinfo")),
            kernel: format!(
                "{} {}",
                text("/proc/sys/kernel/ostype").trim(),
                text("/proc/sys/kernel/osrelease").trim()
            ),
            load: text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let load = self.load.map_or_else(String::new, |load| format!(", load {load}"));
        format!("{} cores of {}, {}{load}", self.cores, self.processor, self.kernel)
    }
}

fn processor(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| "an unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n"), "AMD EPYC");
        assert_eq!(processor(""), "an unknown processor");
        assert!(Machine::here().cores > 0);
    }
}
