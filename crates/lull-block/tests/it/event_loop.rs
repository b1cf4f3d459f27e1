//! The event loop of a test's thread, with the ring through which files are served.

use std::cell::OnceCell;

use lull_block::IoLoop;
use tokio::runtime::{Builder, Runtime};

/// In the order in which they end.
struct Loop {
    ring: IoLoop,
    runtime: Runtime,
}

thread_local! {
    static LOOP: OnceCell<Loop> = const { OnceCell::new() };
}

fn start() -> Loop {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let entered = runtime.enter();
    let ring = IoLoop::start().expect("these tests need io_uring, which is not permitted here");
    drop(entered);
    Loop { ring, runtime }
}

/// Gives this thread its ring, if it has none.
pub fn have() {
    LOOP.with(|here| {
        here.get_or_init(start);
    });
}

/// Runs this thread's loop until something has happened.
pub fn until(happened: impl Future<Output = ()>) {
    LOOP.with(|here| {
        let Loop { ring, runtime } = here.get_or_init(start);
        runtime.block_on(async {
            tokio::select! {
                () = happened => {}
                never = ring.run() => match never {},
            }
        });
    });
}
