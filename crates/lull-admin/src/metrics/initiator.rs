//! Metrics of an initiator.

use prometheus_client::registry::Unit;

use super::age;
use super::exposition::{Family, Number};
use crate::attachment::{AttachmentPhase, AttachmentStatus, InitiatorStatus};

/// All of an initiator at the moment `at`, in Unix milliseconds.
pub(super) fn families(initiator: &InitiatorStatus, at: u64) -> Vec<Family> {
    let attachments = &*initiator.attachments;
    let mut all = identity(attachments);
    all.extend(requests(attachments));
    all.extend(retaining(attachments));
    all.extend(outages(attachments, at));
    all
}

fn identity(attachments: &[AttachmentStatus]) -> Vec<Family> {
    let mut info = Family::info("lull_attachment", "What an attachment is attached to.");
    let mut phases = Family::gauge(
        "lull_attachment_phase",
        "Where an attachment is, as its initiator sees it: 1 at its phase.",
    );
    let mut clients =
        Family::gauge("lull_attachment_clients", "Consumers that are connected to an attachment.");
    for attachment in attachments {
        let name = ("attachment", &*attachment.name);
        info.label([
            name,
            ("resource", &*attachment.resource),
            ("target", attachment.target.as_deref().unwrap_or_default()),
            ("access", attachment.access.as_str()),
        ]);
        for phase in AttachmentPhase::ALL {
            phases.put([name, ("phase", phase.as_str())], *phase == attachment.phase);
        }
        clients.put([name], attachment.clients);
    }
    vec![info, phases, clients]
}

fn requests(attachments: &[AttachmentStatus]) -> Vec<Family> {
    let mut in_flight =
        Family::gauge("lull_attachment_in_flight", "Requests sent and not answered.");
    let mut oldest = Family::gauge(
        "lull_attachment_oldest_request_age",
        "Age of the oldest request sent and not answered.",
    )
    .of(Unit::Seconds);
    let mut held = Family::gauge("lull_attachment_held", "Requests of consumers that are held.");
    let mut unflushed =
        Family::gauge("lull_attachment_unflushed", "Kept because no flush has released it.")
            .of(Unit::Bytes);
    let mut errors = Family::counter("lull_attachment_errors", "Requests answered with an error.");
    for attachment in attachments {
        let labels = [("attachment", &*attachment.name)];
        in_flight.put(labels, attachment.in_flight);
        oldest.put(labels, Number::of_ms(attachment.oldest_ms));
        held.put(labels, attachment.held);
        unflushed.put(labels, attachment.unflushed);
        errors.put(labels, attachment.errors);
    }
    vec![in_flight, oldest, held, unflushed, errors]
}

fn retaining(attachments: &[AttachmentStatus]) -> Vec<Family> {
    let mut counted = Family::gauge(
        "lull_attachment_retained",
        "What acknowledged changes count against the bound that no flush has released.",
    )
    .of(Unit::Bytes);
    let mut bound =
        Family::gauge("lull_attachment_retain_bound", "The bound of that; 0: nothing is kept.")
            .of(Unit::Bytes);
    let mut changes =
        Family::gauge("lull_attachment_retained_changes", "How many such changes are kept.");
    let mut flushes =
        Family::counter("lull_attachment_own_flushes", "Flushes that no consumer asked for.");
    let mut waited =
        Family::counter("lull_attachment_waits_for_room", "Changes that waited for room.");
    let mut replayed = Family::counter(
        "lull_attachment_replayed_changes",
        "Acknowledged changes that were sent again.",
    );
    let mut bytes =
        Family::counter("lull_attachment_replayed", "Bytes of such changes.").of(Unit::Bytes);
    let mut faults =
        Family::counter("lull_attachment_replay_faults", "Replays that the target could not take.");
    for attachment in attachments {
        let labels = [("attachment", &*attachment.name)];
        let kept = &attachment.retaining;
        counted.put(labels, kept.counted);
        bound.put(labels, kept.bound);
        changes.put(labels, kept.changes);
        flushes.put(labels, kept.own_flushes);
        waited.put(labels, kept.waited);
        replayed.put(labels, kept.replayed_changes);
        bytes.put(labels, kept.replayed_bytes);
        faults.put(labels, kept.replay_faults);
    }
    vec![counted, bound, changes, flushes, waited, replayed, bytes, faults]
}

fn outages(attachments: &[AttachmentStatus], at: u64) -> Vec<Family> {
    let mut longest = Family::gauge(
        "lull_attachment_longest_stall",
        "The longest that a request waited because of a hold, in this life of the daemon.",
    )
    .of(Unit::Seconds);
    let mut outage = Family::gauge(
        "lull_attachment_outage",
        "How long an attachment has not been able to share; 0 while it can.",
    )
    .of(Unit::Seconds);
    let mut held = Family::gauge(
        "lull_attachment_held_above",
        "For how long the target has held because another one, on which it lies, is away; 0 while it does not.",
    )
    .of(Unit::Seconds);
    let mut missed = Family::counter(
        "lull_attachment_missed_changes",
        "Changes answered with errors because the other sharers were let go on without this one.",
    );
    let mut expired = Family::gauge(
        "lull_attachment_expired",
        "Whether the deadline of an outage has passed and the policy has run.",
    );
    for attachment in attachments {
        let labels = [("attachment", &*attachment.name)];
        let since = attachment.outage.as_ref().map_or(at, |outage| outage.since);
        longest.put(labels, Number::of_ms(attachment.longest_stall_ms));
        outage.put(labels, age(at, since));
        held.put(labels, age(at, attachment.held_above.as_ref().map_or(at, |held| held.since)));
        missed.put(labels, attachment.missed_changes);
        expired.put(labels, attachment.outage.as_ref().is_some_and(|outage| outage.expired));
    }
    vec![longest, outage, held, missed, expired]
}
