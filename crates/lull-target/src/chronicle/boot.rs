//! Which boot of the host this is: a target that stopped in another one was away because its host restarted, whoever
//! did it and however.

use lull_admin::{RestartKind, RestartRecord};
use std::time::Duration;

/// The kernel's name of this boot; empty where it has none.
pub fn this() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    name.unwrap_or_default().trim().to_owned()
}

/// Whether the host has restarted since this record was left.
fn is_another(record: &RestartRecord, this: &str) -> bool {
    !record.boot.is_empty() && record.boot != this
}

/// What a restart was, seen from the life after it.
fn kind_after(record: &RestartRecord, this: &str) -> RestartKind {
    match record.kind {
        RestartKind::Stop | RestartKind::Pause if is_another(record, this) => RestartKind::Host,
        kind => kind,
    }
}

/// Has the record say what the restart was, seen from the life after it; in words what it is back from.
pub fn back(record: &mut RestartRecord) -> &'static str {
    let this = this();
    record.kind = kind_after(record, &this);
    match is_another(record, &this) {
        true => "serving again; the host has restarted",
        false => "serving again",
    }
}

/// How long the host was away when it restarted last, of records with the newest first.
pub fn downtime<'a>(records: impl Iterator<Item = &'a RestartRecord>) -> Option<Duration> {
    let host = records.filter(|record| record.kind == RestartKind::Host);
    let mut times = host.filter_map(|record| {
        let us = record.first_accept_us?.checked_sub(record.last_answer_us?)?;
        Some(Duration::from_micros(us))
    });
    times.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: RestartKind, boot: &str, down_us: u64, up_us: u64) -> RestartRecord {
        let (last_answer_us, first_accept_us) = (Some(down_us), Some(up_us));
        let boot = boot.to_owned();
        RestartRecord { kind, boot, last_answer_us, first_accept_us, ..RestartRecord::default() }
    }

    #[test]
    fn a_stop_that_is_followed_by_another_boot_was_a_restart_of_the_host() {
        let stop = record(RestartKind::Stop, "one", 0, 0);
        assert_eq!(kind_after(&stop, "two"), RestartKind::Host);
        assert_eq!(kind_after(&stop, "one"), RestartKind::Stop);
        let unknown = record(RestartKind::Stop, "", 0, 0);
        assert_eq!(kind_after(&unknown, "two"), RestartKind::Stop, "an older release left it");
        let daemon = record(RestartKind::Daemon, "one", 0, 0);
        assert_eq!(kind_after(&daemon, "two"), RestartKind::Daemon);
    }

    #[test]
    fn the_last_restart_of_the_host_says_how_long_the_next_one_takes() {
        let records = [
            record(RestartKind::Daemon, "", 0, 5),
            record(RestartKind::Host, "one", 1_000_000, 31_000_000),
            record(RestartKind::Host, "one", 0, 90_000_000),
        ];
        assert_eq!(downtime(records.iter()), Some(Duration::from_secs(30)));
        assert_eq!(downtime(records[..1].iter()), None);
        let backwards = record(RestartKind::Host, "one", 5, 1);
        assert_eq!(downtime([backwards].iter()), None, "a clock that was set is no measure");
    }
}
