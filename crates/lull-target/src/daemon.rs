//! The daemon: everything that can happen to it is an [`Input`]; each is taken by one turn, which reads the clock once,
//! asks the machine, and performs what it says (`perform.rs`).

use crate::agentless::{Arriving, Client, Place};
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::connection::Ended;
use crate::descent::Descent;
use crate::door::Door;
use crate::gauge::Gauge;
use crate::local::Command;
use crate::prepare::PrepareError;
use crate::sharers::{Keeping, Sharers, ToStore};
use crate::store::{Done, Store};
use crate::threads::Threads;
use crate::toll::Toll;
use crate::{Config, knock, refusal};
use lull_admin::{AlertLog, Missed, RestartKind};
use lull_block::Backend;
use lull_frontend::nbd::OpenRefused;
use lull_proto::target::{self, Actions, Agentless, Event, Order, ResourceIndex, Target};
use lull_proto::{ConnId, MonoTime, Upstream};
use lull_transport::handover::Successor;
use lull_transport::{Listener, Origin, Socket, Stream};
use lull_upstream::ChainLink;
use lull_wire::messages::Name;
use lull_wire::{Access, Message, RestartId};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// How long accepting rests after the system had no descriptor left for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long after something happened the deadlines are looked at, and the least time between two ticks: both look at
/// every session. No span of the protocol is so short that it would matter.
const LOOK_REST: Duration = Duration::from_millis(20);

/// What can happen.
pub enum Input {
    /// An initiator connected.
    Accepted { socket: Socket, peer: String },
    /// A message that is no request came.
    Frame { conn: ConnId, message: Message },
    /// A connection ended.
    Lost { conn: ConnId, ended: Ended },
    /// A closed lane has nothing under way any more.
    Drained { conn: ConnId },
    /// A client without an agent looks at a resource: is told whether it would have to be content with reading.
    AgentlessLooks { resource: ResourceIndex, reply: oneshot::Sender<Result<bool, OpenRefused>> },
    /// A client without an agent opens a resource.
    AgentlessCame {
        resource: ResourceIndex,
        client: Client,
        reply: oneshot::Sender<Result<Place, OpenRefused>>,
    },
    /// A client without an agent is gone.
    AgentlessLeft { id: u64, resource: ResourceIndex },
    /// A resource's medium lost what it was given.
    LifeEnded { resource: ResourceIndex, why: target::Ended },
    /// How the target stands on which a resource rests.
    Upstream { resource: ResourceIndex, upstream: Upstream },
    /// The attachment to it tells people something.
    Told(lull_admin::Event),
    /// Outcomes of sharers are to be stored: changes of others wait for that.
    Store { resource: ResourceIndex, outcomes: ToStore },
    /// The state was written, or could not be.
    Committed(Done),
    /// The backends were flushed, or could not be.
    Durable { restart: RestartId, ok: bool },
    /// A restart begins.
    Order(Order),
    /// Everything is ready for a restart, a successor as well where one is wanted; or it cannot be had.
    Prepared(Result<Option<Box<Successor>>, PrepareError>),
    /// The successor that waited is gone.
    SuccessorGone,
    /// An operator decided.
    Decide(target::Decision),
    /// An operator evicts a node.
    Evict { node: Name, resource: Option<ResourceIndex> },
    /// The machine's deadline, or the record's, has come.
    Tick,
}

/// A resource as the data path sees it.
pub struct Shared {
    pub name: String,
    pub backend: Arc<dyn Backend>,
    /// It is a block device, as was seen at the start: to ask one takes as long as it likes.
    pub is_device: bool,
    pub life: Life,
    pub toll: Arc<Toll>,
    /// Where several initiators write.
    pub sharers: Sharers,
}

/// The number of a resource's present life, seen by every thread. It ends when a flush of it fails [SAFE-4].
#[derive(Debug, Default)]
pub struct Life(AtomicU64);

impl Life {
    /// The present one.
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Whether this one has not ended: nothing of one that has is answered [SAFE-1].
    pub fn lasts(&self, number: u64) -> bool {
        self.number() == number
    }

    /// Ends this one; whether it had not ended already.
    pub fn end(&self, number: u64) -> bool {
        let next = number + 1;
        self.0.compare_exchange(number, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A connection of an initiator, which lives on a thread.
pub struct Link {
    pub thread: usize,
    pub gauge: Arc<Gauge>,
    pub peer: String,
    /// The peer is on this host.
    pub origin: Origin,
}

/// A client without an agent.
pub struct Agent {
    pub resource: ResourceIndex,
    pub read_only: bool,
    pub client: Client,
    /// Since when, in Unix milliseconds.
    pub since: u64,
}

/// What the process does once it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Hand over to the successor that waits.
    HandOver,
    /// End; whoever starts it next goes on.
    Stop,
    /// Run a command, then start over.
    Exec(String),
}

/// One serving life of a target.
pub struct Daemon {
    pub config: Config,
    pub clock: Clock,
    pub shared: Arc<[Shared]>,
    pub threads: Threads,
    /// The attachments to other targets, on which resources rest.
    pub chains: Vec<(ResourceIndex, ChainLink)>,
    /// Something changed that the loop looks at: a deadline, the end.
    pub changed: Notify,
    pub core: RefCell<Core>,
}

/// What the turns change.
pub struct Core {
    pub machine: Target,
    pub chronicle: Chronicle,
    pub alerts: AlertLog,
    pub store: Store,
    /// What of sharers is being stored.
    pub keeping: Keeping,
    /// Sharers that others went on without: how many of each resource, and the last.
    pub missed: BTreeMap<ResourceIndex, (u64, Missed)>,
    pub connections: BTreeMap<ConnId, Link>,
    pub agentless: BTreeMap<u64, Agent>,
    arriving: Arriving,
    /// The life of each resource in which lanes are opened.
    pub lives: Vec<u64>,
    pub accepting: Vec<AbortHandle>,
    pub queue: VecDeque<Input>,
    pub plan: Plan,
    pub successor: Option<Box<Successor>>,
    /// Tells when it dies while it waits.
    pub watcher: Option<AbortHandle>,
    /// A restart is being prepared; nobody is paused yet.
    pub starting: Option<(AbortHandle, Order)>,
    pub down: bool,
    pub descent: Descent,
    pub since: MonoTime,
    pub instance: String,
    next_restart: u64,
    ids: u64,
    /// The next deadline, as far as it is known.
    armed: Option<MonoTime>,
    /// When all deadlines are looked at again.
    look: Option<MonoTime>,
}

impl Core {
    pub fn new(
        machine: Target,
        chronicle: Chronicle,
        store: Store,
        since: MonoTime,
        instance: String,
        next_restart: u64,
        descent: Descent,
    ) -> Self {
        let lives = vec![0; machine.resources().len()];
        Self {
            machine,
            lives,
            chronicle,
            alerts: AlertLog::default(),
            store,
            keeping: Keeping::default(),
            missed: BTreeMap::new(),
            connections: BTreeMap::new(),
            agentless: BTreeMap::new(),
            arriving: Arriving::default(),
            accepting: Vec::new(),
            queue: VecDeque::new(),
            plan: Plan::Stop,
            successor: None,
            watcher: None,
            starting: None,
            down: false,
            descent,
            since,
            instance,
            next_restart,
            ids: 0,
            armed: None,
            look: Some(since),
        }
    }

    /// When the deadlines are to be looked at: the next one known, or soon after something happened that may have
    /// made an earlier one.
    pub fn wake(&self) -> Option<MonoTime> {
        [self.armed, self.look].into_iter().flatten().min()
    }

    /// Looks at the deadlines; says whether one has come.
    pub fn is_due(&mut self, now: MonoTime) -> bool {
        if self.look.take_if(|at| *at <= now).is_some() {
            let all = [self.machine.deadline(), self.chronicle.deadline()];
            self.armed = all.into_iter().flatten().min();
        }
        self.armed.is_some_and(|at| at <= now)
    }

    /// What is done once for all that a turn brought.
    fn turned(&mut self, now: MonoTime) {
        self.chronicle.turned(now, &self.store);
        self.arriving.let_in(&self.machine);
        self.look.get_or_insert(now + LOOK_REST);
    }

    /// A number for a restart, given once.
    pub fn next_restart(&mut self) -> u64 {
        let id = self.next_restart;
        self.next_restart += 1;
        id
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}

impl Daemon {
    pub fn new(
        config: Config,
        clock: Clock,
        shared: Arc<[Shared]>,
        threads: Threads,
        chains: Vec<(ResourceIndex, ChainLink)>,
        core: Core,
    ) -> Rc<Self> {
        let (changed, core) = (Notify::new(), RefCell::new(core));
        Rc::new(Self { config, clock, shared, threads, chains, changed, core })
    }

    /// Takes what happened.
    pub fn input(self: &Rc<Self>, input: Input) {
        self.inputs([input]);
    }

    /// Takes all that happened, in its order. The clock is read here and nowhere else in a turn.
    pub fn inputs(self: &Rc<Self>, inputs: impl IntoIterator<Item = Input>) {
        let now = self.clock.now();
        let mut core = self.core.borrow_mut();
        core.queue.extend(inputs);
        let mut actions = Actions::new();
        while let Some(input) = core.queue.pop_front() {
            self.turn(&mut core, now, input, &mut actions);
        }
        core.turned(now);
        self.changed.notify_one();
    }

    fn turn(self: &Rc<Self>, core: &mut Core, now: MonoTime, input: Input, actions: &mut Actions) {
        let mut touched = None;
        let event = match input {
            Input::Accepted { socket, peer } => self.accepted(core, now, socket, peer),
            // It was on its way when the connection was given up.
            Input::Frame { conn, .. } | Input::Lost { conn, .. } | Input::Drained { conn }
                if !core.connections.contains_key(&conn) =>
            {
                return;
            }
            Input::Frame { conn, mut message } => {
                if let Some(link) = core.connections.get(&conn) {
                    link.gauge.heard();
                    if let Message::Hello(hello) = &mut message {
                        knock::check(hello, link.origin);
                    }
                }
                core.chronicle.received(now, &core.machine, conn, &message);
                Event::Received { conn, message }
            }
            Input::Lost { conn, ended } => {
                core.chronicle.lost(now, &core.machine, conn, &ended);
                touched = Some(conn);
                Event::Lost { conn }
            }
            Input::Drained { conn } => {
                touched = Some(conn);
                Event::Drained { conn }
            }
            Input::AgentlessLooks { resource, reply } => {
                // Who does not wait any more has gone away.
                let _ = reply.send(self.admit_agentless(core, now, resource));
                return;
            }
            Input::AgentlessCame { resource, client, reply } => {
                let Some(event) = self.agentless_came(core, now, resource, client, reply) else {
                    return;
                };
                event
            }
            Input::AgentlessLeft { id, resource } => {
                core.agentless.remove(&id);
                Event::Agentless { resource, now: core.agentless_on(resource) }
            }
            Input::LifeEnded { resource, why } => Event::LifeEnded { resource, why },
            Input::Upstream { resource, upstream } => Event::Upstream { resource, upstream },
            Input::Told(event) => {
                core.chronicle.tell(now, &event.subject, &event.what, event.text);
                return;
            }
            Input::Store { resource, outcomes } => {
                core.keeping.store(now, &core.store, resource, outcomes);
                return;
            }
            Input::Committed((ticket, ok)) => {
                if core.keeping.committed(now, &self.shared, &core.store, ticket, ok) {
                    return;
                }
                Event::Recorded { ticket, ok }
            }
            Input::Durable { restart, ok } => Event::Durable { restart, ok },
            Input::Order(order) => {
                self.threads.begin_watch(now);
                Event::Order(order)
            }
            Input::SuccessorGone => {
                core.chronicle.trouble(
                    "the successor ended while it waited; its own words are in the log".to_owned(),
                );
                Event::Decide(target::Decision::Abort)
            }
            Input::Prepared(prepared) => {
                // [PAUSE-9] Whoever comes from this turn on is told to wait.
                let prepared = self.still_prepared(core, prepared);
                let Some(order) = prepared_order(core, now, prepared) else { return };
                self.threads.begin_watch(now);
                self.watch_successor(core);
                Event::Order(order)
            }
            Input::Decide(decision) => Event::Decide(decision),
            Input::Evict { node, resource } => Event::Evict { node, resource },
            Input::Tick => ticked(core, now),
        };
        core.machine.handle(now, event, actions);
        for action in actions.drain(..) {
            self.perform(core, now, action);
        }
        if let Some(conn) = touched
            && core.machine.session(conn).is_none()
        {
            self.forget(core, conn);
        }
    }

    fn accepted(&self, core: &mut Core, now: MonoTime, socket: Socket, peer: String) -> Event {
        let conn = ConnId(core.next_id());
        core.chronicle.accepted(now);
        let ((thread, berth), gauge) = (self.threads.berth(), Arc::<Gauge>::default());
        let origin = socket.origin();
        core.connections.insert(conn, Link { thread, gauge: Arc::clone(&gauge), peer, origin });
        self.threads.ask(thread, Command::Serve { conn, socket, gauge, berth });
        Event::Accepted { conn }
    }

    /// Gives a client without an agent its place, or tells it why there is none.
    fn agentless_came(
        &self,
        core: &mut Core,
        now: MonoTime,
        resource: ResourceIndex,
        client: Client,
        reply: oneshot::Sender<Result<Place, OpenRefused>>,
    ) -> Option<Event> {
        let read_only = match self.admit_agentless(core, now, resource) {
            Ok(read_only) => read_only,
            Err(refused) => {
                // Who does not wait any more has gone away.
                let _ = reply.send(Err(refused));
                return None;
            }
        };
        let (id, control) = (core.next_id(), client.control.clone());
        let agent = Agent { resource, read_only, client, since: self.clock.unix_ms(now) };
        core.agentless.insert(id, agent);
        let life = core.lives[resource.0];
        core.arriving.push(reply, Place { id, resource, read_only, life, control });
        Some(Event::Agentless { resource, now: core.agentless_on(resource) })
    }

    /// A connection without a session any more.
    pub fn forget(&self, core: &mut Core, conn: ConnId) {
        core.chronicle.forget(conn);
        if let Some(link) = core.connections.remove(&conn) {
            self.threads.ask(link.thread, Command::Forget { conn });
        }
    }

    /// A successor that dies while initiators drain ends the restart then, not after the point of no return [PAUSE-9].
    fn watch_successor(self: &Rc<Self>, core: &mut Core) {
        if let Some(successor) = &core.successor {
            let (daemon, gone) = (Rc::clone(self), successor.gone());
            let task = tokio::task::spawn_local(async move {
                gone.await;
                daemon.input(Input::SuccessorGone);
            });
            core.watcher = Some(task.abort_handle());
        }
    }

    /// Accepts initiators on a socket until the task is ended.
    pub fn accept(self: &Rc<Self>, listener: Rc<Listener>) {
        let daemon = Rc::clone(self);
        self.accept_with(listener, move |socket, peer| {
            daemon.input(Input::Accepted { socket, peer });
        });
    }

    /// Accepts clients without an agent on a socket until the task is ended.
    pub fn accept_nbd(self: &Rc<Self>, listener: Rc<Listener>) {
        let daemon = Rc::clone(self);
        self.accept_with(listener, move |socket, _| {
            let (thread, berth) = daemon.threads.berth();
            daemon.threads.ask(thread, Command::ServeNbd { socket, berth });
        });
    }

    fn accept_with(
        self: &Rc<Self>,
        listener: Rc<Listener>,
        take: impl Fn(Socket, String) + 'static,
    ) {
        let daemon = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let mut door = Door::default();
            loop {
                let accepted = listener.accept().await.and_then(|stream| {
                    let peer = stream.peer();
                    let admitted = stream.check_peer(&daemon.config.vsock_peers);
                    Ok((Stream::into_socket(stream)?, peer, admitted))
                });
                match accepted {
                    Ok((socket, peer, admitted)) => {
                        let load = daemon.threads.load();
                        match door.check(daemon.clock.now(), &peer, admitted, load) {
                            Ok(()) => take(socket, peer),
                            Err(Some(line)) => tracing::warn!("{line}"),
                            Err(None) => {}
                        }
                    }
                    Err(error) => {
                        tracing::warn!("a connection could not be accepted: {error}");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                }
            }
        });
        self.core.borrow_mut().accepting.push(task.abort_handle());
    }

    pub fn shared(&self, place: ResourceIndex) -> &Shared {
        &self.shared[place.0]
    }

    pub fn resource_names(&self) -> Vec<String> {
        self.shared.iter().map(|shared| shared.name.clone()).collect()
    }

    /// Whether a client without an agent must be content with reading [SAFE-9].
    fn admit_agentless(
        &self,
        core: &Core,
        now: MonoTime,
        place: ResourceIndex,
    ) -> Result<bool, OpenRefused> {
        let refused = |refusal| OpenRefused::Shutdown(refusal::words(&refusal, now, &self.clock));
        let only_reads = self.shared(place).backend.geometry().read_only;
        if !only_reads && core.machine.admits_agentless(now, place, false).is_ok() {
            return Ok(false);
        }
        core.machine.admits_agentless(now, place, true).map(|()| true).map_err(refused)
    }
}

impl Core {
    fn agentless_on(&self, resource: ResourceIndex) -> Agentless {
        let mut count = Agentless::default();
        for agent in self.agentless.values().filter(|agent| agent.resource == resource) {
            if agent.read_only { count.readers += 1 } else { count.writers += 1 }
        }
        count
    }
}

/// A deadline has come: whoever sent anything since the last one lives.
fn ticked(core: &mut Core, now: MonoTime) -> Event {
    core.armed = None;
    for (conn, link) in &core.connections {
        if link.gauge.take_pulse() {
            core.machine.heard(*conn);
        }
        if link.gauge.take_progress() {
            core.machine.progressed(now, *conn);
        }
    }
    core.chronicle.tick(now, &core.store);
    Event::Tick
}

/// The order that was waiting for it; none where it is not to be carried out.
fn prepared_order(
    core: &mut Core,
    now: MonoTime,
    prepared: Result<Option<Box<Successor>>, PrepareError>,
) -> Option<Order> {
    let (_, order) = core.starting.take()?;
    match prepared {
        Ok(successor) => {
            core.successor = successor;
            Some(order)
        }
        Err(error) => {
            core.chronicle.failed(now, &error.to_string(), &core.store);
            None
        }
    }
}

/// The access of the wire as the documents have it.
pub fn access(access: Access) -> lull_admin::Access {
    match access {
        Access::ReadOnly => lull_admin::Access::Ro,
        Access::Shared => lull_admin::Access::RwShared,
        Access::ReadWrite | Access::Unknown(_) => lull_admin::Access::Rw,
    }
}

/// What an order of this kind ends in.
pub fn plan(kind: RestartKind, command: Option<String>) -> Plan {
    match (kind, command) {
        (RestartKind::Daemon, _) => Plan::HandOver,
        (RestartKind::Exec, Some(command)) => Plan::Exec(command),
        (RestartKind::Exec, None)
        | (RestartKind::Host | RestartKind::Stop | RestartKind::Pause | RestartKind::Unknown, _) => {
            Plan::Stop
        }
    }
}
