//! The lives of a target in one process: take everything, serve, let everything go; then end, or begin again.

use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::daemon::{Core, Daemon, Input, Plan};
use crate::descent::{self, Descent};
use crate::errand::{self, Interrupted};
use crate::media::{self, Media};
use crate::sockets::{SocketError, Sockets};
use crate::store::{Commit, Format, Store, StoreError, Used};
use crate::threads::Threads;
use crate::upstream;
use crate::waiting::{Rested, WaitingRoom};
use crate::{Config, ResourceConfig, knock, sharers, store};
use lull_admin::{AdminListener, AdminServer, CALLS_QUEUED, Call, HostWatch, Moment};
use lull_block::OpenError;
use lull_proto::target::{self, Target};
use lull_transport::Listener;
use lull_transport::handover::{Predecessor, Successor, SuccessorError};
use lull_wire::messages::Name;
use lull_wire::{InstanceId, RestartId};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

/// The variable that tells a successor in which format the state is that it is to take over. A release that does not
/// know it has never written another format than the first.
pub(crate) const STATE_VARIABLE: &str = "LULL_STATE_FORMAT";
/// The variable that tells a successor how large the resources are that somebody uses.
pub(crate) const SIZES_VARIABLE: &str = "LULL_USED_SIZES";
/// How often a target looks whether anything is wrong with it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most inputs that are taken in one turn: a thousand sessions that speak at once must not keep the requests of
/// this thread's connections waiting.
const TURN_INPUTS: usize = 64;
/// What ending takes beside the pause, on media that answer: a last flush, the record, the last messages.
const LAST_WRITES: Duration = Duration::from_secs(60);

/// Why a target cannot serve; each says what to do next.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RunError {
    #[error("{name}: {source}")]
    Backend { name: String, source: OpenError },
    #[error(
        "{name}: its geometry cannot be shared: block {block}, at most {max_length} bytes a request"
    )]
    Geometry { name: String, block: u32, max_length: u32 },
    #[error(
        "{name}: {backend}{device} is not the disk that this state directory knows under this name; give the right one, \
         or another name; or, if this is what \"{name}\" is from now on, `lull adopt {name}` or `lull target --adopt {name}`"
    )]
    OtherMedium { name: String, backend: String, device: String },
    #[error(
        "{name}: {backend} has {size} bytes and had {before}: whoever uses it ({users}) does not go on with a smaller \
         disk; make it as large again{by}; or, if this is what \"{name}\" is from now on, `lull \
         adopt {name}` or `lull target --adopt {name}`"
    )]
    Shrunk { name: String, backend: String, size: u64, before: u64, users: String, by: String },
    #[error("there is no resource \"{name}\" to adopt; there are {known}")]
    NotThere { name: String, known: String },
    #[error(
        "{name}: memory is new at each start, and needs no adoption here: `lull attach --adopt` where it is used"
    )]
    NothingKept { name: String },
    #[error(
        "the command of a restart still runs ({what}), and may change what would be served; wait for its end, or end it: \
         `kill -- -NUMBER` with the process's number, or whatever it has left that has {} open (`fuser` tells)",
        path.display()
    )]
    CommandRuns { what: String, path: PathBuf },
    #[error("{0}")]
    State(#[from] StoreError),
    #[error("{0}")]
    Socket(#[from] SocketError),
    #[error("{0}")]
    Successor(#[from] SuccessorError),
    #[error("\"{0}\" is too long for a name: at most 64 bytes")]
    Name(String),
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

impl RunError {
    pub(crate) fn other_medium(
        resource: &ResourceConfig,
        backend: &str,
        device: Option<&str>,
    ) -> Self {
        let device = device.map(|name| format!(" ({name})")).unwrap_or_default();
        Self::OtherMedium { name: resource.name.clone(), backend: backend.to_owned(), device }
    }
}

pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// Runs a target until it is told to end. `told` hears of each turn in its life.
///
/// # Errors
/// Whatever keeps it from serving.
pub fn run(config: &Config, told: impl Fn(Moment<'_>)) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("the runtime"))?;
    if let Err(error) = lull_transport::raise_descriptor_limit() {
        tracing::warn!("the limit of open descriptors stays as it is: {error}");
    }
    runtime.block_on(lives(config, told))
}

async fn lives(config: &Config, told: impl Fn(Moment<'_>)) -> Result<(), RunError> {
    let predecessor = Predecessor::of_this_process()?;
    let inherited = match &predecessor {
        Some(predecessor) => {
            let format = std::env::var(STATE_VARIABLE).ok();
            let format = format.and_then(|words| Format::of_words(&words));
            let checked = check(config, format).map_err(|error| error.to_string());
            predecessor.wait(checked).await?
        }
        None => Vec::new(),
    };
    let mut predecessor = predecessor;
    let mut sockets = SocketsOf::Inherited(inherited);
    let mut lived = false;
    // Since when, and why, the next life cannot begin.
    let mut waiting: Option<WaitingRoom> = None;
    // Why the restart that this process begins its next life after has failed, although it serves again.
    let mut trouble: Option<String> = None;
    // One pair for all lives: what comes between two of them is seen by the next.
    let mut signals = Signals::new(&config.node)?;
    loop {
        // A life that does not come about leaves it to the next one.
        let before = Before { predecessor: &mut predecessor, trouble: trouble.clone(), lived };
        let ended = match life(config, &mut sockets, before, &mut signals, &told).await {
            Ok(ended) => ended,
            // Initiators hold their consumers' requests for this target: it does not leave them because of what may
            // pass, a lock that somebody holds for a moment or a full disk.
            Err(error) if lived => {
                let SocketsOf::Open(ready) = &sockets else {
                    unreachable!("a life that ended had them open")
                };
                let waiting = waiting.get_or_insert_with(|| WaitingRoom::new(&config.node));
                match alive(&told, waiting.rest(&ready.admin, &error, &mut signals)).await {
                    Rested::Again => continue,
                    Rested::Over => {
                        ready.remove_files();
                        return Err(error);
                    }
                }
            }
            Err(error) => {
                if let SocketsOf::Open(ready) = &sockets {
                    ready.remove_own_files();
                }
                if let Some(predecessor) = &predecessor {
                    predecessor.refuse(&error.to_string()).await;
                }
                return Err(error);
            }
        };
        (lived, waiting, trouble) = (true, None, None);
        let SocketsOf::Open(ready) = &sockets else {
            unreachable!("a life that ended had them open")
        };
        match ended.plan {
            Plan::Stop => {
                ready.remove_files();
                ended.admin.end().await;
                return Ok(());
            }
            Plan::Exec(command) => {
                match alive(&told, errand::run(&command, config, ready, &mut signals)).await {
                    Ok(()) => {}
                    Err(Interrupted::Failed(why)) => trouble = Some(why),
                    Err(Interrupted::ToldToEnd) => {
                        ready.remove_files();
                        return Ok(());
                    }
                }
            }
            Plan::HandOver => {
                if let Some(successor) = ended.successor {
                    told(Moment::HandingOver);
                    match alive(&told, successor.hand_over(&ready.parcel())).await {
                        Ok(heir) => {
                            ended.admin.end().await;
                            if signals.terminated().await {
                                heir.terminate();
                            }
                            return Ok(());
                        }
                        Err(error) => {
                            tracing::error!("{error}; this process serves again");
                            trouble = Some(format!("{error}; the old process serves again"));
                        }
                    }
                }
            }
        }
    }
}

/// Says that this process lives while it does what is not the work of the loop that serves.
async fn alive<T>(told: &impl Fn(Moment<'_>), work: impl Future<Output = T>) -> T {
    let mut beats = tokio::time::interval(LOOK_EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = beats.tick() => told(Moment::Alive),
        }
    }
}

/// The sockets of this process, from before its first life on.
enum SocketsOf {
    /// What a predecessor passed on, which may be nothing.
    Inherited(Vec<(String, OwnedFd)>),
    /// All of them.
    Open(Sockets),
}

/// What a successor looks at before anybody is paused [PAUSE-9].
fn check(config: &Config, format: Option<Format>) -> Result<(), RunError> {
    let used = Used::from_words(&std::env::var(SIZES_VARIABLE).unwrap_or_default());
    for resource in &config.resources {
        look(resource, &used)?;
        media::name(&resource.name)?;
    }
    media::name(&config.node)?;
    store::check(&config.state_dir, format)?;
    Ok(())
}

/// What a start would say of a medium, as far as that is seen without opening it; `used`: what somebody uses.
///
/// # Errors
/// What keeps it from being shared.
pub fn look(resource: &ResourceConfig, used: &Used) -> Result<(), RunError> {
    let name = &resource.name;
    let found = lull_block::check(&resource.backend)
        .map_err(|source| RunError::Backend { name: name.clone(), source })?;
    let Some(found) = found.filter(|_| !media::is_volatile(&resource.backend)) else {
        return Ok(());
    };
    // A block device that its owner uses is not asked here what it is.
    used.fits(resource, &resource.backend.to_string(), None, found.size)
}

/// What a start would say of the places that a target needs beside its media, as far as that is seen without taking them.
pub fn look_around(config: &Config) -> Vec<RunError> {
    let state = store::look(&config.state_dir).err().map(RunError::from);
    let admin = AdminListener::look(&config.admin).err().map(SocketError::from);
    let sockets = config.listen.iter().chain(&config.nbd);
    let sockets = sockets.filter_map(|addr| Listener::look(addr).err().map(SocketError::from));
    state.into_iter().chain(admin.into_iter().chain(sockets).map(RunError::from)).collect()
}

/// One life: it takes media and state, serves, and lets go of everything.
async fn life(
    config: &Config,
    sockets: &mut SocketsOf,
    before: Before<'_>,
    signals: &mut Signals,
    told: &impl Fn(Moment<'_>),
) -> Result<Ended, RunError> {
    let first = matches!(sockets, SocketsOf::Inherited(inherited) if inherited.is_empty());
    let instance = InstanceId(media::random()?);
    let media = Media::open(config, instance, first)?;
    if let SocketsOf::Inherited(inherited) = sockets {
        *sockets = SocketsOf::Open(Sockets::open(config, std::mem::take(inherited)).await?);
    }
    let SocketsOf::Open(ready) = sockets else { unreachable!("they were opened above") };
    let local = LocalSet::new();
    let ended = local.run_until(live(config, instance, media, ready, before, signals, told)).await;
    // Every task, and with them every descriptor of media and state, is gone before anybody else opens them.
    drop(local);
    ended
}

/// The signals that tell a target to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    host: HostWatch,
}

/// What they tell.
enum Sign {
    /// This process is to end.
    End,
    /// The host goes down, or stays after all.
    Host(bool),
}

impl Signals {
    fn new(node: &str) -> Result<Self, RunError> {
        Ok(Self {
            host: descent::watch(node),
            terminate: signal(SignalKind::terminate()).map_err(system("signals"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(system("signals"))?,
        })
    }

    async fn next(&mut self) -> Sign {
        tokio::select! {
            _ = self.terminate.recv() => Sign::End,
            _ = self.interrupt.recv() => Sign::End,
            goes = self.host.next() => Sign::Host(goes),
        }
    }

    /// Whether SIGTERM has come and was not obeyed yet. Of SIGINT a terminal tells the successor itself.
    async fn terminated(&mut self) -> bool {
        // What has come is seen between two turns.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            told = self.terminate.recv() => told.is_some(),
            () = std::future::ready(()) => false,
        }
    }

    pub(crate) async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What a life begins with.
struct Before<'a> {
    /// Left there until this process serves.
    predecessor: &'a mut Option<Predecessor>,
    trouble: Option<String>,
    /// This process has lived before, and knows what became of the restart meanwhile.
    lived: bool,
}

struct Ended {
    plan: Plan,
    successor: Option<Box<Successor>>,
    admin: Leaving,
}

/// Answers to the operator that still leave, beside the handover: consumers do not wait for one who reads slowly.
pub(crate) struct Leaving(tokio::task::JoinHandle<()>);

impl Leaving {
    pub(crate) fn start(admin: AdminServer) -> Self {
        Self(tokio::spawn(admin.stop()))
    }

    /// Waits until they have left, or were given up.
    async fn end(self) {
        // It has no result, and nobody ends it before.
        let _ = self.0.await;
    }
}

async fn live(
    config: &Config,
    instance: InstanceId,
    media: Media,
    sockets: &Sockets,
    before: Before<'_>,
    signals: &mut Signals,
    told: &impl Fn(Moment<'_>),
) -> Result<Ended, RunError> {
    let clock = Clock::start();
    media::give_ring();
    let Media { database, remembered, backends, chains } = media;
    let known = media::know(config, &remembered, &backends)?;
    let (committed, mut commits) = mpsc::unbounded_channel();
    let done = move |done| {
        // The loop is gone only when nobody waits for this any more.
        let _ = committed.send(done);
    };
    let store = Store::start(database, &config.state_dir, clock, done)
        .map_err(system("the state's thread"))?;
    let devices: Vec<_> = known.rows.iter().map(|(_, row)| row.device.is_some()).collect();
    // [PAUSE-5] The new incarnations are on stable storage before anybody is let in.
    store.commit(Some(target::Ticket(0)), vec![Commit::Resources(known.rows)]);
    stored(&mut commits, &config.state_dir).await?;
    let is_behind = remembered.is_behind;
    let resources = known.resources;
    let roster = media::roster(&remembered, &resources);
    let now = clock.now();
    let mut chronicle = Chronicle::new(clock, &config.node, &instance.to_string());
    if let Some(mut record) = remembered.unfinished {
        // Nobody is waited for whose place was taken away meanwhile, as adopting another disk does.
        record.rows.retain(|row| roster.iter().any(|e| e.attachment.to_string() == row.id));
        let unseen = || errand::unseen(&record).filter(|_| !before.lived);
        let trouble = before.trouble.or_else(unseen);
        chronicle.resume(now, record, trouble, &store);
    }
    let from = chronicle.current().map_or(0, |record| record.id);
    let machine_config = target::Config {
        node: media::name(&config.node)?,
        instance,
        software: Name::clipped(concat!("lull ", env!("CARGO_PKG_VERSION"))),
        keep_alive: config.silence / 4,
        barrier: config.barrier,
        from: RestartId(from),
    };
    let shared = media::shared(config, backends, &devices);
    sharers::load(&shared, &roster, &remembered.outcomes);
    let machine = Target::new(now, machine_config, resources, roster);
    let descent = Descent::new(remembered.host_downtime, signals.host.delay());
    let (name, number) = (instance.to_string(), remembered.next_restart);
    let core = Core::new(machine, chronicle, store, now, name, number, descent);
    let (inputs, mut heard) = mpsc::unbounded_channel();
    let threads = Threads::start(config.threads, clock, &shared, &inputs);
    let threads = threads.map_err(system("the data path's threads"))?;
    let chains = upstream::begin(chains, &shared, &inputs)?;
    let daemon = Daemon::new(config.clone(), clock, shared, threads, chains, core);
    sockets.listen.iter().for_each(|bound| daemon.accept(Rc::clone(&bound.listener)));
    sockets.nbd.iter().for_each(|bound| daemon.accept_nbd(Rc::clone(&bound.listener)));
    let (calls, mut asked) = mpsc::channel(CALLS_QUEUED);
    let admin = sockets.admin.try_clone().and_then(|admin| lull_admin::serve(admin, calls));
    let admin = admin.map_err(system("the admin socket"))?;
    // Before the predecessor may go: a service manager must know by then which process the daemon is.
    told(Moment::Serving(&introduction(config, sockets)));
    sockets.keep();
    if let Some(predecessor) = before.predecessor.take() {
        predecessor.serving().await;
    }
    // Where the format is a newer one, the release before this one cannot be put back from here on without a copy of the
    // state. A start that fails has changed nothing of that.
    if is_behind {
        daemon.core.borrow().store.commit(None, vec![Commit::Upgrade]);
    }
    knock::begin(&daemon);
    let mut sources = Sources { heard: &mut heard, commits: &mut commits, asked: &mut asked };
    let (plan, successor) = serve(&daemon, signals, &mut sources, told).await?;
    // Calls that came too late are told so by this.
    drop(asked);
    let admin = Leaving::start(admin);
    daemon.threads.end().await;
    // The state of attachments to others is a successor's from here on [PAUSE-9].
    for (_, chain) in &daemon.chains {
        chain.leave().await;
    }
    Ok(Ended { plan, successor, admin })
}

/// Returns when what was committed first is on stable storage.
async fn stored(
    commits: &mut mpsc::UnboundedReceiver<store::Done>,
    dir: &Path,
) -> Result<(), StoreError> {
    match commits.recv().await {
        Some((_, true)) => Ok(()),
        Some((_, false)) | None => {
            let source = io::Error::other("it could not be written");
            Err(StoreError::Directory { dir: dir.to_owned(), source })
        }
    }
}

/// Where what happens comes from.
struct Sources<'a> {
    /// The threads' connections.
    heard: &'a mut mpsc::UnboundedReceiver<Input>,
    /// The state.
    commits: &'a mut mpsc::UnboundedReceiver<store::Done>,
    /// Operators.
    asked: &'a mut mpsc::Receiver<Call>,
}

async fn serve(
    daemon: &Rc<Daemon>,
    signals: &mut Signals,
    Sources { heard, commits, asked }: &mut Sources<'_>,
    told: &impl Fn(Moment<'_>),
) -> Result<(Plan, Option<Box<Successor>>), RunError> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut committed, mut inputs) = (Vec::new(), Vec::new());
    loop {
        let deadline = {
            let mut core = daemon.core.borrow_mut();
            if core.down {
                return Ok((core.plan.clone(), core.successor.take()));
            }
            core.wake()
        };
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(daemon.clock.instant(deadline)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = looks.tick() => {
                told(Moment::Alive);
                daemon.look();
            }
            count = commits.recv_many(&mut committed, TURN_INPUTS) => {
                if count == 0 {
                    return Err(gone("the state's thread"));
                }
                daemon.inputs(committed.drain(..).map(Input::Committed));
            }
            () = daemon.threads.lost() => return Err(gone("a thread of the data path")),
            sign = signals.next() => match sign {
                Sign::End => {
                    // Once for the intent, once for those who are to pause, once for the storage.
                    let within = daemon.config.pause_timeout * 3 + LAST_WRITES;
                    told(Moment::Ending { within });
                    daemon.terminate();
                }
                Sign::Host(goes) => daemon.host_says(goes),
            },
            Some(call) = asked.recv() => daemon.call(call),
            () = daemon.changed.notified() => {}
            () = timer => {
                let now = daemon.clock.now();
                if !daemon.core.borrow_mut().is_due(now) {
                    continue;
                }
                // What peers have sent already is read first [TIMER-6]: a target that slept with its host wakes to what
                // came meanwhile.
                daemon.threads.read().await;
                let come = std::iter::from_fn(|| heard.try_recv().ok());
                daemon.inputs(come.chain([Input::Tick]));
            }
            count = heard.recv_many(&mut inputs, TURN_INPUTS) => {
                debug_assert!(count > 0, "the daemon has a sender itself");
                daemon.inputs(inputs.drain(..));
                // Between two turns the connections of this thread have theirs.
                tokio::task::yield_now().await;
            }
        }
    }
}

fn gone(what: &'static str) -> RunError {
    system(what)(io::Error::other("it is gone; its own words are in the log"))
}

fn introduction(config: &Config, sockets: &Sockets) -> String {
    let names: Vec<_> = config.resources.iter().map(|resource| resource.name.as_str()).collect();
    let listen = sockets.listen.iter().filter_map(|one| one.listener.local_addr().ok());
    let mut words = format!("{} serves {}", config.node, names.join(", "));
    for addr in listen {
        words.push_str(&format!(" at {addr}"));
    }
    for addr in sockets.nbd.iter().filter_map(|one| one.listener.local_addr().ok()) {
        words.push_str(&format!(", NBD at {addr}"));
    }
    words
}

#[cfg(test)]
mod tests;
