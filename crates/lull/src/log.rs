//! What a daemon in the foreground tells people.

use tracing_subscriber::EnvFilter;

/// Prints transitions on standard error, one line each. `LULL_LOG` changes how much: `warn`, `debug`,
/// `lull_initiator=debug`.
pub fn to_stderr() {
    let filter = EnvFilter::try_from_env("LULL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time();
    // Where somebody listens already, they keep listening.
    let _ = lines.try_init();
}
