//! The daemon: everything that can happen to it is an [`Input`]; each is taken by one turn, which reads the clock once,
//! asks the machine, and performs what it says (`perform.rs`).

use crate::agentless::{self, Shelf};
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::connection::{Connection, Ended};
use crate::lane::Watch;
use crate::prepare::PrepareError;
use crate::store::{Done, Store};
use crate::successor::Successor;
use crate::{Config, refusal};
use lull_admin::{AgentlessStatus, AlertLog, RestartKind};
use lull_block::{Backend, Buffer, Pool};
use lull_frontend::nbd::{self, Closer, OpenRefused};
use lull_proto::target::{self, Actions, Agentless, Event, Order, ResourceIndex, Target};
use lull_proto::{ConnId, MonoTime};
use lull_transport::{Listener, Outlet, Stream};
use lull_wire::messages::Name;
use lull_wire::{Access, Incarnation, Message, RestartId};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// How long accepting rests after the system had no descriptor left for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Turns of the runtime between a deadline and its tick: one to see which sockets have something, one for their
/// readers, and as many again for what a first piece brought.
const TURNS_BEFORE_TICK: usize = 8;
/// The least time between two ticks: each looks at every session, whose deadlines differ by less than this.
const TICK_REST: Duration = Duration::from_millis(20);
/// Connections beyond it are closed at once: descriptors are needed for media, state and a successor as well.
const MOST_CONNECTIONS: usize = 16_384;

/// What can happen.
pub enum Input {
    /// An initiator connected.
    Accepted { stream: Stream },
    /// A message that is no request came.
    Frame { conn: ConnId, message: Message },
    /// A connection ended.
    Lost { conn: ConnId, ended: Ended },
    /// A closed lane has nothing under way any more.
    Drained { conn: ConnId },
    /// A client without an agent opened a resource.
    AgentlessCame { id: u64, resource: ResourceIndex, read_only: bool, peer: String },
    /// A client without an agent is gone.
    AgentlessLeft { id: u64, resource: ResourceIndex },
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
    pub incarnation: Incarnation,
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
    pub shared: Vec<Shared>,
    pool: Pool,
    watch: Rc<Watch>,
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
    pub connections: BTreeMap<ConnId, Connection>,
    pub agentless: BTreeMap<u64, (AgentlessStatus, ResourceIndex)>,
    pub closer: Closer,
    pub accepting: Vec<AbortHandle>,
    pub queue: VecDeque<Input>,
    pub completers: BTreeMap<ConnId, AbortHandle>,
    pub plan: Plan,
    pub successor: Option<Box<Successor>>,
    /// Tells when it dies while it waits.
    pub watcher: Option<AbortHandle>,
    /// A restart is being prepared; nobody is paused yet.
    pub starting: Option<(AbortHandle, Order)>,
    pub down: bool,
    pub since: MonoTime,
    pub instance: String,
    /// What still leaves on connections that are hung up.
    pub leaving: Vec<Outlet<Buffer>>,
    next_restart: u64,
    ids: u64,
    /// When the last tick was.
    ticked: MonoTime,
}

impl Core {
    pub fn new(
        machine: Target,
        chronicle: Chronicle,
        store: Store,
        since: MonoTime,
        instance: String,
        next_restart: u64,
    ) -> Self {
        Self {
            machine,
            chronicle,
            alerts: AlertLog::default(),
            store,
            connections: BTreeMap::new(),
            agentless: BTreeMap::new(),
            closer: Closer::new(),
            accepting: Vec::new(),
            queue: VecDeque::new(),
            completers: BTreeMap::new(),
            plan: Plan::Stop,
            successor: None,
            watcher: None,
            starting: None,
            down: false,
            since,
            instance,
            leaving: Vec::new(),
            next_restart,
            ids: 0,
            ticked: MonoTime(0),
        }
    }

    /// When the next tick is due.
    pub fn deadline(&self) -> Option<MonoTime> {
        let due = [self.machine.deadline(), self.chronicle.deadline()].into_iter().flatten().min();
        due.map(|due| due.max(self.ticked + TICK_REST))
    }

    /// What is done once for all that a turn brought.
    fn turned(&mut self, now: MonoTime) {
        self.chronicle.turned(now, &self.store);
    }

    /// A number for a restart, given once.
    pub fn next_restart(&mut self) -> u64 {
        let id = self.next_restart;
        self.next_restart += 1;
        id
    }

    /// A connection without a session any more.
    pub fn forget(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
        self.chronicle.forget(conn);
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
        shared: Vec<Shared>,
        pool: Pool,
        core: Core,
    ) -> Rc<Self> {
        let watch = Rc::new(Watch::new(clock));
        Rc::new(Self {
            config,
            clock,
            shared,
            pool,
            watch,
            changed: Notify::new(),
            core: RefCell::new(core),
        })
    }

    /// Takes what happened. The clock is read here and nowhere else in a turn.
    pub fn input(self: &Rc<Self>, input: Input) {
        let now = self.clock.now();
        let mut core = self.core.borrow_mut();
        core.queue.push_back(input);
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
            Input::Accepted { .. } if core.connections.len() >= MOST_CONNECTIONS => {
                tracing::warn!("a connection beyond {MOST_CONNECTIONS} was closed");
                return;
            }
            Input::Accepted { stream } => {
                let conn = ConnId(core.next_id());
                core.chronicle.accepted(now);
                core.connections.insert(conn, Connection::start(self, conn, stream));
                Event::Accepted { conn }
            }
            Input::Frame { conn, message } => {
                core.chronicle.received(now, &core.machine, conn, &message);
                Event::Received { conn, message }
            }
            Input::Lost { conn, ended } => {
                core.chronicle.lost(now, &core.machine, conn, &ended);
                touched = Some(conn);
                Event::Lost { conn }
            }
            Input::Drained { conn } => {
                core.completers.remove(&conn);
                touched = Some(conn);
                Event::Drained { conn }
            }
            Input::AgentlessCame { id, resource, read_only, peer } => {
                let status = AgentlessStatus {
                    peer,
                    resource: self.shared(resource).name.clone(),
                    access: if read_only { lull_admin::Access::Ro } else { lull_admin::Access::Rw },
                    since: self.clock.unix_ms(now),
                    in_flight: 0,
                };
                core.agentless.insert(id, (status, resource));
                Event::Agentless { resource, now: core.agentless_on(resource) }
            }
            Input::AgentlessLeft { id, resource } => {
                core.agentless.remove(&id);
                Event::Agentless { resource, now: core.agentless_on(resource) }
            }
            Input::Committed((ticket, ok)) => Event::Recorded { ticket, ok },
            Input::Durable { restart, ok } => Event::Durable { restart, ok },
            Input::Order(order) => {
                self.watch.begin(now);
                Event::Order(order)
            }
            Input::SuccessorGone => {
                core.chronicle.trouble(
                    "the successor ended while it waited; its own words are in the log".to_owned(),
                );
                Event::Decide(target::Decision::Abort)
            }
            Input::Prepared(prepared) => match prepared_order(core, now, prepared) {
                Some(order) => {
                    self.watch.begin(now);
                    self.watch_successor(core);
                    Event::Order(order)
                }
                None => return,
            },
            Input::Decide(decision) => Event::Decide(decision),
            Input::Evict { node, resource } => Event::Evict { node, resource },
            Input::Tick => {
                core.ticked = now;
                for (conn, connection) in &core.connections {
                    if connection.take_pulse() {
                        core.machine.heard(*conn);
                    }
                }
                core.chronicle.tick(now, &core.store);
                Event::Tick
            }
        };
        core.machine.handle(now, event, actions);
        for action in actions.drain(..) {
            self.perform(core, now, action);
        }
        if let Some(conn) = touched
            && core.machine.session(conn).is_none()
        {
            core.forget(conn);
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
        let task = tokio::task::spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok(stream) => daemon.input(Input::Accepted { stream }),
                    Err(error) => {
                        tracing::warn!("a connection could not be accepted: {error}");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                }
            }
        });
        self.core.borrow_mut().accepting.push(task.abort_handle());
    }

    /// Accepts clients without an agent on a socket until the task is ended.
    pub fn accept_nbd(self: &Rc<Self>, listener: Rc<Listener>) {
        let daemon = Rc::clone(self);
        let closer = self.core.borrow().closer.clone();
        let task = tokio::task::spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok(stream) => daemon.serve_nbd(stream, closer.clone()),
                    Err(error) => {
                        tracing::warn!("an NBD connection could not be accepted: {error}");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                }
            }
        });
        self.core.borrow_mut().accepting.push(task.abort_handle());
    }

    fn serve_nbd(self: &Rc<Self>, stream: Stream, closer: Closer) {
        let peer = stream.peer();
        let shelf = Rc::new(Shelf::new(Rc::clone(self), peer.clone()));
        tokio::task::spawn_local(async move {
            if let Err(ended) = nbd::serve(stream, shelf, agentless::limits(), closer).await {
                tracing::info!("NBD client {peer}: {ended}");
            }
        });
    }

    /// A deadline has come. What peers have sent already is read first [TIMER-6]: a target that slept with its host
    /// wakes to what came meanwhile.
    pub async fn tick(self: &Rc<Self>) {
        for _ in 0..TURNS_BEFORE_TICK {
            tokio::task::yield_now().await;
        }
        self.input(Input::Tick);
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn watch(&self) -> Rc<Watch> {
        Rc::clone(&self.watch)
    }

    pub fn shared(&self, place: ResourceIndex) -> &Shared {
        &self.shared[place.0]
    }

    pub fn resource_names(&self) -> Vec<String> {
        self.shared.iter().map(|shared| shared.name.clone()).collect()
    }

    /// Whether a client without an agent must be content with reading [SAFE-9].
    pub fn admit_agentless(&self, place: ResourceIndex) -> Result<bool, OpenRefused> {
        let now = self.clock.now();
        let core = self.core.borrow();
        let refused = |refusal| OpenRefused::Shutdown(refusal::words(&refusal, now, &self.clock));
        match core.machine.admits_agentless(now, place, false) {
            Ok(()) => Ok(false),
            Err(_) => {
                core.machine.admits_agentless(now, place, true).map(|()| true).map_err(refused)
            }
        }
    }

    /// A client without an agent opened a resource; what it is known by.
    pub fn agentless_came(
        self: &Rc<Self>,
        resource: ResourceIndex,
        read_only: bool,
        peer: &str,
    ) -> u64 {
        let id = self.core.borrow_mut().next_id();
        let peer = peer.to_owned();
        self.input(Input::AgentlessCame { id, resource, read_only, peer });
        id
    }
}

impl Core {
    fn agentless_on(&self, resource: ResourceIndex) -> Agentless {
        let here = self.agentless.values().filter(|(_, place)| *place == resource);
        let mut count = Agentless::default();
        for (status, _) in here {
            match status.access {
                lull_admin::Access::Ro => count.readers += 1,
                _ => count.writers += 1,
            }
        }
        count
    }
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
