//! The daemon's loop, and how it begins and ends.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use lull_admin::{
    AdminListener, AdminServer, AlertLog, ApiError, CALLS_QUEUED, Call, ErrorCode, HostWatch,
    InitiatorStatus, Moment, Reply, RestartRecord, Status,
};
use lull_proto::initiator::End;
use lull_wire::InstanceId;
use lull_wire::messages::Name;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::attachment::Attachment;
use crate::beginning::{self, Beginning};
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::config::Config;
use crate::descent::{self, Descent};
use crate::error::RunError;
use crate::footing;
use crate::heritage;
use crate::knocks::Door;
use crate::shutdown::Host;
use crate::state_file;
use crate::states::States;
use crate::succession::estate::Estate;
use crate::succession::order::{Restarting, Step};
use crate::wording;

/// How long a stop waits for targets before it leaves anyway.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks whether anything is wrong.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the disk of the state may take for a log that is left behind; then this process ends all the same.
const LAST_WRITE: Duration = Duration::from_secs(10);
/// How long requests have to be answered once it leaves anyway; then their consumers are cut off.
pub(crate) const LAST_CALL: Duration = Duration::from_secs(2);

/// What attachments and targets tell the daemon.
#[derive(Debug)]
pub enum News {
    /// Consumers can connect to an attachment.
    Serves,
    /// A target of this name says that it has started.
    Knocked {
        /// As it says.
        node: Name,
    },
    /// Requests flow again, and that nobody waited longer than this.
    Shares {
        /// The attachment's name.
        name: String,
        /// The longest wait.
        stall: Duration,
    },
    /// A restart of this daemon has come further.
    Restart(Step),
    /// An attachment has ended and left nothing behind.
    Departed {
        /// Its name.
        name: String,
        /// How.
        end: End,
    },
}

/// Everything that can happen to the daemon as a whole. What happens to an attachment goes to it directly.
#[derive(Debug)]
enum Happening {
    /// An operator asks.
    Call(Call),
    /// It is time to look whether anything is wrong.
    Look,
    /// It is to stop.
    Stop,
    /// It was to stop, and the time for it is over.
    Late,
    /// The host goes down, true, or stays after all.
    Host(bool),
    /// An attachment has something to tell.
    News(News),
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    /// Nobody asked for one.
    No,
    /// Attachments detach.
    Detaching { until: Instant },
    /// They leave, whether their targets are there or not.
    Leaving { until: Instant },
    /// All have, and what they leave is written.
    Closing { until: Instant },
}

pub(crate) struct Daemon {
    pub(crate) node: String,
    instance: InstanceId,
    pub(crate) clock: Clock,
    since: u64,
    pub(crate) chronicle: Rc<Chronicle>,
    pub(crate) attachments: Vec<Rc<Attachment>>,
    news: mpsc::UnboundedReceiver<News>,
    pub(crate) teller: mpsc::UnboundedSender<News>,
    /// Where targets knock.
    pub(crate) door: Option<Rc<Door>>,
    /// Who waits for the end of which attachment.
    detaching: HashMap<String, Vec<Reply<()>>>,
    stopping: Stopping,
    looks: Interval,
    host: HostWatch,
    /// How long it waits for a target when it goes down.
    pub(crate) going_down_timeout: Duration,
    /// The host goes down.
    pub(crate) descent: Option<Descent>,
    alerts: AlertLog,
    pub(crate) admin: AdminServer,
    pub(crate) admin_socket: AdminListener,
    /// What was ordered, the newest last.
    pub(crate) restarts: Vec<RestartRecord>,
    /// What this process does about the last of them.
    pub(crate) restarting: Option<Restarting>,
}

impl Daemon {
    /// With what the life before has left, if it has. `first`: nothing that a service manager keeps was taken yet.
    pub(crate) async fn start(
        config: Config,
        states: States,
        mut estate: Option<Estate>,
        first: bool,
    ) -> Result<(Self, mpsc::Receiver<Call>), RunError> {
        let (listener, is_own) = beginning::admin(&config, estate.as_mut())?;
        let admin_socket = listener.try_clone()?;
        let started = Self::start_at(listener, config, states, estate, first).await;
        if started.is_err() && is_own {
            // Nobody listens there.
            let _ = admin_socket.unlink();
        }
        started
    }

    async fn start_at(
        listener: AdminListener,
        config: Config,
        states: States,
        mut estate: Option<Estate>,
        first: bool,
    ) -> Result<(Self, mpsc::Receiver<Call>), RunError> {
        let (door, is_own) = beginning::door(&config, estate.as_mut()).await?;
        let started = Self::start_behind(door.clone(), listener, config, states, estate, first);
        if let (true, Some(door)) = (is_own && started.is_err(), door) {
            door.close();
        }
        started
    }

    fn start_behind(
        door: Option<Rc<Door>>,
        listener: AdminListener,
        config: Config,
        states: States,
        mut estate: Option<Estate>,
        first: bool,
    ) -> Result<(Self, mpsc::Receiver<Call>), RunError> {
        let States { instance, opened, noted } = states;
        let clock = match &estate {
            Some(estate) => Clock::begun(estate.document.clock),
            None => Clock::start(),
        };
        let chronicle = Rc::new(Chronicle::new(clock, &config.node, &instance.to_string()));
        let (teller, news) = mpsc::unbounded_channel();
        let admin_socket = listener.try_clone()?;
        for attachment in config.attachments.iter().filter(|_| !noted) {
            state_file::try_writing(&config.state_dir, &attachment.name)?;
        }
        // After all that a host may refuse: nobody is to keep the log of a daemon that did not start.
        let logs = beginning::logs(&config, &opened, estate.as_mut(), first)?;
        let (calls, called) = mpsc::channel(CALLS_QUEUED);
        let admin = lull_admin::serve(listener, calls)?;
        let life = Beginning {
            instance,
            noted,
            clock,
            chronicle: &chronicle,
            news: &teller,
            host: Rc::new(Host::new(config.shutdown.clone())),
            callback: door.as_ref().map(|door| door.address.clone()).unwrap_or_default(),
            config: &config,
        };
        let attachments =
            config.attachments.iter().zip(opened).zip(logs).map(|((attachment, opened), log)| {
                life.attachment(attachment, opened, log, &mut estate)
            });
        let attachments = attachments.collect::<Result<_, _>>()?;
        heritage::remove_saved(&config)?;
        if let Some(door) = &door {
            let (door, news) = (Rc::clone(door), teller.clone());
            tokio::task::spawn_local(async move { door.listen(&news).await });
        }
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let daemon = Self {
            node: config.node,
            instance,
            clock,
            since: clock.wall_ms(),
            chronicle,
            attachments,
            news,
            door,
            detaching: HashMap::new(),
            stopping: Stopping::No,
            looks,
            host: descent::watch(),
            going_down_timeout: config.going_down_timeout,
            descent: None,
            alerts: AlertLog::default(),
            admin,
            admin_socket,
            restarts: estate.map_or_else(Vec::new, |estate| estate.document.restarts),
            restarting: None,
            teller,
        };
        Ok((daemon, called))
    }

    pub(crate) fn begin(&self, told: &impl Fn(Moment<'_>)) {
        let waits = |one: &Rc<Attachment>| one.core.borrow().geometry.is_none();
        if self.attachments.iter().any(waits) {
            let names = self.attachment_names();
            told(Moment::Waiting(&format!("waits for the targets of {names}")));
        }
        for attachment in &self.attachments {
            attachment.begin();
        }
    }

    /// Works until all attachments have ended, or, true, until a successor is to have them.
    pub(crate) async fn turn(
        &mut self,
        mut calls: mpsc::Receiver<Call>,
        stops: &mut mpsc::UnboundedReceiver<()>,
        told: &impl Fn(Moment<'_>),
    ) -> Result<bool, RunError> {
        let mut result = Ok(());
        while !self.attachments.is_empty() {
            match self.next(&mut calls, stops).await {
                Happening::Call(call) => self.answer(call),
                Happening::Look => {
                    told(Moment::Alive);
                    self.look();
                    result = result.and(self.let_host_go());
                }
                Happening::Host(goes) => self.host_says(goes),
                Happening::Stop => {
                    self.abort_restart().await;
                    told(Moment::Ending { within: PATIENCE + LAST_CALL + LAST_WRITE });
                    self.stop();
                }
                Happening::Late => match self.stopping {
                    Stopping::No | Stopping::Detaching { .. } => self.stop(),
                    Stopping::Leaving { .. } => {
                        result = result.and(self.cut_off(|one| !one.has_ended()));
                        self.stopping = Stopping::Closing { until: self.after(LAST_WRITE) };
                    }
                    Stopping::Closing { .. } => {
                        result = result.and(self.cut_off(|one| !one.has_ended()));
                        break;
                    }
                },
                Happening::News(News::Serves) => {
                    if self.attachments.iter().all(|one| !one.face.served().is_empty()) {
                        let names = self.attachment_names();
                        told(Moment::Serving(&format!("{} uses {names}", self.node)));
                    }
                }
                Happening::News(News::Shares { name, stall }) => self.shares(&name, stall),
                Happening::News(News::Restart(step)) => {
                    if self.step(step).await {
                        return Ok(true);
                    }
                }
                Happening::News(News::Knocked { node }) => {
                    self.attachments.iter().for_each(|one| one.knocked(&node));
                }
                Happening::News(News::Departed { name, end }) => {
                    result = result.and(self.departed(name, end));
                }
            }
        }
        result.map(|()| false)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping != Stopping::No
    }

    async fn next(
        &mut self,
        calls: &mut mpsc::Receiver<Call>,
        stops: &mut mpsc::UnboundedReceiver<()>,
    ) -> Happening {
        let stopping = self.stopping;
        let late = async move {
            match stopping {
                Stopping::No => std::future::pending().await,
                Stopping::Detaching { until }
                | Stopping::Leaving { until }
                | Stopping::Closing { until } => {
                    tokio::time::sleep_until(until).await;
                }
            }
        };
        tokio::select! {
            biased;
            Some(()) = stops.recv() => Happening::Stop,
            Some(news) = self.news.recv() => Happening::News(news),
            () = late => Happening::Late,
            goes = self.host.next() => Happening::Host(goes),
            _ = self.looks.tick() => Happening::Look,
            Some(call) = calls.recv() => Happening::Call(call),
        }
    }

    /// Tells of what is wrong, once, and of what is not any more.
    fn look(&mut self) {
        self.settle_restart();
        if self.alerts.is_empty() && !self.attachments.iter().any(|one| one.may_alert()) {
            return;
        }
        let status = self.status();
        let events = self.alerts.compare(&status.name, status.at, &status.alerts);
        events.into_iter().for_each(|event| self.chronicle.alert(event));
    }

    /// Goes a step further in stopping.
    fn stop(&mut self) {
        let (at_once, next) = match self.stopping {
            Stopping::No => (false, Stopping::Detaching { until: self.after(PATIENCE) }),
            Stopping::Detaching { .. } => {
                (true, Stopping::Leaving { until: self.after(LAST_CALL) })
            }
            Stopping::Leaving { .. } | Stopping::Closing { .. } => {
                (true, Stopping::Closing { until: self.after(Duration::ZERO) })
            }
        };
        self.stopping = next;
        for attachment in &self.attachments {
            attachment.detach(at_once);
        }
    }

    fn after(&self, span: Duration) -> Instant {
        self.clock.instant(self.clock.now() + span)
    }

    /// The time is over for some: who still waits is cut off. They end with that, and what they leave is written.
    pub(crate) fn cut_off(&mut self, which: impl Fn(&Attachment) -> bool) -> Result<(), RunError> {
        let mut result = Ok(());
        for attachment in self.attachments.iter().filter(|one| which(one)) {
            let (name, unanswered) = (attachment.config().name.clone(), attachment.unanswered());
            attachment.give_up();
            if unanswered > 0 {
                result = result.and(Err(RunError::CutOff { attachment: name, unanswered }));
            }
        }
        result
    }

    fn departed(&mut self, name: String, end: End) -> Result<(), RunError> {
        let gone = self.attachments.extract_if(.., |a| a.config().name == name).next();
        let Some(gone) = gone else { return Ok(()) };
        let told = &gone.core.borrow().told;
        for reply in self.detaching.remove(&name).into_iter().flatten() {
            let _ = reply.send(wording::detached(end, told, gone.config(), &self.node));
        }
        if told.failure.is_none() && matches!(end, End::Detached | End::Left) {
            return Ok(());
        }
        Err(RunError::Ended { attachment: name, text: wording::ended_text(end, told) })
    }

    fn answer(&mut self, call: Call) {
        match call {
            Call::Status { reply } => _ = reply.send(Ok(self.status())),
            Call::Events { after, reply } => {
                _ = reply.send(Ok(self.chronicle.feed(after.as_ref())));
            }
            Call::Detach { name, reply } => self.detach(name, reply),
            Call::Restart { order, reply } => self.restart(&order, reply),
            Call::Decide { reply, .. } => wrong_role("decide about a restart", reply),
            Call::Pause { reply, .. } => wrong_role("pause", reply),
            Call::Resume { reply } => wrong_role("resume", reply),
            Call::Abort { reply } => wrong_role("abort", reply),
            Call::Evict { reply, .. } => wrong_role("evict", reply),
            Call::Histories { reply } => _ = reply.send(Ok(self.records(None))),
            Call::History { id, reply } => _ = reply.send(self.record(id)),
        }
    }

    fn record(&self, id: u64) -> Result<RestartRecord, ApiError> {
        self.records(Some(id)).pop().ok_or_else(|| {
            ApiError::new(
                ErrorCode::NotFound,
                format!("nothing is remembered of a restart {id} of this daemon"),
                "`lull history initiator` lists what there is",
            )
        })
    }

    /// Answered when the attachment has ended.
    fn detach(&mut self, name: String, reply: Reply<()>) {
        match self.attachments.iter().find(|attachment| attachment.config().name == name) {
            Some(attachment) => {
                attachment.detach(false);
                self.detaching.entry(name).or_default().push(reply);
            }
            None => {
                let names = self.attachment_names();
                _ = reply.send(Err(ApiError::new(
                    ErrorCode::NotFound,
                    format!("there is no attachment `{name}` here"),
                    format!("choose one of: {names}"),
                )));
            }
        }
    }

    pub(crate) fn attachment_names(&self) -> String {
        let names = self.attachments.iter().map(|one| one.config().name.as_str());
        names.collect::<Vec<_>>().join(", ")
    }

    fn status(&self) -> Status {
        let attachments = self.attachments.iter().map(|attachment| attachment.status()).collect();
        Status {
            name: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            at: self.clock.wall_ms(),
            target: None,
            initiator: Some(InitiatorStatus {
                name: self.node.clone(),
                instance: self.instance.to_string(),
                footing: footing::taken().cloned(),
                attachments,
            }),
            alerts: Vec::new(),
        }
        .with_alerts()
    }

    /// Leaves nothing behind.
    pub(crate) async fn end(self) {
        let _ = self.admin_socket.unlink();
        if let Some(door) = &self.door {
            door.close();
        }
        self.admin.stop().await;
    }
}

pub(crate) fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(bytes)
}

fn wrong_role<T>(what: &str, reply: Reply<T>) {
    let _ = reply.send(Err(ApiError::new(
        ErrorCode::WrongRole,
        format!("this daemon uses resources and owns none, so there is nothing to {what}"),
        "ask the target, with --admin",
    )));
}
