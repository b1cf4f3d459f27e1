//! The words of a refusal: who is in the way, since when, and what to do.

use crate::chronicle::plain;
use crate::clock::{Clock, time_of_day};
use lull_admin::{Access, AgentlessStatus};
use lull_proto::MonoTime;
use lull_proto::target::{Refusal, SEATS_LIMIT};
use lull_wire::messages::{PATH_LIMIT, Path, Prose, Refused};
use lull_wire::{Epoch, Tenure};
use std::time::Duration;

/// How many clients without an agent are named; of further ones there is the number.
const CLIENTS_NAMED: usize = 3;

/// REFUSED for this. `agentless` are the target's clients without an agent, of all resources.
pub fn message<'a>(
    refusal: &Refusal,
    now: MonoTime,
    clock: &Clock,
    agentless: impl Iterator<Item = &'a AgentlessStatus>,
) -> Refused {
    let (retry, after) = refusal.disposition();
    Refused {
        code: refusal.code(),
        retry,
        retry_after_ms: u32::try_from(after.as_millis()).unwrap_or(u32::MAX),
        epoch: match refusal {
            Refusal::StaleEpoch { current } => *current,
            _ => Epoch(0),
        },
        tenure: match refusal {
            Refusal::StaleTenure { current } | Refusal::Missed { current } => *current,
            _ => Tenure(0),
        },
        detail: Prose::clipped(&match refusal {
            Refusal::Agentless { resource, .. } => {
                written_by(resource.as_str(), agentless, clock.unix_ms(now))
            }
            _ => words(refusal, now, clock),
        }),
    }
}

/// [SAFE-9] Who writes, without an agent, what was asked for.
fn written_by<'a>(
    resource: &str,
    agentless: impl Iterator<Item = &'a AgentlessStatus>,
    now_ms: u64,
) -> String {
    let writes = |one: &&AgentlessStatus| one.resource == resource && one.access != Access::Ro;
    let writers: Vec<_> = agentless.filter(writes).collect();
    let name =
        |one: &&AgentlessStatus| format!("{} since {}", one.peer, time_of_day(one.since, now_ms));
    let named: Vec<_> = writers.iter().take(CLIENTS_NAMED).map(name).collect();
    let more = match writers.len().saturating_sub(CLIENTS_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "\"{resource}\" is written over NBD, without an agent, by {}{more}; disconnect them, or attach with \
         --access ro",
        named.join(", ")
    )
}

/// The same for people, who read it in events and records long after: its times are no spans from now.
pub fn words(refusal: &Refusal, now: MonoTime, clock: &Clock) -> String {
    let time = |at: &MonoTime| clock.time_of_day(*at, now);
    match refusal {
        Refusal::Version { min, max } => format!(
            "this target speaks versions {} to {} of the protocol, the initiator {min} to {max}; install releases \
             that are at most one apart",
            lull_wire::OLDEST_VERSION,
            lull_wire::VERSION
        ),
        Refusal::UnknownResource { name } => {
            let name = plain(name.as_str());
            format!("there is no resource \"{name}\" here (lull status at the target lists them)")
        }
        Refusal::Identity { name } => format!(
            "\"{name}\" is not the resource that this attachment knew: the disk behind the name is another one, or was \
             adopted as such; give the old one back, or use this one with `lull attach --adopt`"
        ),
        Refusal::AccessNotOffered { access } => {
            format!(
                "access {access} is not offered to this release of the initiator; use --access rw or ro, or a later one"
            )
        }
        Refusal::Pausing => "a restart of the target is under way; new attachments wait for its end".to_owned(),
        Refusal::OtherInstance { node, since, lost } => format!(
            "another instance of {node} has this attachment ({} since {}), with a later state directory than the one here; \
             use that one, or, where it is gone for good, start this one with --take-over",
            if *lost { "lost" } else { "attached" },
            time(since),
        ),
        Refusal::StaleEpoch { current } => format!("the target has epoch {current} already; a higher one follows"),
        Refusal::Conflict { resource, node, namesake: true, access, since, reserved: None } => format!(
            "\"{resource}\" is attached {access} since {} by {node}, which is this node's name: by another attachment \
             of it, or by another daemon of that name; end that one with lull detach, give each daemon a --name of \
             its own, or use --access ro beside it",
            time(since),
        ),
        Refusal::Conflict { resource, node, namesake: true, since, reserved: Some(_), .. } => format!(
            "\"{resource}\" is reserved for {node}, lost since {}, which is this node's name, but for another attachment: its \
             identity is in another state directory (--state), or there under another --attachment-name; start it \
             from there, or, where that is gone for good, lull evict {node} --resource {resource} at the target ends \
             that and declares its unreplayed writes lost",
            time(since),
        ),
        Refusal::Conflict { resource, node, access, since, reserved: None, .. } => format!(
            "\"{resource}\" is attached {access} by {node} since {} (lull attach --access {} goes beside it)",
            time(since),
            if *access == lull_wire::Access::Shared { "rw-shared or ro" } else { "ro" },
        ),
        Refusal::Conflict { resource, node, since, reserved: Some(until), .. } => {
            let until = match until {
                Some(until) => format!("until {}", time(until)),
                None => "without limit".to_owned(),
            };
            format!(
                "\"{resource}\" is reserved for {node}, lost since {}, {until} (lull evict {node} at the target ends that \
                 and declares its unreplayed writes lost)",
                time(since),
            )
        }
        Refusal::Agentless { resource, clients } => format!(
            "\"{resource}\" is written by {clients} NBD client{} without an agent (lull status at the target names \
             them); disconnect them, or attach with --access ro",
            if *clients == 1 { "" } else { "s" },
        ),
        Refusal::StaleTenure { current } => format!(
            "it was evicted, or another writer was let in since (tenure {current}); what this attachment had not \
             replayed is lost: remove its .json from the initiator's state directory and attach anew"
        ),
        Refusal::Missed { .. } => "the other sharers went on without it: what it had unanswered is not executed any \
                                   more; it goes on as a new one"
            .to_owned(),
        Refusal::Limit { resource } => format!(
            "\"{resource}\" has as many attachments as a target keeps ({SEATS_LIMIT}); lull evict at the target ends \
             those that are lost for good"
        ),
        Refusal::NotReplayed { resource, node, namesake, since, reserved } => {
            let lost = match reserved {
                Some(Some(until)) => format!(", lost since {}, until {}", time(since), time(until)),
                Some(None) => format!(", lost since {}", time(since)),
                None => String::new(),
            };
            if *namesake {
                return format!(
                    "\"{resource}\" waits for {node}{lost}, which is this node's name, but another attachment: what that \
                     one wrote may have to be written again first; start it from its own state directory (--state) and \
                     under its own --attachment-name, or, where that is gone for good, lull evict {node} --resource \
                     {resource} at the target declares it lost"
                );
            }
            format!(
                "\"{resource}\" waits for {node}{lost}: what it wrote may have to be written again first (lull evict \
                 {node} at the target declares it lost)"
            )
        }
        Refusal::WriteBackFailed { resource, failures: 0, .. } => {
            format!("\"{resource}\" begins anew, since what it lies on may have lost what was not flushed")
        }
        Refusal::WriteBackFailed { resource, failures: 1, .. } => {
            format!("\"{resource}\" could not be written back and begins anew")
        }
        Refusal::WriteBackFailed { resource, failures, rest } => format!(
            "\"{resource}\" could not be written back {failures} times in a row and rests for {}; look at its disk, and \
             for free space",
            span(*rest)
        ),
        Refusal::Cycle { resource, path } => format!(
            "\"{resource}\" would wait for itself, or lies on more than {PATH_LIMIT} others: {}; give the last of them \
             another backend, and nodes of one name different ones",
            way(path)
        ),
        Refusal::FencedAbove { resource, path, reason } => format!(
            "\"{resource}\" lies on a resource that this target has lost: {}, which {}; what was not flushed is lost; \
             where that is right, start this target once with `--adopt {resource}`, and attach anew after that",
            way(path),
            plain(reason.as_str()),
        ),
        Refusal::NotReached { resource, path } => {
            format!("\"{resource}\" lies on a resource that was not reached yet: {}", way(path))
        }
        Refusal::NotRecorded => {
            "the target cannot write its state directory; see its log, free space or mend the directory".to_owned()
        }
    }
}

/// The nodes on the way to a resource.
fn way(path: &Path) -> String {
    let nodes: Vec<_> = path.as_slice().iter().map(ToString::to_string).collect();
    nodes.join(" → ")
}

fn span(span: Duration) -> String {
    match span.as_secs() {
        0..=119 => format!("{} s", span.as_secs()),
        120..=7199 => format!("{} min", span.as_secs() / 60),
        _ => format!("{} h", span.as_secs() / 3600),
    }
}
