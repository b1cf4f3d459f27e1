//! `cargo xtask bench postgres` calls this: PostgreSQL under load while its target is restarted and killed, and what its
//! clients saw of that, as one JSON document.

use std::time::Duration;

use clap::Parser;
use lull_admin::RestartRecord;
use lull_e2e::postgres::{Killed, OnDisk, Transaction};
use lull_e2e::{World, now, wait_until};
use serde::Serialize;

#[derive(Parser)]
#[command(name = "lull-postgres", about = "PostgreSQL on a disk whose target comes and goes")]
struct Args {
    /// Planned restarts of the target
    #[arg(long)]
    restarts: u32,
    /// SIGKILLs to it, spread between them
    #[arg(long)]
    kills: u32,
    /// Seconds of load before each, and after the last
    #[arg(long)]
    every: u64,
    /// Clients of the database
    #[arg(long)]
    clients: u32,
    /// 100000 accounts for each
    #[arg(long)]
    scale: u32,
    /// The target's medium loses with a kill what was not flushed
    #[arg(long)]
    volatile: bool,
}

/// What clients saw, and what was done meanwhile.
#[derive(Serialize)]
struct Document {
    transactions: Vec<Transaction>,
    restarts: Vec<RestartRecord>,
    kills: Vec<Killed>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let world = World::new();
    // 16 MB for each of scale, half as much again for what an hour adds, a file system and its log of changes.
    let backend =
        format!("file:{},size={}M", world.path("db1.img").display(), 256 + 32 * args.scale);
    let backend = if args.volatile { format!("faulty:volatile:{backend}") } else { backend };
    let mut database = OnDisk::start(&world, &backend, args.scale);
    let load = database.server.load(args.clients);
    let (mut restarts, mut kills) = (Vec::new(), Vec::new());
    let all = args.restarts + args.kills;
    for one in 0..all {
        pass(args.every);
        if (one + 1) * args.kills / all > one * args.kills / all {
            eprintln!("{} of {all}: killed", one + 1);
            kills.push(database.kill_target());
        } else {
            eprintln!("{} of {all}: restarted", one + 1);
            restarts.push(database.target.restart(&["--daemon"]).id);
        }
    }
    pass(args.every);
    let report = load.finish();
    let mut records = database.target.history();
    records.retain(|record| restarts.contains(&record.id));
    eprintln!(
        "{} transactions, none failed; now server and target are killed together",
        report.done
    );
    database.judge(&world, report.done);
    eprintln!("recovered: ext4, pages, tables, indexes, checksums and sums are right");
    let transactions = report.transactions;
    println!("{}", serde_json::to_string(&Document { transactions, restarts: records, kills })?);
    Ok(())
}

/// Lets the load go on for a while.
fn pass(seconds: u64) {
    let span = Duration::from_secs(seconds);
    let until = now() + span;
    wait_until("the load has gone on for a while", 2 * span + Duration::from_secs(1), || {
        now() >= until
    });
}
