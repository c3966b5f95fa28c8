//! `loadtest`: the outside witness of the gateway.
//!
//! Owns the exit code. Never shares code with the gateway: what it believes about the protocol it has written
//! down for itself, so that a mistake there is not repeated here.
//! Data flows socket -> scan -> verify (book) -> tally -> report.
//!
//! Beside it stand the bench (`bench.rs`), which measures servers with a light crowd, and the floor that it measures them
//! against (`ceiling.rs`)
//! and a naive server to compare with (`naive.rs`).

#![forbid(unsafe_code)]

mod bench;
mod book;
mod ceiling;
mod client;
mod cpu;
mod frame;
mod listing;
mod naive;
mod plan;
mod record;
mod report;
mod run;
mod scan;
mod socket;
mod tally;
mod time;
mod verify;
mod violation;

use clap::Parser;
use plan::{Cli, Command, RunArgs};
use std::process::ExitCode;

const VIOLATED: u8 = 1;
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run_and_report(&args),
        Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Ceiling(args) => {
            ceiling::run(&args).map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
        }
        Command::Naive(args) => {
            naive::run(&args).map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn run_and_report(args: &RunArgs) -> Result<ExitCode, String> {
    let (plan, measured) = run::run(args).map_err(|e| e.to_string())?;
    let report = measured.report(&plan);
    if let Some(path) = &args.json_out {
        let written = std::fs::write(path, report.json() + "\n");
        written.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(match (measured.connected, measured.is_clean()) {
        (0, _) => ExitCode::from(UNUSABLE),
        (_, true) => ExitCode::SUCCESS,
        (_, false) => ExitCode::from(VIOLATED),
    })
}
