//! Media that lie behind a network: what another server shares, as a backend.
//!
//! [`Upstreams`] is the way from a URI to a [`Backend`](lull_block::Backend) that [`lull_block::open`] takes along;
//! [`check`] says beforehand whether a URI can be one. There is one scheme: NBD, any server of which becomes a medium.
//!
//! Absent on purpose: a lock. Nobody but the server can keep a second writer out, and NBD has no words for it.
//! Nor is anything logged here: what an operator should hear of is a [`Notice`].

mod form;
mod health;
mod inbox;
mod nbd;
mod notice;

pub use form::{FormError, check};
pub use notice::Notice;

use lull_block::{Backend, OpenError, RemoteSpec, Remotes};
use std::sync::Arc;
use std::time::Duration;

/// Whoever is told what happens to servers. It is called from threads of this crate and must not block them.
type Notify = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Opens what lies behind a network.
pub struct Upstreams {
    patience: Duration,
    notify: Notify,
}

impl Upstreams {
    /// Opens with this much patience: a server that cannot be reached is dialled again for so long, at least once.
    pub fn new(patience: Duration, notify: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self { patience, notify: Arc::new(notify) }
    }
}

impl Remotes for Upstreams {
    fn open(&self, spec: &RemoteSpec) -> Result<Arc<dyn Backend>, OpenError> {
        let uri = form::uri(spec).map_err(|error| OpenError::Remote { why: error.to_string() })?;
        let opened = nbd::Nbd::open(uri, spec, self.patience, Arc::clone(&self.notify));
        opened.map(|backend| Arc::new(backend) as _).map_err(|why| OpenError::Remote { why })
    }
}
