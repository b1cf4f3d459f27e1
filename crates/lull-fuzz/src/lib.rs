//! Any bytes for everything that reads bytes, any events for the machines.
//!
//! A [target](TARGETS) is a function that takes any bytes and panics where what it drives does not keep its word. The
//! tests run each of them on its seeds and on mutations of them ([`mutate`]); `fuzz/` hands the same functions to
//! libFuzzer, which sees what they cover and goes on for as long as it is let. What was once found lies in `found/`.
#![forbid(unsafe_code)]

mod bytes;
mod documents;
mod events;
mod face;
mod guest;
mod initiator_machine;
mod likely;
pub mod mutate;
mod nbd;
pub mod seeds;
mod target_machine;
mod texts;
mod wire;

/// Something that reads what others write.
pub struct Target {
    /// Its name: that of its binary in `fuzz/`, and of its folder in `found/`.
    pub name: &'static str,
    /// Reads it; panics where a property does not hold.
    pub run: fn(&[u8]),
    /// What is worth being changed.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many mutations the tests run, so that all targets together take some seconds.
    pub rounds: u32,
}

macro_rules! targets {
    ($($(#[doc = $doc:literal])+ $name:ident = $module:ident::$run:ident, $seeds:ident, $rounds:literal;)*) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $module::$run,
            seeds: seeds::$seeds,
            rounds: $rounds,
        }),*];
        $($(#[doc = $doc])+ pub fn $name(bytes: &[u8]) { $module::$run(bytes); })*
    };
}

targets! {
    /// Frames of the protocol, as either side may receive them.
    wire_frames = wire::frames, frames, 60_000;
    /// A body by itself, whatever its checksum would be.
    wire_bodies = wire::bodies, bodies, 60_000;
    /// The list in a reply about extents.
    wire_extents = wire::extents, lists, 60_000;
    /// What a client says before transmission, whole and in portions.
    nbd_server_handshake = nbd::server, options, 60_000;
    /// What a server says before transmission.
    nbd_client_handshake = nbd::client, option_replies, 60_000;
    /// Requests and what is made of them; heads of replies, pieces of information.
    nbd_messages = nbd::messages, messages, 60_000;
    /// A whole NBD connection, our server's side of it.
    nbd_serve = face::nbd_serve, conversations, 600;
    /// A whole NBD connection, our client's side of it.
    nbd_use = face::nbd_use, replies, 600;
    /// A mounted file, the kernel's messages to it.
    fuse = face::fuse, kernel, 1_500;
    /// A guest's memory with its rings, which a disk of ours serves.
    guest_rings = guest::rings, memories, 1_500;
    /// What a virtual machine's monitor says.
    guest_messages = guest::messages, said, 60_000;
    /// Addresses, URIs and backends as people write them.
    texts = texts::texts, texts, 60_000;
    /// A history of a disk, read and judged.
    history = texts::history, histories, 20_000;
    /// A configuration file.
    configuration = texts::configuration, configurations, 400;
    /// What daemons and operators tell each other.
    admin_documents = documents::admin, documents, 6_000;
    /// The rows of a target's state.
    target_state = documents::target_state, rows, 8_000;
    /// The file of an initiator's state.
    initiator_state = documents::initiator_state, states, 20_000;
    /// The log that an initiator's next life finds in memory.
    retained_log = documents::retained_log, plans, 1_000;
    /// What an initiator's process hands over to the next one.
    estate = documents::estate, estates, 6_000;
    /// What a kernel says of its block devices, and over netlink.
    kernel_devices = documents::kernel_devices, devices, 60_000;
    /// A target's machine among any peers.
    target_machine = target_machine::run, plans, 10_000;
    /// An initiator's machine with any target.
    initiator_machine = initiator_machine::run, plans, 10_000;
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
