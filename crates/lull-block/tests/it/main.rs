//! Backends as their users see them: the same bodies on every one, here and in the other crates that have some.

mod bench;
mod desk;
mod engines;
mod event_loop;
mod extents;
mod faults;
mod files;
mod model;
mod pool;
mod specs;
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use desk::Bench;
use lull_block::{Backend, BackendSpec, Context, OpenError, Workers, open};

fn context() -> Context {
    Context { workers: Workers::new(4).unwrap(), lock_wait: Duration::ZERO, remotes: None }
}

fn open_text(text: &str) -> Result<Arc<dyn Backend>, OpenError> {
    open(&text.parse().unwrap(), &context())
}

/// Every kind of backend with room for a megabyte, in `at`.
fn every_backend(at: &Path) -> Vec<String> {
    let at = at.display();
    [
        "mem:1M".into(),
        format!("file:{at}/cached,size=1M"),
        format!("file:{at}/cached-threads,size=1M,engine=threads"),
        format!("file:{at}/direct,size=1M,direct=on"),
        format!("file:{at}/direct-threads,size=1M,direct=on,engine=threads"),
        format!("faulty:delay=50us:file:{at}/late,size=1M"),
        format!("faulty:volatile:file:{at}/volatile,size=1M"),
        "faulty::mem:1M".into(),
    ]
    .into()
}

fn spec(text: &str) -> BackendSpec {
    text.parse().unwrap()
}
