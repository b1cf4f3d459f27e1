//! `lull-sim`: runs seeds and says what it found. `cargo xtask sim` builds it for speed and starts it.

use anyhow::{Result, bail};
use clap::Parser;
use lull_sim::canary::Canary;
use lull_sim::coverage::Coverage;
use lull_sim::preset::Preset;
use lull_sim::run::{self, Verdict};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run simulated worlds, one for each seed, and judge them from outside.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// Run this seed only
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// Run so many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Run seeds for so many minutes
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<f64>,
    /// The first seed of many
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run worlds of this preset only; otherwise each of those whose promise is kept in turn
    #[arg(long, value_parser = preset)]
    preset: Option<Preset>,
    /// Leave something out on purpose, to see that it is found
    #[arg(long, value_parser = canary)]
    canary: Option<Canary>,
    /// Print all that happens (with --seed)
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Go on after a finding and count them
    #[arg(long)]
    go_on: bool,
    /// For each thing that can be left out, and for each promise that is not made yet: how many seeds it takes to
    /// find it
    #[arg(long, conflicts_with_all = ["seed", "minutes", "preset", "canary"])]
    hunt: bool,
    /// Print which transitions were seen, and which fault struck in which state
    #[arg(long)]
    coverage: bool,
}

fn preset(name: &str) -> Result<Preset, String> {
    let names = || Preset::ALL.map(Preset::name).join(", ");
    Preset::named(name).ok_or_else(|| format!("there is no such preset; there is: {}", names()))
}

fn canary(name: &str) -> Result<Canary, String> {
    let names = || Canary::ALL.map(Canary::name).join(", ");
    Canary::named(name).ok_or_else(|| format!("there is no such canary; there is: {}", names()))
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    // A panic of a machine is a finding like any other, and said as one.
    std::panic::set_hook(Box::new(|_| {}));
    let found = match args.seed {
        Some(seed) => one(&args, seed)?,
        None if args.hunt => !hunt(args.seeds),
        None => many(&args),
    };
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn one(args: &Args, seed: u64) -> Result<bool> {
    let Some(preset) = args.preset else { bail!("--seed needs --preset") };
    let verdict = run::run(preset, seed, args.canary, args.trace);
    verdict.trace.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}: {} requests, {} happenings", verdict.requests, verdict.events);
    if verdict.finding.is_some() {
        report(args, preset, seed, &verdict);
    }
    if args.coverage {
        print!("{}", verdict.coverage.table());
    }
    Ok(verdict.finding.is_some())
}

/// Whether everything that should be found is.
fn hunt(most: u64) -> bool {
    let mut every = true;
    for canary in Canary::ALL {
        let name = canary.name();
        let found = run::hunt(canary, most);
        let finding = found.and_then(|(seed, verdict)| Some((seed, verdict.finding?)));
        every &= finding.is_some();
        match finding {
            Some((seed, finding)) => {
                let text: String = finding.text.chars().take(90).collect();
                println!("{name:20} found after {seed:5} seeds: [{}] {text}", finding.rule);
            }
            None => println!("{name:20} NOT FOUND in {most} seeds"),
        }
    }
    every
}

fn many(args: &Args) -> bool {
    let presets = args.preset.map_or(Preset::ALL.to_vec(), |preset| vec![preset]);
    let limit = args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let begun = now();
    let mut coverage = Coverage::default();
    let (mut seeds, mut requests, mut events, mut findings) = (0_u64, 0, 0, 0_u64);
    loop {
        let over = limit.map_or(seeds >= args.seeds, |limit| now() - begun >= limit);
        if over {
            break;
        }
        let seed = args.from + seeds;
        let preset = presets[(seed % presets.len() as u64) as usize];
        let verdict = run::run(preset, seed, args.canary, false);
        seeds += 1;
        requests += verdict.requests;
        events += verdict.events;
        coverage.add(&verdict.coverage);
        if verdict.finding.is_some() {
            findings += 1;
            report(args, preset, seed, &verdict);
            if !args.go_on {
                break;
            }
        }
    }
    let took = (now() - begun).as_secs_f64().max(0.001);
    if args.coverage {
        print!("{}", coverage.table());
    }
    println!(
        "{seeds} seeds, {requests} requests, {events} happenings, {} transitions in {took:.1} s ({:.0} seeds a \
         minute): {findings} findings",
        coverage.transitions(),
        seeds as f64 / took * 60.0,
    );
    findings > 0
}

/// Says what was found, what led to it, and how to see it again.
fn report(args: &Args, preset: Preset, seed: u64, verdict: &Verdict) {
    let Some(finding) = &verdict.finding else { return };
    if !args.trace && !args.go_on {
        let again = run::run(preset, seed, args.canary, true);
        let first = again.trace.len().saturating_sub(run::LINES_BEFORE);
        again.trace[first..].iter().for_each(|line| println!("  {line}"));
    }
    println!("FOUND [{}] after {:?}: {}", finding.rule, run::since_begin(finding.at), finding.text);
    let canary = args.canary.map_or(String::new(), |canary| format!(" --canary {}", canary.name()));
    println!("again: cargo xtask sim --preset {} --seed {seed} --trace{canary}\n", preset.name());
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the simulator: how long it runs")]
fn now() -> Instant {
    Instant::now()
}
