//! What lies under a shared resource: files, block devices, memory.
//!
//! A [`Backend`] takes [`Request`]s and answers each exactly once, at once or later through
//! [`Completions`]. Payload lives in [`Buffer`]s of a bounded [`Pool`]. What a backend is made from
//! is a [`BackendSpec`], opened with [`open`].
//!
//! Deliberately absent: networks (whoever has one brings it along as [`Remotes`]), sessions, the
//! wire, retries, ordering between requests (whoever shares the resource owns that), and any runtime
//! but the reactor that an [`IoLoop`] waits with.
//!
//! Unsafe code is in these modules only:
//! * `pool::memory`: the mapping behind all payload and who owns which part of it;
//! * `file::kernel`: system calls that rustix does not offer;
//! * `file::ring::kernel`: a ring of requests shared with the kernel.

mod backend;
mod extents;
mod faulty;
mod file;
mod memory;
mod null;
mod open;
mod pool;
mod request;
mod size;
mod spec;
mod status;
mod token;
mod volatile;
mod workers;

pub use backend::{Backend, Geometry, MAX_PAYLOAD, Waiting};
pub use extents::Extent;
pub use file::IoLoop;
pub use open::{Context, Holder, OpenError, Remotes, check, open};
pub use pool::{Buffer, DEFAULT_BUDGET, Pool};
pub use request::{Op, Request};
pub use size::parse_size;
pub use spec::{BackendSpec, EngineChoice, FaultySpec, FileSpec, RemoteSpec, Span, SpecError};
pub use status::IoStatus;
pub use token::{Completion, Completions, Token};
pub use workers::Workers;
