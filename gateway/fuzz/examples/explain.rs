//! Tells what happens in one input of `hub_operations`: `explain FILE`.
//!
//! Act by act, with every message as its client reads it, up to what was found wrong. Reads one file and writes to its output.
#![forbid(unsafe_code)]

use std::io::{BufWriter, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: explain FILE");
        return ExitCode::from(2);
    };
    let data = match std::fs::read(&path) {
        Ok(data) => data,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let mut out = BufWriter::new(std::io::stdout());
    gateway_fuzz::hub_operations::explain(&data, &mut |line| {
        // A reader that has seen enough closes the pipe.
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    });
    ExitCode::SUCCESS
}
