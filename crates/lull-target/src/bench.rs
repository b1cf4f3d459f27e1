//! What tests of one thread's share of the data path have in common.

use crate::clock::Clock;
use crate::daemon::{Input, Shared};
use crate::gauge::Watch;
use crate::local::Local;
use lull_block::{Backend, Completion, Context, Geometry, IoStatus, Pool, Request, Workers};
use lull_proto::target::ResourceIndex;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One thread of a target, and what it tells the machine.
pub struct Bench {
    pub local: Rc<Local>,
    pub watch: Arc<Watch>,
    pub heard: mpsc::UnboundedReceiver<Input>,
}

/// One resource on this backend.
pub fn bench(backend: Arc<dyn Backend>) -> Bench {
    with_memory(backend, Pool::with_classes(&[(4096, 2)]).unwrap())
}

/// The same with this memory.
pub fn with_memory(backend: Arc<dyn Backend>, pool: Pool) -> Bench {
    let (life, toll, sharers) = Default::default();
    let shared = Shared { name: "db1".to_owned(), backend, is_device: false, life, toll, sharers };
    let (control, heard) = mpsc::unbounded_channel();
    let watch = Arc::new(Watch::new(Clock::start()));
    let local = Local::new(0, Arc::new([shared]), pool, Arc::clone(&watch), control);
    Bench { local, watch, heard }
}

/// That resource.
pub const DISK: ResourceIndex = ResourceIndex(0);

/// A backend, as a target opens it.
pub fn open(spec: &str) -> Arc<dyn Backend> {
    let context =
        Context { workers: Workers::new(1).unwrap(), lock_wait: <_>::default(), remotes: None };
    lull_block::open(&spec.parse().unwrap(), &context).unwrap()
}

/// A medium that passes nothing on.
pub struct GivesBack;

impl Backend for GivesBack {
    fn geometry(&self) -> Geometry {
        open("mem:1M").geometry()
    }

    fn engine(&self) -> &'static str {
        "none"
    }

    fn describe(&self) -> String {
        self.engine().to_owned()
    }

    fn start(&self, request: Request) -> Option<Completion> {
        Some(request.finish(Err(IoStatus::NotExecuted)))
    }

    fn start_write_back(&self) {}

    fn identity(&self) -> Option<[u8; 16]> {
        None
    }

    fn set_identity(&self, _: [u8; 16]) -> std::io::Result<()> {
        Ok(())
    }
}
