//! Whether a text can be a backend; what it needs from the host is seen when the target starts.

use lull_block::BackendSpec;

/// Reads a backend: `file:/path[,direct=on|off][,engine=auto|uring|threads][,size=1G]`, `mem:64M`, `null:1G`,
/// `lull://host/resource`, `nbd://host/export`. `insecure` allows servers beyond this host over plain TCP. [SEC-1]
///
/// # Errors
/// A sentence that says what is wrong and how it is written.
pub fn backend_spec(text: &str, insecure: bool) -> Result<BackendSpec, String> {
    let spec: BackendSpec = text.parse().map_err(|error| format!("{error}"))?;
    lull_upstream::check(&spec, insecure).map_err(|error| error.to_string())?;
    Ok(spec)
}
