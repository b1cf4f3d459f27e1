//! What operators ask of the daemon, answered at once.

use crate::daemon::{Daemon, Input, Plan, plan};
use lull_admin::{
    ApiError, Call, Decision, ErrorCode, GivenUp, OnPauseTimeout, PauseOrder, Reply, RestartKind,
    RestartOrder, RestartPhase, RestartStarted,
};
use lull_proto::target::{self, Holder, OnTimeout, Order, Purpose, ResourceIndex, Seat};
use lull_wire::RestartId;
use lull_wire::messages::{Name, Prose};
use std::rc::Rc;
use std::time::Duration;

/// What initiators are told to expect where nobody knows better: a new process is there at once.
const HANDOVER_DOWNTIME: Duration = Duration::from_secs(1);
/// What becomes of a successor when its restart is given up.
const ENDED: &str = "the process that was to take over was ended";

impl Daemon {
    /// Takes a call.
    pub(crate) fn call(self: &Rc<Self>, call: Call) {
        match call {
            Call::Status { reply } => {
                let status = self.status();
                answer(reply, Ok(status));
            }
            Call::Restart { order, reply } => answer(reply, self.restart(order)),
            Call::Pause { order, reply } => answer(reply, self.pause(order)),
            Call::Decide { id, decision, reply } => answer(reply, self.decide(id, decision)),
            Call::Resume { reply } => answer(reply, self.end_hold()),
            Call::Abort { reply } => answer(reply, self.abort()),
            Call::Detach { reply, .. } => answer(
                reply,
                Err(ApiError::new(
                    ErrorCode::WrongRole,
                    "this is a target: an attachment is ended at its initiator",
                    "lull detach NAME at the initiator, or `lull evict NODE` here for one that is lost",
                )),
            ),
            Call::Evict { name, resource, force, reply } => {
                answer(reply, self.evict(&name, resource.as_deref(), force))
            }
            Call::Histories { reply } => self.histories(reply),
            Call::History { id, reply } => self.history(id, reply),
            Call::Events { after, reply } => {
                let feed = self.core.borrow().chronicle.feed(after.as_ref());
                answer(reply, Ok(feed));
            }
        }
    }

    fn restart(self: &Rc<Self>, order: RestartOrder) -> Result<RestartStarted, ApiError> {
        order.check()?;
        let asked = Asked {
            reason: order.reason,
            expect_ms: order.expect_ms,
            timeout_ms: order.pause_timeout_ms,
            policy: order.on_pause_timeout,
            interactive: order.interactive,
        };
        // Everybody stays paused until the host ends this process, or does not.
        let purpose = match order.kind {
            RestartKind::Host => Purpose::Hold,
            _ => Purpose::Restart,
        };
        self.begin(order.kind, order.command, purpose, asked)
    }

    fn pause(self: &Rc<Self>, order: PauseOrder) -> Result<RestartStarted, ApiError> {
        order.check()?;
        let asked = Asked {
            reason: order.reason,
            expect_ms: order.expect_ms,
            timeout_ms: order.pause_timeout_ms,
            policy: order.on_pause_timeout,
            interactive: order.interactive,
        };
        self.begin(RestartKind::Pause, None, Purpose::Hold, asked)
    }

    fn begin(
        self: &Rc<Self>,
        kind: RestartKind,
        command: Option<String>,
        purpose: Purpose,
        asked: Asked,
    ) -> Result<RestartStarted, ApiError> {
        let now = self.clock.now();
        let mut core = self.core.borrow_mut();
        if let Some((id, stage)) = core.stage(now) {
            return Err(stage.another(id));
        }
        if kind == RestartKind::Host {
            self.host_restart(&mut core)?;
        }
        let id = core.next_restart();
        let names = self.resource_names();
        let core = &mut *core;
        core.chronicle.begin(now, id, kind, &asked.reason, &core.machine, &names);
        core.plan = plan(kind, command);
        let expected = match kind {
            RestartKind::Daemon => HANDOVER_DOWNTIME,
            RestartKind::Host => core.descent.downtime,
            _ => Duration::ZERO,
        };
        let order = asked.order(id, purpose, expected, self);
        let mut initiators: Vec<_> =
            core.machine.seats().map(|seat| seat.entry.node.to_string()).collect();
        initiators.sort();
        initiators.dedup();
        if core.plan == Plan::HandOver {
            core.chronicle.phase(
                now,
                RestartPhase::StartingSuccessor,
                "starting the successor, which checks itself",
            );
        }
        let task = self.prepare(core.plan == Plan::HandOver);
        core.starting = Some((task, order));
        Ok(RestartStarted { id, initiators })
    }

    /// SIGTERM: a planned stop that nothing aborts; said again, it is in a hurry.
    pub(crate) fn terminate(self: &Rc<Self>) {
        let now = self.clock.now();
        let order = {
            let mut core = self.core.borrow_mut();
            let core = &mut *core;
            if let Some((task, _)) = core.starting.take() {
                task.abort();
                core.chronicle.failed(now, "the target was told to end", &core.store);
            }
            let (kind, reason, downtime) = core.descent.end();
            if core.machine.is_serving() {
                core.chronicle.overtaken(now, reason, &core.store);
                let id = core.next_restart();
                let names = self.resource_names();
                core.chronicle.begin(now, id, kind, reason, &core.machine, &names);
            }
            core.plan = Plan::Stop;
            self.forget_successor(core);
            let id = core.chronicle.current().map_or(0, |record| record.id);
            Order {
                id: RestartId(id),
                purpose: Purpose::Restart,
                reason: Prose::clipped(reason),
                downtime,
                span: self.config.pause_timeout,
                on_timeout: OnTimeout::Proceed,
                unstoppable: true,
            }
        };
        self.input(Input::Order(order));
    }

    fn decide(self: &Rc<Self>, id: u64, decision: Decision) -> Result<(), ApiError> {
        let stage = self.core.borrow().stage(self.clock.now());
        let Some((_, stage)) = stage.filter(|(current, _)| *current == id) else {
            return Err(ApiError::new(
                ErrorCode::NotFound,
                format!("restart {id} is not under way"),
                "`lull status` shows what is",
            ));
        };
        if let Some(error) = stage.no_decision(id, decision) {
            return Err(error);
        }
        let decision = match decision {
            Decision::Wait => target::Decision::Wait,
            Decision::Proceed => target::Decision::Proceed,
            Decision::Abort => return self.abort().map(drop),
            Decision::Unknown => {
                return Err(ApiError::new(
                    ErrorCode::BadRequest,
                    "no such decision",
                    "wait, proceed or abort",
                ));
            }
        };
        self.input(Input::Decide(decision));
        Ok(())
    }

    fn end_hold(self: &Rc<Self>) -> Result<GivenUp, ApiError> {
        let holds = {
            let core = self.core.borrow();
            core.machine
                .phase()
                .restart()
                .is_some_and(|restart| restart.order.purpose == Purpose::Hold)
        };
        if !holds {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                "nobody is paused by lull pause",
                "`lull status` shows what is under way",
            ));
        }
        self.core.borrow_mut().chronicle.resumes();
        Ok(self.give_up())
    }

    /// Everybody goes on.
    fn give_up(self: &Rc<Self>) -> GivenUp {
        let outside = {
            let mut core = self.core.borrow_mut();
            let waits = core.successor.is_some().then(|| ENDED.to_owned());
            self.call_back(&mut core).or(waits)
        };
        self.input(Input::Decide(target::Decision::Abort));
        GivenUp { outside }
    }

    fn abort(self: &Rc<Self>) -> Result<GivenUp, ApiError> {
        let now = self.clock.now();
        {
            let mut core = self.core.borrow_mut();
            let core = &mut *core;
            if let Some((task, _)) = core.starting.take() {
                // With it whoever it started.
                task.abort();
                let outside = (core.plan == Plan::HandOver).then(|| ENDED.to_owned());
                core.chronicle.given_up(now, outside.as_deref(), &core.store);
                return Ok(GivenUp { outside });
            }
            match core.stage(now) {
                None => {
                    return Err(ApiError::new(
                        ErrorCode::Conflict,
                        "no restart is under way",
                        "`lull status` shows what is",
                    ));
                }
                Some((id, stage)) => stage.no_abort(id).map_or(Ok(()), Err)?,
            }
        }
        Ok(self.give_up())
    }

    fn evict(
        self: &Rc<Self>,
        name: &str,
        resource: Option<&str>,
        force: bool,
    ) -> Result<Vec<String>, ApiError> {
        let place = match resource {
            None => None,
            Some(wanted) => Some(
                self.shared
                    .iter()
                    .position(|shared| shared.name == wanted)
                    .map(ResourceIndex)
                    .ok_or_else(|| {
                        ApiError::new(
                            ErrorCode::NotFound,
                            format!("there is no resource \"{wanted}\""),
                            "`lull status` lists them",
                        )
                    })?,
            ),
        };
        let (evicted, connected): (Vec<_>, Vec<_>) = {
            let core = self.core.borrow();
            let seats = core.machine.seats().filter(|seat| seat.entry.node.as_str() == name);
            let seats: Vec<_> = seats
                .filter(|seat| place.is_none_or(|place| place == seat.entry.resource))
                .collect();
            let resource = |seat: &&Seat| self.shared(seat.entry.resource).name.clone();
            let here = seats.iter().filter(|seat| seat.holder != Holder::Lost);
            (seats.iter().map(resource).collect(), here.map(resource).collect())
        };
        if !force && !connected.is_empty() {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!("{name} is not lost: it is connected, and uses {}", connected.join(", ")),
                format!(
                    "lull detach with the attachment's name, which lull status on {name} shows, ends that without a \
                     loss; --force here cuts it off"
                ),
            ));
        }
        let Some(node) = Name::new(name).filter(|_| !evicted.is_empty()) else {
            return Err(ApiError::new(
                ErrorCode::NotFound,
                self.not_on_roster(name, resource),
                "`lull status` lists who is on the roster of what",
            ));
        };
        self.input(Input::Evict { node, resource: place });
        let sentence = |resource: String| {
            format!("{name} is off \"{resource}\"; writes that it has not replayed are lost")
        };
        Ok(evicted.into_iter().map(sentence).collect())
    }

    /// Where the name is to be looked for instead.
    fn not_on_roster(&self, name: &str, resource: Option<&str>) -> String {
        if self.shared.iter().any(|shared| shared.name == name) {
            return format!(
                "\"{name}\" is a resource; an initiator is evicted, from all or by --resource from one"
            );
        }
        let core = self.core.borrow();
        let seats = core.machine.seats().filter(|seat| seat.entry.node.as_str() == name);
        let places: Vec<_> = seats.map(|seat| &*self.shared(seat.entry.resource).name).collect();
        match (resource, places.is_empty()) {
            (Some(resource), false) => {
                format!(
                    "{name} is not on the roster of \"{resource}\", but of {}",
                    places.join(", ")
                )
            }
            (Some(_) | None, _) => format!("{name} is not on the roster"),
        }
    }

    fn histories(self: &Rc<Self>, reply: Reply<Vec<lull_admin::RestartRecord>>) {
        let stored = self.core.borrow().store.histories();
        tokio::task::spawn_local(async move {
            let mut records = stored.await.unwrap_or_default();
            for record in &mut records {
                record.transitions.clear();
                record.messages.clear();
            }
            answer(reply, Ok(records));
        });
    }

    fn history(self: &Rc<Self>, id: u64, reply: Reply<lull_admin::RestartRecord>) {
        let (stored, current) = {
            let core = self.core.borrow();
            (core.store.histories(), core.chronicle.remembered(id).cloned())
        };
        tokio::task::spawn_local(async move {
            let found = match current {
                Some(record) => Some(record),
                None => stored.await.unwrap_or_default().into_iter().find(|record| record.id == id),
            };
            answer(
                reply,
                found.ok_or_else(|| {
                    ApiError::new(
                        ErrorCode::NotFound,
                        format!("there is no restart {id}"),
                        "`lull history` lists them",
                    )
                }),
            );
        });
    }
}

/// What restart and pause have in common.
struct Asked {
    reason: String,
    expect_ms: Option<u64>,
    timeout_ms: Option<u64>,
    policy: Option<OnPauseTimeout>,
    interactive: bool,
}

impl Asked {
    fn order(self, id: u64, purpose: Purpose, expected: Duration, daemon: &Daemon) -> Order {
        let policy = self.policy.or(daemon.config.on_pause_timeout);
        // [PAUSE-10] Nobody is asked where nobody is there to answer.
        let on_timeout = match policy {
            Some(OnPauseTimeout::Abort) => OnTimeout::Abort,
            Some(OnPauseTimeout::Proceed) => OnTimeout::Proceed,
            Some(OnPauseTimeout::Wait) => OnTimeout::Wait,
            Some(OnPauseTimeout::Ask) => OnTimeout::Ask,
            Some(OnPauseTimeout::Unknown) | None if self.interactive => OnTimeout::Ask,
            Some(OnPauseTimeout::Unknown) | None => OnTimeout::Abort,
        };
        Order {
            id: RestartId(id),
            purpose,
            reason: Prose::clipped(&self.reason),
            downtime: self.expect_ms.map_or(expected, Duration::from_millis),
            span: self.timeout_ms.map_or(daemon.config.pause_timeout, Duration::from_millis),
            on_timeout,
            unstoppable: false,
        }
    }
}

fn answer<T>(reply: Reply<T>, answer: Result<T, ApiError>) {
    // Who does not wait any more has gone away.
    let _ = reply.send(answer);
}
