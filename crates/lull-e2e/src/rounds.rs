//! How often a test disturbs what it looks at.

/// The usual number, unless `LULL_E2E_ROUNDS` says another: `cargo xtask soak` does.
///
/// # Panics
/// Where that is no number, so that nobody takes the usual one for a soak.
pub fn rounds(usual: usize) -> usize {
    match std::env::var("LULL_E2E_ROUNDS") {
        Ok(said) => said.parse().unwrap_or_else(|_| panic!("LULL_E2E_ROUNDS={said} is no number")),
        Err(_) => usual,
    }
}
