//! How often a test disturbs what it looks at.

/// Which number there should be instead of the usual one.
const ROUNDS: &str = "LULL_E2E_ROUNDS";

/// The usual number, unless `LULL_E2E_ROUNDS` says another: `cargo xtask soak` does.
///
/// # Panics
/// Where that is no number, so that nobody takes the usual one for a soak.
pub fn rounds(usual: usize) -> usize {
    match std::env::var(ROUNDS) {
        Ok(said) => said.parse().unwrap_or_else(|_| panic!("{ROUNDS}={said} is no number")),
        Err(_) => usual,
    }
}

/// Prints a line of what came of it: `cargo xtask soak` keeps it in its page, and knows it by what stands before it.
pub fn outcome(line: &str) {
    match std::env::var_os(ROUNDS) {
        Some(_) => eprintln!("outcome: {line}"),
        None => eprintln!("{line}"),
    }
}
