//! Media that lie behind a network: what another server shares, as a backend.
//!
//! [`Upstreams`] is the way from a URI to a [`Backend`](lull_block::Backend) that [`lull_block::open`] takes along;
//! [`check`] says beforehand whether a URI can be one. There are two kinds: another target's resource, for which this
//! node is an initiator ([`Chain`]), and any NBD server's export.
//!
//! Absent on purpose: a lock. Nobody but the server can keep a second writer out; targets do, and NBD has no words for
//! it. Nor is anything logged here: what an operator should hear of is a [`Notice`], or an event of the attachment.

mod chain;
mod form;
mod health;
mod inbox;
mod nbd;
mod notice;

pub use chain::{Chain, ChainLink, Seat, Told};
pub use form::{FormError, check, is_chained};
pub use notice::Notice;

use form::Kind;
use lull_block::{Backend, OpenError, RemoteSpec, Remotes};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Whoever is told what happens to servers. It is called from threads of this crate and must not block them.
type Notify = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Opens what lies behind a network.
pub struct Upstreams {
    patience: Duration,
    notify: Notify,
    seat: Option<Seat>,
    chain: Mutex<Option<Chain>>,
}

impl Upstreams {
    /// Opens with this much patience: a server that cannot be reached is dialled again for so long, at least once.
    pub fn new(patience: Duration, notify: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        let (notify, chain) = (Arc::new(notify), Mutex::default());
        Self { patience, notify, seat: None, chain }
    }

    /// Opens other targets' resources too, for this resource of this node.
    #[must_use]
    pub fn for_resource(self, seat: Seat) -> Self {
        Self { seat: Some(seat), ..self }
    }

    /// What has still to [begin](Chain::begin) before the medium that was opened last serves: it rests on another
    /// target's resource. None where it does not, and the second time.
    pub fn chain(&self) -> Option<Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Remotes for Upstreams {
    fn open(&self, spec: &RemoteSpec) -> Result<Arc<dyn Backend>, OpenError> {
        let failed = |why: String| OpenError::Remote { why };
        match form::kind(spec).map_err(|error| failed(error.to_string()))? {
            Kind::Nbd(uri) => {
                let opened = nbd::Nbd::open(uri, spec, self.patience, Arc::clone(&self.notify));
                opened.map(|backend| Arc::new(backend) as _).map_err(failed)
            }
            Kind::Target(uri) => {
                let Some(seat) = self.seat.clone() else {
                    return Err(failed(format!("{uri} can lie under a target's resource only")));
                };
                let opened = chain::open(uri, spec, seat);
                let (backend, chain) = opened.map_err(|error| failed(error.to_string()))?;
                *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain);
                Ok(Arc::new(backend))
            }
        }
    }
}
