//! How many descriptors this process may have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Makes that as many as the system lets it have at all: each connection is one.
///
/// # Errors
/// What the system says.
pub fn raise_descriptor_limit() -> std::io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
