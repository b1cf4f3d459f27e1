//! Another target's resource as a medium: for it this node is an initiator, in the same process.
//!
//! ```text
//! any thread        the thread that begins it
//! start() ─▶ inbox ─▶ feed ─▶ attachment ═══ target
//! completions ◀──────────────────┘
//! ```
//!
//! The attachment is that of any initiator, but for its log, which is empty: whoever uses the resource here keeps what
//! it wrote until a flush went all the way. What was written may be lost with a life of the resource up there, which is
//! then over here as well [CHAIN-4].

use crate::health::Health;
use crate::inbox::{Inbox, Reader};
use lull_admin::{Access, AttachmentStatus, Event, ResourceUri};
use lull_block::{Backend, Completion, Geometry, IoStatus, Op, RemoteSpec, Request, Waiting};
use lull_initiator::{AttachmentConfig, Medium, MediumConfig, Policy, RunError, Taken};
use lull_proto::Upstream;
use lull_wire::messages::Path;
use lull_wire::{Features, InstanceId, Text};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::AbortHandle;

/// The restart timer and the resume timer of such an attachment: at their end it is told that it lasts long, no more.
const RESTART_TIMEOUT: Duration = Duration::from_secs(600);
const RESUME_TIMEOUT: Duration = Duration::from_secs(60);

/// The resource of this node that rests on another's.
#[derive(Clone, Debug)]
pub struct Seat {
    /// This node's name.
    pub node: String,
    /// This life of its process.
    pub instance: InstanceId,
    /// The resource's name here, and the attachment's.
    pub resource: String,
    /// Where the attachment's identity and epoch are kept; nobody else's state is there.
    pub state_dir: PathBuf,
    /// A target that is silent for so long is taken for dead.
    pub silence: Duration,
}

/// What happens to the attachment.
#[derive(Clone, Debug)]
pub enum Told {
    /// It stands otherwise than before.
    Turned(Upstream),
    /// What was acknowledged and not flushed is gone, or may be: nothing of this life of the resource is answered any
    /// more from here on, until it is renewed [CHAIN-4].
    LifeEnded,
    /// Something for people.
    Event(Event),
}

/// The backend.
pub(crate) struct Chained {
    seen: Arc<Seen>,
    write_through: bool,
    inbox: Arc<Inbox>,
}

/// What every thread may know of it.
struct Seen {
    uri: String,
    /// From the first time on that it was attached.
    geometry: OnceLock<Geometry>,
    /// It may grow.
    size: AtomicU64,
    /// A life of the resource is over up there, and the next one has not begun here: nothing is asked.
    is_over: AtomicBool,
    health: Health,
}

/// A medium of this kind that was opened and has not begun: nobody has been dialled.
pub struct Chain {
    taken: Taken,
    inbox: Arc<Inbox>,
    seen: Arc<Seen>,
}

/// Opens the medium: takes the attachment's state.
pub(crate) fn open(
    uri: ResourceUri,
    spec: &RemoteSpec,
    seat: Seat,
) -> Result<(Chained, Chain), RunError> {
    let Seat { node, instance, resource, state_dir, silence } = seat;
    let text = uri.to_string();
    let attachment = AttachmentConfig {
        name: resource,
        uri,
        nbd: Vec::new(),
        fuse: None,
        vhost_user: None,
        nbd_device: None,
        ublk: None,
        access: if spec.read_only { Access::Ro } else { Access::Rw },
        policy: Policy::Wait,
        hook_limit: Duration::ZERO,
        restart_timeout: RESTART_TIMEOUT,
        resume_timeout: RESUME_TIMEOUT,
        hold: None,
        retain: 0,
        take_over: false,
        adopt: false,
    };
    let taken = Taken::take(MediumConfig { node, instance, state_dir, silence, attachment })?;
    let seen = Arc::new(Seen {
        health: Health::new(text.clone()),
        uri: text,
        geometry: OnceLock::new(),
        size: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    seen.health.waits("be reached".to_owned());
    let inbox = Arc::<Inbox>::default();
    let backend = Chained {
        seen: Arc::clone(&seen),
        write_through: spec.write_through,
        inbox: Arc::clone(&inbox),
    };
    Ok((backend, Chain { taken, inbox, seen }))
}

impl Chain {
    /// Forgets what the resource was, on an operator's word: whatever is found there from now on is right [SAFE-8].
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn adopt(self) -> Result<(), RunError> {
        self.taken.adopt()
    }

    /// Begins to dial; must be called in a `LocalSet`, on whose thread the attachment lives from now on. `tell` hears
    /// there what happens; of a life's end before anything of the next one.
    ///
    /// # Errors
    /// What the system refused.
    pub fn begin(self, tell: impl Fn(Told) + 'static) -> Result<ChainLink, RunError> {
        let Self { taken, inbox, seen } = self;
        let tell = Rc::new(tell);
        let (events, ends, life) = (Rc::clone(&tell), Rc::clone(&tell), Arc::clone(&seen));
        let told = move |event| events(Told::Event(event));
        let life_lost = move || {
            life.is_over.store(true, Ordering::Release);
            ends(Told::LifeEnded);
        };
        let medium = Rc::new(Medium::begin(taken, told, life_lost)?);
        let feeding = feed(Reader(inbox), Rc::clone(&medium), Arc::clone(&seen));
        let watching = watch(Rc::clone(&medium), seen, tell);
        let tasks = [
            tokio::task::spawn_local(feeding).abort_handle(),
            tokio::task::spawn_local(watching).abort_handle(),
        ];
        Ok(ChainLink { medium, tasks })
    }
}

/// The attachment of a medium that has begun.
pub struct ChainLink {
    medium: Rc<Medium>,
    tasks: [AbortHandle; 2],
}

impl ChainLink {
    /// How it stands, for people.
    pub fn status(&self) -> AttachmentStatus {
        let status = self.medium.status();
        AttachmentStatus { front_end: format!("resource {}", status.name), ..status }
    }

    /// Whether anything may be wrong with it; cheaper than its status.
    pub fn may_alert(&self) -> bool {
        self.medium.may_alert()
    }

    /// Lets go of the connection and of the state. The target keeps the place: whoever takes the state next comes back
    /// as the same attachment.
    pub async fn leave(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.medium.leave().await;
    }
}

/// Passes requests on, until the medium is closed.
async fn feed(reader: Reader, medium: Rc<Medium>, seen: Arc<Seen>) {
    let mut arrived = Vec::new();
    while reader.0.take(&mut arrived).await {
        medium.give_back(reader.0.gives_back());
        for request in arrived.drain(..) {
            if seen.is_over.load(Ordering::Acquire) {
                // Whoever asks this is about to hear that its life is over.
                request.answer(Err(IoStatus::NotExecuted));
            } else {
                medium.submit(request);
            }
        }
    }
}

/// Tells how the target stands, whenever that has changed.
async fn watch(medium: Rc<Medium>, seen: Arc<Seen>, tell: Rc<impl Fn(Told) + 'static>) {
    loop {
        if let Some(mut upstream) = medium.upstream() {
            if let Upstream::Away { path, .. } = &mut upstream
                && path.as_slice().is_empty()
            {
                // Nobody knows its name before it was reached once.
                *path = Path::new(vec![Text::clipped(&seen.uri)]).unwrap_or_default();
            }
            seen.note(&upstream);
            tell(Told::Turned(upstream));
        }
        medium.changed().await;
    }
}

impl Seen {
    fn note(&self, upstream: &Upstream) {
        match upstream {
            Upstream::Away { reason, .. } => self.health.waits(format!("serve: it {reason}")),
            Upstream::Standing { geometry, .. } => {
                let features = geometry.features;
                self.size.store(geometry.size, Ordering::Relaxed);
                self.geometry.get_or_init(|| Geometry {
                    size: geometry.size,
                    block: geometry.block,
                    preferred: geometry.preferred,
                    max_length: geometry.max_length,
                    discard: features.has(Features::DISCARD),
                    write_zeroes: features.has(Features::WRITE_ZEROES),
                    read_only: features.has(Features::READ_ONLY),
                });
                self.health.fine();
            }
        }
    }

    /// Nobody asks for anything before this is known.
    fn geometry(&self) -> Geometry {
        const UNKNOWN: Geometry = Geometry {
            size: 0,
            block: 512,
            preferred: 4096,
            max_length: 512,
            discard: false,
            write_zeroes: false,
            read_only: false,
        };
        let known = self.geometry.get().copied().unwrap_or(UNKNOWN);
        Geometry { size: self.size.load(Ordering::Relaxed), ..known }
    }
}

impl Backend for Chained {
    fn geometry(&self) -> Geometry {
        self.seen.geometry()
    }

    fn engine(&self) -> &'static str {
        "lull"
    }

    fn describe(&self) -> String {
        self.seen.uri.clone()
    }

    fn start(&self, mut request: Request) -> Option<Completion> {
        if let Err(status) = request.check(&self.geometry()) {
            return Some(request.finish(Err(status)));
        }
        if self.write_through
            && let Op::Write { fua } | Op::WriteZeroes { fua, .. } = &mut request.op
        {
            *fua = true;
        }
        // Given back only once nobody feeds it any more.
        self.inbox.push(request).map(|back| back.finish(Err(IoStatus::NotExecuted)))
    }

    fn renew(&self) {
        self.seen.is_over.store(false, Ordering::Release);
    }

    fn give_back(&self, on: bool) {
        self.inbox.give_back(on);
    }

    fn waiting(&self) -> Option<Waiting> {
        self.seen.health.waiting()
    }

    /// A word of the other target's own, which it says to its medium before it restarts itself.
    fn start_write_back(&self) {}

    /// [SAFE-8] What the resource is, it says itself, once it is reached.
    fn identity(&self) -> Option<[u8; 16]> {
        None
    }

    fn set_identity(&self, _: [u8; 16]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
