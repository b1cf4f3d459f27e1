//! What is compared: ways to use disks of another computer, each as somebody sets it up who wants it to outlive that
//! computer's restarts.

mod iscsi;
mod lull;
mod nbd;
mod nvme;

/// One way. Its scripts are for busybox's shell.
#[derive(Debug)]
pub(super) struct System {
    /// Its name on the command line and among the logs.
    pub(super) name: &'static str,
    /// Its name in the table.
    pub(super) title: &'static str,
    /// How it is set up, for people.
    pub(super) settings: &'static str,
    /// The TCP port at which the target's side serves.
    pub(super) port: u16,
    /// What goes before each script: variables in which variants of a system differ.
    pub(super) variant: &'static str,
    /// Serves `/data/db1.img` and `/data/db2.img` of the target's system, at each of its starts.
    pub(super) target: &'static str,
    /// Ends that when the target's system goes down in good order.
    pub(super) stop: &'static str,
    /// Makes them `/dev/db1` and `/dev/db2` of the initiator, which knows the target as `stor`.
    pub(super) initiator: &'static str,
}

/// All of them.
pub(super) const SYSTEMS: [&System; 7] = [
    &lull::KERNEL_NBD,
    &lull::UBLK,
    &nbd::PERSIST,
    &nvme::CACHED,
    &nvme::DIRECT,
    &iscsi::WRITE_BACK,
    &iscsi::WRITE_THROUGH,
];

impl System {
    /// A script of its, whole.
    pub(super) fn script(&self, body: &str) -> String {
        format!("{}\n{body}", self.variant)
    }

    /// All that it is set up by, for people.
    pub(super) fn told(&self) -> String {
        let Self { title, settings, target, stop, initiator, .. } = self;
        let parts = [("target", target), ("target, going down", stop), ("initiator", initiator)];
        let scripts = parts.map(|(whose, body)| format!("\n# {whose}\n{}", self.script(body)));
        format!("{title}: {settings}\n{}", scripts.concat())
    }
}
