//! `loadtest`: the outside witness of the gateway.
//!
//! Owns the exit code. Never shares code with the gateway: what it believes about the protocol it has written
//! down for itself, so that a mistake there is not repeated here.
//! Data flows socket -> client -> scan -> verify (book) -> tally -> report.
//!
//! Beside it stand the fault run (`faults.rs`), in which everything goes wrong while clients of the same kind watch; the bench
//! (`bench.rs`), which measures servers with a light crowd, the floor that it measures them against (`ceiling.rs`), and a naive
//! server to compare with (`naive.rs`).

#![forbid(unsafe_code)]

mod bench;
mod book;
mod ceiling;
mod client;
mod compare;
mod conserve;
mod cpu;
mod faults;
mod find_max;
mod frame;
mod gateway;
mod hall;
mod listing;
mod naive;
mod own;
mod plan;
mod plot;
mod record;
mod report;
mod run;
mod scan;
mod tally;
mod threshold;
mod time;
mod unsent;
mod verify;
mod violation;

use clap::Parser;
use plan::{Cli, Command, RunArgs};
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run_and_report(&args),
        Command::FindMax(args) => find_max::run(&args).map(ExitCode::from),
        Command::Faults(args) => faults::run(&args).map(ExitCode::from),
        Command::Rolling(args) => faults::rolling::run(&args).map(ExitCode::from),
        Command::Compare(args) => compare::run(&args).map(ExitCode::from),
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
            ExitCode::from(report::EXIT_UNUSABLE)
        }
    }
}

fn run_and_report(args: &RunArgs) -> Result<ExitCode, String> {
    let mut report = run::run(args).map_err(|e| e.to_string())?.report();
    if let Some(window) = args.ceiling {
        report.measure_ceiling(window)?;
    }
    match &args.json {
        Some(_) if args.prints_json() => println!("{}", report.json()),
        Some(path) => {
            let written = std::fs::write(path, report.json() + "\n");
            written.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        None => {}
    }
    if let Some(path) = &args.html {
        let written = std::fs::write(path, report::html::page(&report)?);
        written.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    if !args.prints_json() {
        print!("{report}");
    }
    Ok(ExitCode::from(report.exit_code))
}
