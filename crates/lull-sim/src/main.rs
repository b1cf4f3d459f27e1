//! `lull-sim`: runs seeds and says what it found. `cargo xtask sim` builds it for speed and starts it.

use anyhow::{Result, bail};
use clap::Parser;
use lull_sim::canary::Canary;
use lull_sim::coverage::{Coverage, ENOUGH, Empty};
use lull_sim::model::setup::Setup;
use lull_sim::model::state::Wrong;
use lull_sim::model::{Outcome, World, worlds};
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
    /// Run worlds of this preset only; otherwise of all of them in turn
    #[arg(long, value_parser = preset)]
    preset: Option<Preset>,
    /// Leave something out on purpose, to see that it is found
    #[arg(long, value_parser = canary)]
    canary: Option<Canary>,
    /// Print all that happens (with --seed), or the state that was found (with --model)
    #[arg(long)]
    trace: bool,
    /// Go on after a finding and count them
    #[arg(long)]
    go_on: bool,
    /// For each thing that can be left out: how many seeds it takes to find it
    #[arg(long, conflicts_with_all = ["seed", "minutes", "preset", "canary"])]
    hunt: bool,
    /// Visit every state of a small world instead: of this one, of those that are `quick`, or of `all`
    #[arg(long, value_name = "WORLD", conflicts_with_all = ["seed", "minutes", "preset", "hunt"])]
    model: Option<String>,
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
        None if args.model.is_some() => model(&args)?,
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

/// Visits every state of one world or of all.
fn model(args: &Args) -> Result<bool> {
    let name = args.model.as_deref().unwrap_or("all");
    let mut all = worlds::all();
    all.retain(|one| {
        name == "all" || name == one.setup.name || (name == "quick" && one.states.is_some())
    });
    if all.is_empty() {
        let names: Vec<&str> = worlds::all().iter().map(|one| one.setup.name).collect();
        bail!("there is no such world; there is: {}, quick, all", names.join(", "));
    }
    let mut found = false;
    for one in all {
        let setup = Setup { canary: args.canary, ..one.setup };
        let (name, about, begun) = (setup.name, setup.about, now());
        let Outcome { states, steps, depth, finding } = World::new(setup).explore();
        let took = (now() - begun).as_secs_f64();
        println!(
            "{name:12} {states:9} states, {steps:9} steps, depth {depth:3}, {took:6.1} s: {about}"
        );
        if let Some(before) = one.states.filter(|before| *before != states)
            && finding.is_none()
            && args.canary.is_none()
        {
            found = true;
            println!("CHANGED: it had {before} states; look at what a machine does now");
        }
        if let Some(finding) = finding {
            found = true;
            finding.path.iter().for_each(|step| println!("  {step:?}"));
            match finding.wrong {
                Some(Wrong { rule, how }) => println!("FOUND [{rule}] {how}"),
                None => {
                    println!("FOUND [progress] from here they do not come back to sharing:");
                    finding.run.iter().for_each(|step| println!("  {step:?}"));
                }
            }
            if args.trace {
                println!("{:#?}", finding.state);
            }
        }
    }
    Ok(found)
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
    let everything = args.preset.is_none() && args.canary.is_none() && findings == 0;
    let holes = (args.coverage || seeds >= ENOUGH) && everything && has_holes(&coverage);
    findings > 0 || holes && seeds >= ENOUGH
}

/// Prints which cells of the coverage are empty; whether any is.
fn has_holes(coverage: &Coverage) -> bool {
    let empty = coverage.empty();
    for Empty { machine, state, fault } in &empty {
        println!("empty: {fault} never struck while the {machine} was {state}");
    }
    let unknown = coverage.unknown();
    for state in &unknown {
        println!("unknown: {state} is no state of the table in coverage.rs");
    }
    match empty.len() + unknown.len() {
        0 => println!("coverage: every fault struck in every state"),
        left => println!("coverage: {left} cells are empty; {ENOUGH} seeds should reach each"),
    }
    !empty.is_empty() || !unknown.is_empty()
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
