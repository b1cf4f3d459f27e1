//! A world in which everything happens by chance, and the same chance again for the same seed.
//!
//! *Real* are the two machines of `lull-proto`, and the messages that they exchange. *Models* are everything around
//! them, built to the same rules as the daemons: the target's lanes and the engine under them
//! ([`target`]), the initiator's slots and state file ([`node`]), the attachment under a resource that lies on another's ([`middle`]), a disk with a cache that can be lost ([`disk`]), a
//! state directory with commits ([`state_dir`]), connections ([`world::wire`]). Time is a number.
//!
//! Whether all of it behaves is decided from outside ([`judge`]): by what consumers saw (`lull-history`), and by what
//! anybody could see who looked at the wire and at the disks.

pub mod canary;
pub mod chance;
pub mod coverage;
pub mod disk;
pub mod fault;
pub mod judge;
pub mod knocks;
pub mod middle;
pub mod model;
pub mod node;
pub mod preset;
pub mod run;
pub mod state_dir;
pub mod target;
pub mod world;
