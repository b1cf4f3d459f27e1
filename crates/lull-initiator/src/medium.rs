//! An attachment as the medium of a resource: what it asks comes from a target in this process, which shares the
//! resource on, and not from a front end. Buffers move through; nothing is copied and no second protocol is between.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use lull_admin::{AttachmentStatus, Event as Told};
use lull_block::{DEFAULT_BUDGET, Op, Pool, Request};
use lull_proto::Upstream;
use lull_proto::geometry::Geometry;
use lull_proto::initiator::{Ask, Config, Event, Initiator, Memory, Retain};
use lull_wire::{InstanceId, OpCode, RequestFlags};
use tokio::sync::mpsc;

use crate::attachment::{Attachment, Made};
use crate::beginning::machine_config;
use crate::buffer::Bytes;
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::config::AttachmentConfig;
use crate::error::RunError;
use crate::front_end::longest;
use crate::journal::Journal;
use crate::shutdown::Host;
use crate::slots::Duty;
use crate::state_file::{Kept, StateFile};
use crate::state_writer::StateWriter;
use crate::states;

/// What a medium is made from.
#[derive(Clone, Debug)]
pub struct MediumConfig {
    /// Name of this node, which the other target knows it by.
    pub node: String,
    /// This life of the process.
    pub instance: InstanceId,
    /// Where the attachment's identity and epoch are kept.
    pub state_dir: PathBuf,
    /// A target that is silent for so long is taken for dead.
    pub silence: Duration,
    /// The attachment; it has no front end.
    pub attachment: AttachmentConfig,
}

/// The state of a medium's attachment, which nobody else can take until this is dropped.
#[derive(Debug)]
pub struct Taken {
    config: MediumConfig,
    file: StateFile,
    kept: Kept,
    fresh: bool,
}

impl Taken {
    /// Takes what the last life left, or makes a fresh identity.
    ///
    /// # Errors
    /// Everything that keeps the state from being used.
    pub fn take(config: MediumConfig) -> Result<Self, RunError> {
        let MediumConfig { node, state_dir, attachment, .. } = &config;
        let (file, kept, fresh) = states::open(node, state_dir, attachment)?;
        Ok(Self { config, file, kept, fresh })
    }

    /// Forgets what the resource was [SAFE-8]; the attachment stays the same one.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn adopt(self) -> Result<(), RunError> {
        let memory = Memory { epoch: self.kept.memory.epoch, ..Memory::default() };
        Ok(self.file.write(&Kept { memory, log: None, ..self.kept })?)
    }
}

/// An attachment that serves as a medium. It lives in the `LocalSet` in which it was begun.
pub struct Medium {
    pub(crate) attachment: Rc<Attachment>,
    gives_back: Cell<bool>,
}

impl Medium {
    /// Begins to dial; must be called in a `LocalSet`. `tell` hears what happens, `life_lost` that what was
    /// acknowledged and not flushed is gone, before anything of the resource's next life is answered.
    ///
    /// # Errors
    /// What the system refused.
    pub fn begin(
        taken: Taken,
        tell: impl Fn(Told) + 'static,
        life_lost: impl Fn() + 'static,
    ) -> Result<Self, RunError> {
        let Taken { config, file, kept, fresh } = taken;
        let MediumConfig { node, instance, state_dir, silence, attachment } = config;
        // [SAFE-5] Whoever is let in and dies before it learns so has an heir all the same.
        file.write(&kept.noting(instance))?;
        let machine = machine_config(&node, &attachment, instance, &kept, 0)?;
        let machine = Initiator::new(Config { retain: Retain::Elsewhere, ..machine });
        let clock = Clock::start();
        let chronicle = Chronicle::new(clock, &node, &instance.to_string()).told_by(tell);
        let chronicle = Rc::new(chronicle);
        let writer = StateWriter::start(file, attachment.name.clone(), Rc::clone(&chronicle));
        // Its end is seen by how it stands.
        let (news, _) = mpsc::unbounded_channel();
        let made = Made {
            node,
            instance,
            config: attachment,
            clock,
            chronicle,
            host: Rc::new(Host::left_alone()),
            state_dir,
            pool: Pool::new(DEFAULT_BUDGET)?,
            silence_ms: u32::try_from(silence.as_millis()).unwrap_or(u32::MAX),
            kept,
            fresh,
            outlives: true,
            alone: false,
            news,
            life_lost: Some(Box::new(life_lost)),
            note: None,
        };
        // Whoever asks keeps what was written.
        let log = (Journal::create(made.kept.attachment, 0)?, None, None);
        let attachment = Attachment::new(made, machine, writer, log);
        attachment.begin();
        Ok(Self { attachment, gives_back: Cell::new(false) })
    }

    /// Asks for what `request` asks. It is answered through its token, at any time later.
    pub fn submit(&self, request: Request) {
        let Request { op, offset, length, buffer, token } = request;
        let durable = |fua| RequestFlags::none().with_if(fua, RequestFlags::FUA);
        let (op, flags) = match op {
            Op::Read => (OpCode::Read, RequestFlags::none()),
            Op::Write { fua } => (OpCode::Write, durable(fua)),
            Op::Flush => (OpCode::Flush, RequestFlags::none()),
            Op::Discard => (OpCode::Discard, RequestFlags::none()),
            Op::WriteZeroes { fua, keep_allocated, fast } => {
                let flags = durable(fua).with_if(keep_allocated, RequestFlags::KEEP_ALLOCATED);
                (OpCode::WriteZeroes, flags.with_if(fast, RequestFlags::FAST))
            }
            Op::ReadAhead => (OpCode::ReadAhead, RequestFlags::none()),
            Op::Extents => (OpCode::Extents, RequestFlags::none()),
        };
        // Who shares it on has told its own users the longest request; what carries no data may be longer.
        let most = match (op, self.geometry()) {
            (OpCode::Extents, _) | (_, None) => u32::MAX,
            (_, Some(geometry)) => longest(&geometry),
        };
        let first = length.min(most);
        let buffer = (!buffer.is_empty()).then_some(Bytes(buffer));
        let ask = Ask { op, flags, offset, length: first };
        self.attachment.submit(ask, u64::from(length - first), buffer, Duty::Sharer(token));
    }

    /// What the resource measures, once it was attached in this life.
    pub fn geometry(&self) -> Option<Geometry> {
        self.attachment.core.borrow().geometry
    }

    /// With `on`, what cannot be passed on at once is answered [`NotExecuted`](lull_block::IoStatus::NotExecuted); without, it is
    /// held [CHAIN-1].
    pub fn give_back(&self, on: bool) {
        if self.gives_back.replace(on) != on {
            self.attachment.handle(Event::GiveBack { on });
        }
    }

    /// How the target stands, for whoever lies on it; `None` before it has begun.
    pub fn upstream(&self) -> Option<Upstream> {
        self.attachment.core.borrow().machine.upstream(self.attachment.clock().now())
    }

    /// How it stands, for people.
    pub fn status(&self) -> AttachmentStatus {
        self.attachment.status()
    }

    /// Whether anything may be wrong with it; cheaper than its status.
    pub fn may_alert(&self) -> bool {
        self.attachment.may_alert()
    }

    /// Returns when something has changed about how it stands, since this returned last.
    pub async fn changed(&self) {
        self.attachment.turned.notified().await;
    }

    /// Lets go of the connection and of the state. The target keeps the place: the next life comes back as the same.
    pub async fn leave(&self) {
        self.attachment.abandon();
        let writer = self.attachment.writer.borrow_mut().take();
        if let Some(writer) = writer {
            writer.finish().await;
        }
    }
}
