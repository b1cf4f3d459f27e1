//! Who may come over vsock.

use crate::vsock;

/// Which machines may connect over vsock, by the number under which the hypervisor knows each; this one always may.
/// [SEC-1]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// These; [`Admitted::default`] has none.
    Only(Vec<u32>),
    /// Every one, as `insecure` has it.
    Everybody,
}

impl Default for Admitted {
    fn default() -> Self {
        Admitted::Only(Vec::new())
    }
}

/// Somebody who may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// Its number is not on the list.
    #[error(
        "machine {0} came over vsock and is not on the list: let it in with --vsock-peer {0} (vsock-peers)"
    )]
    Machine(u32),
    /// It was gone before it could be asked.
    #[error("somebody came over vsock and had gone at once")]
    Gone,
}

impl Admitted {
    /// Whether this machine may come; `None` is one that has gone.
    pub(crate) fn check(&self, cid: Option<u32>) -> Result<(), NotAdmitted> {
        let cid = cid.ok_or(NotAdmitted::Gone)?;
        let may = match self {
            Admitted::Everybody => true,
            Admitted::Only(list) => list.contains(&cid) || vsock::is_own(cid),
        };
        if may { Ok(()) } else { Err(NotAdmitted::Machine(cid)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machines_on_the_list_come_in() {
        // [SEC-1]
        let listed = Admitted::Only(vec![7003, 7004]);
        assert_eq!(listed.check(Some(7003)), Ok(()));
        assert_eq!(listed.check(Some(vsock::LOCAL)), Ok(()));
        assert_eq!(listed.check(Some(7005)), Err(NotAdmitted::Machine(7005)));
        assert_eq!(listed.check(None), Err(NotAdmitted::Gone));
        assert_eq!(Admitted::default().check(Some(7003)), Err(NotAdmitted::Machine(7003)));
        assert_eq!(Admitted::Everybody.check(Some(7005)), Ok(()));
    }
}
