//! One attachment: its machine, its consumers' requests and its present connection, on one thread.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use lull_admin::{Access, Fault};
use lull_block::Pool;
use lull_frontend::nbd::Stage;
use lull_proto::geometry::Geometry;
use lull_proto::initiator::{Ask, Event, Initiator, Memory, Phase, Slot};
use lull_proto::{ConnId, MonoTime};
use lull_transport::DialError;
use lull_wire::messages::{Name, Reply};
use lull_wire::{
    DecodeError, Digest, Features, Incarnation, InstanceId, Kind, Message, OpCode, StatusCode,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::buffer::Bytes;
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::command::Run;
use crate::config::AttachmentConfig;
use crate::connection::Connection;
use crate::daemon::News;
use crate::front_end::Face;
use crate::journal::Journal;
use crate::note::Note;
use crate::outstanding::Carries;
use crate::receive::{Carried, Over};
use crate::shutdown::{Host, Shutdown};
use crate::slots::{Duty, Slots};
use crate::state_file::{self, Kept};
use crate::state_writer::StateWriter;
use crate::timer::{self, Alarm};
use crate::unserved;
use crate::vault::Guard;

/// What all attachments of a daemon share, and what each was made from.
pub struct Made {
    /// Name of the node.
    pub node: String,
    /// This life.
    pub instance: InstanceId,
    /// What was configured.
    pub config: AttachmentConfig,
    /// The daemon's clock.
    pub clock: Clock,
    /// The daemon's events.
    pub chronicle: Rc<Chronicle>,
    /// The host that policies may shut down.
    pub host: Rc<Host>,
    /// Where its state is kept.
    pub state_dir: PathBuf,
    /// Memory for payload.
    pub pool: Pool,
    /// A target that is silent for so long is taken for dead, in milliseconds.
    pub silence_ms: u32,
    /// What the state file held, or the fresh identity that it holds now.
    pub kept: Kept,
    /// Whether there was no state: nothing is lost by forgetting it.
    pub fresh: bool,
    /// Whether what it retains is kept over the end of this process.
    pub outlives: bool,
    /// Whether the daemon has no other: what ends it ends the daemon, which says why.
    pub alone: bool,
    /// Where it says that it serves, and that it has ended.
    pub news: mpsc::UnboundedSender<News>,
    /// Whoever keeps what was acknowledged and not flushed, where that is not this attachment: it is to be written again.
    pub life_lost: Option<Box<dyn Fn()>>,
    /// Where the next life finds what consumers wait for; `None`: none of them outlives this process.
    pub note: Option<Note>,
}

/// A log, in which incarnation it is settled, and who sees to it that it is kept.
pub type Log = (Journal, Option<Incarnation>, Option<Guard>);

/// One attachment.
pub struct Attachment {
    pub(crate) made: Made,
    pub(crate) core: RefCell<Core>,
    pub(crate) face: Face,
    pub(crate) writer: RefCell<Option<StateWriter>>,
    /// Sees to it that the next life finds the log.
    pub(crate) guard: RefCell<Option<Guard>>,
    /// How it stands has changed, as far as others in this process look at it.
    pub(crate) turned: Notify,
    /// Another process has its consumers from here on: nothing happens to it any more.
    pub(crate) frozen: Cell<bool>,
    /// It is to end, and has been waited for long enough.
    hurries: Cell<bool>,
    /// Something was answered, as far as somebody waits for that.
    pub(crate) answered: Notify,
    alarm: Alarm,
    heard: Cell<u64>,
    /// The connection on which bytes came since the last deadline.
    felt: Cell<Option<ConnId>>,
}

/// What changes.
pub(crate) struct Core {
    pub machine: Initiator,
    pub slots: Slots,
    pub journal: Journal,
    /// In which all of it was executed; `None`: there is none that the next life could find.
    pub settled: Option<Incarnation>,
    /// What the state is to hold of this life; `None` before it was first let in.
    pub remembered: Option<Memory>,
    pub connection: Option<Connection>,
    /// What consumers were told; `None` before the first ATTACHED.
    pub geometry: Option<Geometry>,
    /// Scratch, kept for its memory.
    pub frame: Vec<u8>,
    actions: lull_proto::initiator::Actions,
    /// The task whose end lets the machine go on with a shutdown.
    pub preparing: Option<AbortHandle>,
    pub told: Told,
}

/// What people are told about it.
#[derive(Debug)]
pub(crate) struct Told {
    /// Where its state is.
    pub state: PathBuf,
    pub phase: Phase,
    pub since: MonoTime,
    /// Name of the target, from WELCOME.
    pub target: Option<String>,
    /// Why the target pauses, from PAUSE.
    pub reason: String,
    /// Why the last connection was lost, or could not be had.
    pub trouble: Option<String>,
    /// The last refusal.
    pub refusal: Option<String>,
    /// Why the daemon itself ends the attachment.
    pub failure: Option<String>,
    pub longest_stall_ms: u64,
    pub errors: u64,
    /// What is known of changes that were lost with an earlier life of the daemon.
    pub log_lost: Option<Fault>,
    /// Unanswered changes that the other sharers were let go on without, and what was said of the last.
    pub missed_changes: u64,
    pub missed: Option<Fault>,
    /// The last run of the hook.
    pub hook: Option<Rc<RefCell<Run>>>,
    /// The shutdown of this host that it wants.
    pub shutdown: Option<Shutdown>,
    /// What came of retaining.
    pub tally: Tally,
    /// Why the last replay failed, and when.
    pub replay_fault: Option<(MonoTime, String)>,
    /// What a device of the kernel's waits for, and since when.
    pub device_waits: Option<Fault>,
    /// When a change was last answered with "no space left".
    pub full_at: Option<MonoTime>,
    /// Whether RESUME ever came.
    pub shared_once: bool,
    /// Whether the target may have a place reserved for it.
    pub known_there: bool,
    /// It is to end, and a connection was lost over which the target may have been told so, or have let it in.
    pub leaves_unheard: bool,
    /// The connection of the only ATTACH that was ever sent, while it is not answered.
    pub first_attach: Option<ConnId>,
}

impl Told {
    /// Whether the target is there and refuses it: who cannot be reached refuses nothing.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some() && self.trouble.is_none()
    }
}

/// What came of retaining, in this life of the daemon.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Flushes that no consumer asked for.
    pub own_flushes: u64,
    /// Changes that waited for room.
    pub waited: u64,
    /// Acknowledged changes that were sent again, and their bytes.
    pub replayed: (u64, u64),
    /// Replays that failed.
    pub faults: u64,
}

impl Attachment {
    /// An attachment that has not begun; `writer` writes its state, `log` has what its machine inherited.
    pub fn new(made: Made, machine: Initiator, writer: StateWriter, log: Log) -> Rc<Self> {
        let (journal, settled, guard) = log;
        let told = Told {
            state: state_file::place(&made.state_dir, &made.config.name),
            phase: machine.phase(),
            since: made.clock.now(),
            target: None,
            reason: String::new(),
            trouble: None,
            refusal: None,
            failure: None,
            longest_stall_ms: 0,
            errors: 0,
            log_lost: None,
            missed_changes: 0,
            missed: None,
            hook: None,
            shutdown: None,
            tally: Tally::default(),
            replay_fault: None,
            device_waits: None,
            full_at: None,
            shared_once: false,
            known_there: !made.fresh,
            leaves_unheard: false,
            first_attach: None,
        };
        let core = Core {
            machine,
            slots: Slots::default(),
            journal,
            settled,
            remembered: None,
            connection: None,
            geometry: None,
            frame: Vec::new(),
            actions: Vec::new(),
            preparing: None,
            told,
        };
        Rc::new(Self {
            made,
            core: RefCell::new(core),
            face: Face::default(),
            writer: RefCell::new(Some(writer)),
            guard: RefCell::new(guard),
            turned: Notify::new(),
            frozen: Cell::new(false),
            hurries: Cell::new(false),
            answered: Notify::new(),
            alarm: Alarm::default(),
            heard: Cell::new(0),
            felt: Cell::new(None),
        })
    }

    /// Begins to dial; must be called in a `LocalSet`. Consumers that an earlier life left are served at once.
    pub fn begin(self: &Rc<Self>) {
        let promised = self.core.borrow().geometry;
        match promised {
            Some(geometry) => self.face.open(self, geometry),
            None => unserved::begin(self),
        }
        tokio::task::spawn_local(timer::run(Rc::clone(self)));
        if let Some(writer) = &*self.writer.borrow() {
            let (written, attachment) = (writer.written(), Rc::downgrade(self));
            tokio::task::spawn_local(async move {
                written.await;
                if let Some(attachment) = attachment.upgrade() {
                    attachment.handle(Event::Remembered);
                }
            });
        }
        self.handle(Event::Begin);
        self.note_awaited(&self.core.borrow());
    }

    /// Somebody waits for it of whom nothing else is known.
    pub fn awaited(&self) {
        let mut core = self.core.borrow_mut();
        core.machine.awaited(self.made.clock.now());
        self.alarm.set(core.machine.deadline());
    }

    /// Gives the machine what happened and does at once what it wants done. Nothing that is done calls back in
    /// here: tasks are only woken or spawned.
    pub fn handle(self: &Rc<Self>, event: Event) {
        if self.frozen.get() {
            return;
        }
        let now = self.made.clock.now();
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        let mut actions = std::mem::take(&mut core.actions);
        core.machine.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            self.perform(core, now, action);
        }
        core.actions = actions;
        let phase = core.machine.phase();
        if phase != core.told.phase {
            (core.told.phase, core.told.since) = (phase, now);
            self.turned.notify_one();
        }
        self.alarm.set(core.machine.deadline());
        if self.face.closer().stage() == Stage::Quiet {
            self.answered.notify_one();
        }
    }

    /// The same for what came from the target.
    pub fn hear(self: &Rc<Self>, event: Event) {
        self.heard.set(self.heard.get() + 1);
        self.handle(event);
    }

    /// A message came.
    pub fn received(self: &Rc<Self>, conn: ConnId, mut message: Message) {
        if let Message::Welcome(welcome) = &mut message {
            // [CONN-2] The target says how often it wants to hear from us; who wants to find its death sooner asks
            // more often. A loss is found in the fourth round of silence.
            welcome.keep_alive_ms = welcome.keep_alive_ms.min(self.made.silence_ms.div_ceil(4));
            self.core.borrow_mut().told.target = Some(welcome.node.as_str().to_owned());
        }
        let announces = matches!(message, Message::Pause(_) | Message::Hold(_));
        self.hear(Event::Received { conn, message });
        // Said again, it may announce another downtime, or a longer wait for somebody further up [TIMER-1].
        if announces {
            self.note_awaited(&self.core.borrow());
        }
    }

    /// A consumer asks. `rest`: bytes behind `ask` that belong to the same request. [CONN-3]
    pub fn submit(self: &Rc<Self>, ask: Ask, rest: u64, buffer: Option<Bytes>, duty: Duty) {
        let slot = self.core.borrow_mut().slots.insert(ask.op, buffer, duty);
        self.handle(Event::Submit { slot, ask, rest });
        let mut core = self.core.borrow_mut();
        let changes = !matches!(ask.op, OpCode::Read | OpCode::Flush);
        if changes && core.machine.waits_for_room() {
            core.told.tally.waited += 1;
        }
    }

    /// Bytes came, be they a piece of a payload whose end is far.
    pub fn feel(&self, conn: ConnId) {
        self.felt.set(Some(conn));
    }

    /// A deadline may have come.
    pub fn tick(self: &Rc<Self>) {
        if self.deadline().is_some_and(|at| at <= self.made.clock.now()) {
            // [CONN-2] A target that sent anything since the last one lives.
            if let Some(conn) = self.felt.take() {
                self.core.borrow_mut().machine.heard(conn);
            }
            self.handle(Event::Tick);
        }
    }

    /// Somebody says that the target of this name has started [CONN-1].
    pub fn knocked(self: &Rc<Self>, node: &Name) {
        let of_another =
            self.core.borrow().told.target.as_ref().is_some_and(|known| known != node.as_str());
        if !of_another {
            self.handle(Event::Knocked);
        }
    }

    /// The connection could not be had.
    pub fn dial_failed(self: &Rc<Self>, conn: ConnId, error: &DialError) {
        self.trouble(conn, error.to_string());
        self.handle(Event::DialFailed { conn });
    }

    /// The connection ended by itself.
    pub fn lost(self: &Rc<Self>, conn: ConnId, over: &Over) {
        let target = self.made.config.target();
        let text = match over {
            Over::HungUp => return,
            Over::Closed => format!("{target} closed the connection"),
            Over::Broken(error) => format!("the connection to {target} broke: {error}"),
            Over::Garbage(error) => format!("{target}: {error}"),
        };
        let stranger = matches!(over, Over::Garbage(DecodeError::Magic(_)));
        // What others lie on goes on trying, and says so.
        let ends = stranger && self.made.life_lost.is_none();
        if ends && self.is_present(conn) && self.core.borrow().geometry.is_none() {
            self.fail(format!("{text}; see that the address is that of a Lull target"));
            return;
        }
        self.trouble(conn, text);
        self.handle(Event::Lost { conn });
    }

    /// Says once what is wrong, however often it is tried in vain.
    fn trouble(&self, conn: ConnId, text: String) {
        let mut core = self.core.borrow_mut();
        let present = core.connection.as_ref().is_some_and(|connection| connection.id == conn);
        if !present || core.told.trouble.as_ref() == Some(&text) {
            return;
        }
        core.told.trouble = Some(text.clone());
        let first = core.geometry.is_none();
        drop(core);
        if first {
            self.tell("unreachable", format!("{text}; trying again until it is there"));
        }
    }

    /// Ends the attachment because it cannot be what it was told to be.
    pub fn fail(self: &Rc<Self>, text: String) {
        self.core.borrow_mut().told.failure.get_or_insert(text);
        self.close_face();
        self.handle(Event::Detach { at_once: false });
    }

    /// Ends the attachment: consumers are heard no more, what they asked is finished, DETACH follows [CONN-5].
    pub fn detach(self: &Rc<Self>, at_once: bool) {
        self.hurries.set(self.hurries.get() | at_once);
        self.close_face();
        self.handle(Event::Detach { at_once });
    }

    /// [CONN-5] Consumers are heard no more. What was taken of them may have to be asked for in further steps.
    fn close_face(self: &Rc<Self>) {
        let closer = self.face.closer();
        let was_closed = closer.is_closed();
        self.face.close();
        if was_closed || closer.is_whole() {
            return;
        }
        self.handle(Event::Halfway { on: true });
        let attachment = Rc::clone(self);
        tokio::task::spawn_local(async move {
            attachment.face.closer().whole().await;
            attachment.handle(Event::Halfway { on: false });
        });
    }

    /// What a reply brings with it, and whether it fits to what was asked.
    ///
    /// # Errors
    /// A payload that is not the one that the request asked for.
    pub fn claim(
        &self,
        conn: ConnId,
        reply: &Reply,
        payload: Digest,
    ) -> Result<Carried, DecodeError> {
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        let connection = core.connection.as_mut().filter(|connection| connection.id == conn);
        let sent = connection.and_then(|c| c.outstanding.replied(reply.number.0));
        let expected = match &sent {
            Some(sent) if reply.status == StatusCode::Done => sent.carries,
            Some(_) | None => Carries::Nothing,
        };
        if !expected.fits(payload.length) {
            return Err(DecodeError::PayloadLength(Kind::Reply, payload.length));
        }
        if payload.length == 0 {
            return Ok(Carried::Nothing);
        }
        let Some(slot) = sent.and_then(|sent| sent.slot) else { return Ok(Carried::Unwanted) };
        Ok(match core.slots.lend(slot) {
            Some((tenant, bytes)) => {
                let list_of = match expected {
                    Carries::Extents(length) => {
                        Some((length, core.geometry.map_or(1, |geometry| geometry.block)))
                    }
                    Carries::Data(_) | Carries::Nothing => None,
                };
                Carried::Wanted { slot, tenant, bytes, list_of }
            }
            None => Carried::Unwanted,
        })
    }

    /// A read's memory comes back from its connection, filled or not.
    pub fn give_back(&self, slot: Slot, tenant: u64, bytes: Bytes, filled: bool) {
        self.core.borrow_mut().slots.give_back(slot, tenant, bytes, filled);
    }

    /// Whether `conn` is the connection that the machine stands on.
    pub fn is_present(&self, conn: ConnId) -> bool {
        self.core.borrow().connection.as_ref().is_some_and(|connection| connection.id == conn)
    }

    /// Whether requests are held that nobody answers soon.
    pub fn holds(&self) -> bool {
        let view = self.core.borrow().machine.view(self.made.clock.now());
        view.held_by.is_some() || view.outage.is_some_and(|outage| !outage.is_failing())
    }

    /// Whether it has ended, for this process.
    pub fn has_ended(&self) -> bool {
        self.frozen.get() || self.is_over()
    }

    /// Whether it has ended, for whichever process.
    pub fn is_over(&self) -> bool {
        matches!(self.core.borrow().machine.phase(), Phase::Ended(_))
    }

    /// Whether it is to end however its target stands.
    pub fn hurries(&self) -> bool {
        self.hurries.get()
    }

    /// When its machine wants to be woken.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.core.borrow().machine.deadline()
    }

    /// Its timer's alarm.
    pub fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// How many frames have come from the target.
    pub fn heard(&self) -> u64 {
        self.heard.get()
    }

    /// What was configured.
    pub fn config(&self) -> &AttachmentConfig {
        &self.made.config
    }

    /// How it is accessed: as was asked, or only for reading where the target grants no more.
    pub fn access(&self, granted: Option<Geometry>) -> Access {
        let only_reads = granted.is_some_and(|one| one.features.has(Features::READ_ONLY));
        if only_reads { Access::Ro } else { self.config().access }
    }

    /// Name of the node.
    pub fn node(&self) -> &str {
        &self.made.node
    }

    /// The daemon's clock.
    pub fn clock(&self) -> &Clock {
        &self.made.clock
    }

    /// Memory for payload.
    pub fn pool(&self) -> &Pool {
        &self.made.pool
    }

    /// Tells operators what happened to it.
    pub fn tell(&self, what: &str, text: String) {
        self.made.chronicle.record(&self.made.config.name, what, text, None);
    }

    /// Requests of consumers that are not answered.
    pub fn unanswered(&self) -> usize {
        self.core.borrow().slots.len()
    }

    /// Cuts off the consumers whose requests cannot be answered any more, and the connection.
    pub fn abandon(&self) {
        let (slots, connection) = {
            let mut core = self.core.borrow_mut();
            (std::mem::take(&mut core.slots), core.connection.take())
        };
        drop((slots, connection));
    }

    /// The same, and ends. [SAFE-10] What was answered and not flushed is left to the next life, as where the target is away.
    pub fn give_up(self: &Rc<Self>) {
        let conn = self.core.borrow().connection.as_ref().map(|connection| connection.id);
        self.abandon();
        if let Some(conn) = conn {
            self.handle(Event::Lost { conn });
        }
        self.detach(true);
    }
}
