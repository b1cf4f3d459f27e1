//! Who of those that connect is closed at once.

use lull_transport::NotAdmitted;

/// Connections beyond it are closed at once: descriptors are needed for media, state and a successor as well.
const MOST_CONNECTIONS: usize = 16_384;

/// What a socket's connections pass first.
#[derive(Debug, Default)]
pub struct Door {
    /// Who was refused last.
    refused: Option<NotAdmitted>,
}

impl Door {
    /// Looks at one that came while there were so many of either kind.
    ///
    /// # Errors
    /// It is to be closed; with a line for the log, if that has anything new.
    pub fn check(
        &mut self,
        peer: &str,
        admitted: Result<(), NotAdmitted>,
        load: usize,
    ) -> Result<(), Option<String>> {
        if let Err(refused) = admitted {
            // [SEC-4] Nobody fills the log by coming again and again.
            let is_new = self.refused.as_ref() != Some(&refused);
            let line = is_new.then(|| format!("a connection was closed: {refused}"));
            self.refused = Some(refused);
            return Err(line);
        }
        // [SEC-4] Of either kind.
        if load >= MOST_CONNECTIONS {
            return Err(Some(format!("{peer}, beyond {MOST_CONNECTIONS} connections, was closed")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [SEC-4] Whoever may not come fills no log by coming again and again.
    #[test]
    fn who_is_refused_again_is_not_told_of_again() {
        let mut door = Door::default();
        let mut come = |cid| door.check("vsock", Err(NotAdmitted::Machine(cid)), 0).unwrap_err();
        assert!(
            [7005, 7005, 7006, 7006].map(|cid| come(cid).is_some()) == [true, false, true, false]
        );
    }

    /// [SEC-4] Descriptors are left for everything else.
    #[test]
    fn who_comes_beyond_the_most_is_closed() {
        let mut door = Door::default();
        assert_eq!(door.check("web1", Ok(()), 16_383), Ok(()));
        let closed = door.check("web1", Ok(()), 16_384).unwrap_err();
        assert!(closed.unwrap().contains("web1"));
    }
}
