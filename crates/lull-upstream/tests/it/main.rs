//! Media behind a network: what every backend promises, and what becomes of it when the server goes.

#[path = "../../../lull-block/tests/it/bench.rs"]
mod bench;
#[path = "../../../lull-block/tests/it/desk.rs"]
mod desk;
#[path = "../../../lull-block/tests/it/event_loop.rs"]
mod event_loop;
mod foreign;
mod loss;
#[path = "../../../lull-block/tests/it/model.rs"]
mod model;
mod opening;
mod server;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use desk::Bench;
use lull_block::{Backend, Context, OpenError, Workers, open};
use lull_upstream::{Notice, Upstreams};

/// All that was noticed of a medium.
type Notices = Arc<Mutex<Vec<Notice>>>;

fn open_noticed(text: &str, patience: Duration) -> (Result<Arc<dyn Backend>, OpenError>, Notices) {
    let notices = Notices::default();
    let noticed = Arc::clone(&notices);
    let upstreams =
        Upstreams::new(patience, move |notice| noticed.lock().unwrap().push(notice.clone()));
    let context = Context {
        workers: Workers::new(4).unwrap(),
        lock_wait: Duration::ZERO,
        remotes: Some(Arc::new(upstreams)),
    };
    (open(&text.parse().unwrap(), &context), notices)
}

/// Waits for servers that have just been started.
fn open_text(text: &str) -> Result<Arc<dyn Backend>, OpenError> {
    open_noticed(text, Duration::from_secs(20)).0
}

/// Every kind of server with room for a megabyte, in `at`; they end with the calling thread.
fn every_backend(at: &Path) -> Vec<String> {
    let mut all = foreign::every_server(at);
    all.push(server::for_this_thread(at));
    all.push(format!("faulty:delay=50us:{}", all[0]));
    all.push(format!("{},write-through", all[0]));
    all
}
