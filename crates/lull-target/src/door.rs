//! Who of those that connect is closed at once.

use crate::chronicle::strangers::Seldom;
use lull_proto::MonoTime;
use lull_transport::NotAdmitted;

/// Connections beyond it are closed at once: descriptors are needed for media, state and a successor as well.
const MOST_CONNECTIONS: usize = 16_384;

/// What a socket's connections pass first.
#[derive(Debug, Default)]
pub struct Door {
    /// Those that may not come.
    refused: Seldom,
    /// Those that are too many.
    beyond: Seldom,
}

impl Door {
    /// Looks at one that came at `now`, while there were so many of either kind.
    ///
    /// # Errors
    /// It is to be closed; with a line for the log, unless there was one of the same kind just now [SEC-4].
    pub fn check(
        &mut self,
        now: MonoTime,
        peer: &str,
        admitted: Result<(), NotAdmitted>,
        load: usize,
    ) -> Result<(), Option<String>> {
        if let Err(refused) = admitted {
            let told = self.refused.one_more(now);
            return Err(told.map(|untold| format!("a connection was closed: {refused}{untold}")));
        }
        if load >= MOST_CONNECTIONS {
            let told = self.beyond.one_more(now);
            return Err(told.map(|untold| {
                format!("{peer}, beyond {MOST_CONNECTIONS} connections, was closed{untold}")
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [SEC-4] Whoever may not come fills no log by coming again and again, in turn with others or beside too many.
    #[test]
    fn who_is_refused_again_is_counted_and_not_told_of() {
        let mut door = Door::default();
        let mut come = |ms: u64, cid: Option<u32>| {
            let admitted = cid.map_or(Ok(()), |cid| Err(NotAdmitted::Machine(cid)));
            door.check(MonoTime(ms * 1_000_000), "vsock", admitted, 16_384).unwrap_err()
        };
        assert!(come(0, Some(7005)).is_some() && come(1, None).is_some(), "one of each kind");
        let storm = (2..900).filter_map(|ms| come(ms, (ms % 3 > 0).then_some(ms as u32)));
        assert_eq!(storm.count(), 0);
        assert!(come(2000, Some(7006)).unwrap().ends_with("more before it"));
    }

    /// [SEC-4] Descriptors are left for everything else.
    #[test]
    fn who_comes_beyond_the_most_is_closed() {
        let mut door = Door::default();
        assert_eq!(door.check(MonoTime(0), "web1", Ok(()), 16_383), Ok(()));
        let closed = door.check(MonoTime(0), "web1", Ok(()), 16_384).unwrap_err();
        assert!(closed.unwrap().contains("web1"));
    }
}
