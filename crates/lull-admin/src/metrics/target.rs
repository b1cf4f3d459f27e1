//! Metrics of a target.

use prometheus_client::registry::Unit;

use super::age;
use super::exposition::{Family, Number};
use crate::restart::RestartStatus;
use crate::status::{
    AgentlessStatus, ResourceStatus, SessionPhase, SessionStatus, TargetPhase, TargetStatus,
};

/// All of a target at the moment `at`, in Unix milliseconds.
pub(super) fn families(target: &TargetStatus, at: u64) -> Vec<Family> {
    let mut all = vec![phase(target.phase)];
    all.extend(resources(&target.resources));
    all.extend(sessions(&target.initiators));
    all.push(agentless(&target.resources, &target.agentless));
    all.extend(restart(target.restart.as_ref(), at));
    all
}

fn phase(present: TargetPhase) -> Family {
    let mut phases =
        Family::gauge("lull_target_phase", "What the target does as a whole: 1 at its phase.");
    for phase in TargetPhase::ALL {
        phases.put([("phase", phase.as_str())], *phase == present);
    }
    phases
}

fn resources(resources: &[ResourceStatus]) -> Vec<Family> {
    let mut info = Family::info("lull_resource", "What a resource rests on.");
    let mut size = Family::gauge("lull_resource_size", "Size of a resource.").of(Unit::Bytes);
    let mut tenure =
        Family::gauge("lull_resource_tenure", "Number of the present writer's tenure.");
    let mut faulted =
        Family::gauge("lull_resource_faulted", "Whether a resource serves nobody for a fault.");
    let mut waits = Family::gauge(
        "lull_resource_waiting",
        "Whether a resource waits for somebody before it opens.",
    );
    let mut flushes =
        Family::counter("lull_resource_flushes", "Flushes that a medium was asked for.");
    let mut durable = Family::counter(
        "lull_resource_durable_writes",
        "Writes that a medium was asked to make durable each by itself.",
    );
    let mut full =
        Family::counter("lull_resource_full", "Changes that were answered with \"no space left\".");
    let mut missed = Family::counter(
        "lull_resource_missed",
        "Sharers that were not back in time, so that the others went on without them.",
    );
    for resource in resources {
        let name = ("resource", &*resource.name);
        info.label([name, ("backend", &*resource.backend), ("engine", &*resource.engine)]);
        size.put([name], resource.size);
        tenure.put([name], resource.tenure);
        faulted.put([name], resource.faulted.is_some());
        waits.put([name], resource.waits_for.is_some());
        flushes.put([name], resource.flushes);
        durable.put([name], resource.durable_writes);
        full.put([name], resource.full);
        missed.put([name], resource.missed);
    }
    vec![info, size, tenure, faulted, waits, flushes, durable, full, missed]
}

fn sessions(sessions: &[SessionStatus]) -> Vec<Family> {
    let mut phases = Family::gauge("lull_sessions", "Attachments on the roster in each phase.");
    for phase in SessionPhase::ALL {
        let there = sessions.iter().filter(|session| session.phase == *phase).count();
        phases.put([("phase", phase.as_str())], there as u64);
    }
    let mut in_flight = Family::gauge(
        "lull_session_in_flight",
        "Requests of an attachment that the target has not answered.",
    );
    let mut unflushed = Family::gauge(
        "lull_session_unflushed",
        "What an attachment keeps because no flush has released it, by its last report.",
    )
    .of(Unit::Bytes);
    let mut oldest = Family::gauge(
        "lull_session_oldest_request_age",
        "Age of an attachment's oldest request that the target has not answered.",
    )
    .of(Unit::Seconds);
    for session in sessions {
        let labels = [
            ("initiator", &*session.initiator),
            ("attachment", &*session.attachment),
            ("resource", &*session.resource),
        ];
        in_flight.put(labels, session.in_flight);
        unflushed.put(labels, session.unflushed);
        oldest.put(labels, Number::of_ms(session.oldest_ms));
    }
    vec![phases, in_flight, unflushed, oldest]
}

fn agentless(resources: &[ResourceStatus], clients: &[AgentlessStatus]) -> Family {
    let mut count = Family::gauge(
        "lull_agentless_clients",
        "Clients without an agent, which no pause can reach.",
    );
    // Where nobody is, a zero: an alert on a series that is missing never fires.
    let names = resources.iter().map(|resource| &resource.name);
    for name in names.chain(clients.iter().map(|client| &client.resource)) {
        let here = clients.iter().filter(|client| client.resource == *name).count();
        count.put([("resource", &**name)], here as u64);
    }
    count
}

fn restart(restart: Option<&RestartStatus>, at: u64) -> Vec<Family> {
    let mut under_way =
        Family::gauge("lull_restart_under_way", "Whether a restart or pause is under way.");
    under_way.put([], restart.is_some());
    let Some(restart) = restart else { return vec![under_way] };
    let mut info = Family::info("lull_restart", "The restart that is under way.");
    info.label([
        ("id", &*restart.id.to_string()),
        ("kind", restart.kind.as_str()),
        ("phase", restart.phase.as_str()),
    ]);
    let mut whole =
        Family::gauge("lull_restart_age", "Since the restart was ordered.").of(Unit::Seconds);
    whole.put([], age(at, restart.started));
    let mut phase =
        Family::gauge("lull_restart_phase_age", "Since its present phase began.").of(Unit::Seconds);
    phase.put([], age(at, restart.phase_since));
    let mut awaited =
        Family::gauge("lull_restart_awaited", "Whom the restart waits for: how many.");
    awaited.put([], restart.waits.len() as u64);
    vec![under_way, info, whole, phase, awaited]
}
