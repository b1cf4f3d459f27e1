//! Measures a backend: how much is done on the caller's thread, how fast, and the longest that
//! one call held it. `cargo run --release -p lull-block --example measure -- BACKEND read|write [DEPTH] [COUNT]`

use std::time::{Duration, Instant};

use lull_block::{Buffer, Completions, Context, DEFAULT_BUDGET, Op, Pool, Request, Workers, open};

#[expect(clippy::disallowed_methods, reason = "the one clock of this measurement")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let spec = args.first().ok_or("which backend?")?.parse()?;
    let mode = args.get(1).map_or("read", String::as_str).to_owned();
    let depth: usize = args.get(2).map_or(Ok(32), |text| text.parse())?;
    let count: u64 = args.get(3).map_or(Ok(200_000), |text| text.parse())?;
    let context = Context { workers: Workers::new(16)?, lock_wait: Duration::ZERO, remotes: None };
    let backend = open(&spec, &context)?;
    let pool = Pool::new(DEFAULT_BUDGET)?;
    let completions = Completions::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let blocks = backend.geometry().size / 4096;
    let (mut at_once, mut longest, mut outstanding) = (0u64, Duration::ZERO, 0usize);
    let mut over = 0u64;
    let mut random = 88_172_645_463_325_252u64;
    let mut done = Vec::new();
    let begun = now();
    for tag in 0..count {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let op = match mode.as_str() {
            "read" => Op::Read,
            "fua" => Op::Write { fua: true },
            "flushing" if tag % 2000 == 1999 => Op::Flush,
            _ => Op::Write { fua: false },
        };
        let length = if op == Op::Flush { 0 } else { 4096 };
        let buffer = pool.take(length as usize).unwrap_or_else(Buffer::empty);
        let token = completions.token(tag);
        let request = Request { op, offset: random % blocks * 4096, length, buffer, token };
        let start = now();
        let answer = backend.start(request);
        let took = now() - start;
        longest = longest.max(took);
        over += u64::from(took > Duration::from_millis(1));
        match answer {
            Some(answer) => {
                answer.result?;
                at_once += 1;
            }
            None => outstanding += 1,
        }
        while outstanding >= depth || (tag + 1 == count && outstanding > 0) {
            runtime.block_on(completions.ready());
            completions.drain(&mut done);
            outstanding -= done.len();
            for answer in done.drain(..) {
                answer.result?;
            }
        }
    }
    let took = (now() - begun).as_secs_f64();
    let usage = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = usage.split(' ').collect();
    let ticks: f64 = fields[13].parse::<f64>()? + fields[14].parse::<f64>()?;
    println!(
        "{} {mode}: {:.0} IOPS, {:.2} CPU s per million, {:.1} % at once, longest call {longest:?}, {over} over 1 ms",
        backend.engine(),
        count as f64 / took,
        ticks / 100.0 * 1e6 / count as f64,
        at_once as f64 * 100.0 / count as f64,
    );
    Ok(())
}
