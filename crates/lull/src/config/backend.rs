//! Whether a text can be a backend; what it needs from the host is seen when the target starts.

use lull_block::BackendSpec;

/// Checks the form of a backend: `file:/path[,direct=on|off][,engine=auto|uring|threads][,size=1G]`, `mem:64M`,
/// `null:1G`.
///
/// # Errors
/// A sentence that says what is wrong and how it is written.
pub fn check_backend(text: &str) -> Result<(), String> {
    text.parse::<BackendSpec>().map(drop).map_err(|error| error.to_string())
}
