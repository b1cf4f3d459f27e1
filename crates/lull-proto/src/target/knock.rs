//! Whom a target that has started tells so, at the addresses that they left.

use super::{Holder, Target};
use alloc::collections::BTreeSet;
use lull_wire::messages::{Address, Knock};
use lull_wire::{AttachmentId, Message};

impl Target {
    /// [CONN-1] Where those want to be knocked who are on the roster and not back, each address once; nobody once no
    /// HELLO would be answered with CONNECT. At most one for each place on the roster. An address is what an initiator
    /// called one: it may be none.
    pub fn callbacks(&self) -> BTreeSet<Address> {
        if self.phase.is_leaving() {
            return BTreeSet::new();
        }
        // Who is coming back may be as many as who is away.
        let claims = self.claims().map(|claim| claim.entry.attachment);
        let coming: BTreeSet<AttachmentId> = claims.collect();
        let absent = self.roster.values().filter(|seat| seat.holder == Holder::Lost);
        let entries = absent.map(|seat| &seat.entry).filter(|entry| {
            !entry.callback.as_str().is_empty() && !coming.contains(&entry.attachment)
        });
        entries.map(|entry| entry.callback.clone()).collect()
    }

    /// What is said there.
    pub fn knock(&self) -> Message {
        Knock { node: self.config.node.clone(), instance: self.config.instance }.into()
    }
}
