//! The daemon that owns resources.
//!
//! [`run`] is one process's life as a target: it takes the media and the state, serves, and goes when it may. What
//! happens is one closed list of inputs ([`daemon`]), what is done about it is decided by `lull-proto`'s machine, and
//! done in one place ([`perform`]). Requests do not come that way: they run in each connection's [`lane`].

mod adopt;
mod agentless;
#[cfg(test)]
mod bench;
mod calls;
mod chronicle;
mod clock;
mod config;
mod connection;
mod daemon;
mod descent;
mod door;
mod errand;
mod executor;
mod gauge;
mod knock;
mod lane;
mod life;
mod local;
mod media;
mod perform;
mod prepare;
mod refusal;
mod sharers;
mod sockets;
mod stage;
mod status;
pub mod store;
mod threads;
mod toll;
mod upstream;
mod waiting;

pub use adopt::adopt;
pub use config::{Config, ResourceConfig};
pub use life::{RunError, look, look_around, run};
pub use store::{StoreError, Used, has_state, histories, status as stored_status};
