//! The command `sim`: runs many seeds and stops at the first that fails, or runs one and shows what was sent.
//!
//! The only place of the simulator with threads and output; each seed runs on one thread and shares nothing.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use clap::Parser;
use sim::{Report, Scenario, Sent, Violation, World};

/// Plays worlds of odd feeds and odd clients, one per seed, and checks that every client is told the truth.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One scenario for all seeds, or `all`: each seed plays its own.
    #[arg(long, default_value = "all")]
    scenario: String,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// With `--seed`: prints every message as its client reads it.
    #[arg(long, requires = "seed")]
    trace: bool,
}

thread_local! {
    /// What the thread runs, for a panic: an assertion of the core ends the process.
    static RUNNING: Cell<Option<(u64, &'static str)>> = const { Cell::new(None) };
}

fn main() -> ExitCode {
    let args = Args::parse();
    let names: Vec<&str> = Scenario::ALL.iter().map(|one| one.name).collect();
    if args.scenario != "all" && Scenario::by_name(&args.scenario).is_none() {
        eprintln!("no scenario {}: choose all, {}", args.scenario, names.join(", "));
        return ExitCode::from(2);
    }
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        told(info);
        if let Some((seed, scenario)) = RUNNING.get() {
            eprintln!("seed {seed} failed an assertion\n{}", again(seed, scenario));
        }
    }));
    match args.seed {
        Some(seed) => run_one(seed, scenario_of(&args, seed), args.trace),
        None => run_many(&args),
    }
}

fn scenario_of(args: &Args, seed: u64) -> Scenario {
    Scenario::by_name(&args.scenario).unwrap_or_else(|| Scenario::of_seed(seed))
}

/// How to see a seed fail again.
fn again(seed: u64, scenario: &str) -> String {
    format!("run it again: cargo sim --scenario {scenario} --seed {seed} --trace")
}

fn run_one(seed: u64, scenario: Scenario, trace: bool) -> ExitCode {
    RUNNING.set(Some((seed, scenario.name)));
    let mut out = BufWriter::new(std::io::stdout());
    let mut watch = |sent: Sent<'_>| {
        if trace {
            let text = String::from_utf8_lossy(sent.payload);
            // A reader that has seen enough closes the pipe.
            let _ = writeln!(out, "{} #{} {} {text}", sent.step, sent.connection_id, sent.opcode);
        }
    };
    let result = World::new(seed, scenario).run_watched(&mut watch);
    // Also what is said last may have no reader any more.
    let (text, code) = match result {
        Ok(report) => (format!("trace {:016x}\n{report:?}", report.trace), ExitCode::SUCCESS),
        Err(violation) => (violation.to_string(), ExitCode::FAILURE),
    };
    let _ = writeln!(out, "seed {seed} of {}: {text}", scenario.name);
    let _ = out.flush();
    code
}

fn run_many(args: &Args) -> ExitCode {
    let next = AtomicU64::new(args.from);
    let failed = AtomicBool::new(false);
    let end = args.from.saturating_add(args.seeds);
    let (results, inbox) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            let (results, next, failed) = (results.clone(), &next, &failed);
            scope.spawn(move || {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let scenario = scenario_of(args, seed);
                    RUNNING.set(Some((seed, scenario.name)));
                    let result = World::new(seed, scenario).run();
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    if results.send((seed, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        conclude(args, &inbox)
    })
}

/// Shows progress, and at the end the sums or the lowest seed that failed.
fn conclude(args: &Args, inbox: &mpsc::Receiver<(u64, Result<Report, Violation>)>) -> ExitCode {
    const SHOWN_EVERY: u64 = 100;
    let shows = std::io::stderr().is_terminal();
    let (mut done, mut sum) = (0, Report::default());
    let mut first: Option<(u64, Violation)> = None;
    for (seed, result) in inbox {
        done += 1;
        match result {
            Ok(report) => sum.add(&report),
            Err(violation) if first.as_ref().is_none_or(|(other, _)| seed < *other) => {
                first = Some((seed, violation));
            }
            Err(_) => {}
        }
        if shows && done % SHOWN_EVERY == 0 {
            eprint!("\r{done} of {} seeds, {} messages", args.seeds, sum.messages);
        }
    }
    if shows {
        eprintln!();
    }
    if let Some((seed, violation)) = first {
        let scenario = scenario_of(args, seed).name;
        println!("seed {seed} of {scenario}: {violation}\n{}", again(seed, scenario));
        return ExitCode::FAILURE;
    }
    // Seeds end in any order, so the sum has no trace.
    println!("{done} seeds, no violation: {:?}", Report { trace: 0, ..sum });
    ExitCode::SUCCESS
}
