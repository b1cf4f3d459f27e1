//! `lull bench`: load with verification.

use crate::exit::Failure;
use crate::units::{parse_size, parse_span_ms};

/// The flags of `lull bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to load, all at once: resources (lull…) or NBD servers (unix:/path, tcp:host:port)
    #[arg(value_name = "URI|ADDR", required = true)]
    pub places: Vec<String>,
    /// How long
    #[arg(long = "for", value_name = "SPAN", default_value = "10s", value_parser = parse_span_ms)]
    pub span_ms: u64,
    /// Requests in flight at each place
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub depth: u16,
    /// Bytes of one request, a multiple of 512
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = parse_size)]
    pub block: u64,
    /// The first bytes of each place that are used [default: all]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub span: Option<u64>,
    /// Writes among the requests, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    pub writes: u8,
    /// A flush after so many writes; 0: only at the end
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub flush_every: u64,
    /// What the load is derived from; the same seed gives the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Runs the load and prints what it saw.
pub fn run(args: Args) -> Result<(), Failure> {
    Err(super::not_in_this_build(&args.places.join(" ")))
}
