//! What is done before anybody is paused: a restart that cannot succeed begins here and ends here [PAUSE-9], and what
//! the backends have not written is written while requests still flow, so that the pause finds little left.

use crate::daemon::{Core, Daemon, Input};
use crate::life::{SIZES_VARIABLE, STATE_VARIABLE};
use crate::media::is_volatile;
use crate::store::{Format, Used};
use lull_proto::target::Seat;
use lull_transport::handover::{Successor, SuccessorError};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// The most rounds of flushing: each finds what was written during the one before.
const ROUNDS: usize = 4;
/// A round as short as this leaves little for the pause.
const SHORT: Duration = Duration::from_millis(20);
/// A medium that cannot be flushed within this would keep everybody paused for as long.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// Why a restart does not even begin.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// There is no successor.
    #[error(transparent)]
    Successor(#[from] SuccessorError),
    /// Its content would end with this process.
    #[error(
        "\"{0}\" is memory and is attached: a restart would lose what it holds; detach it first"
    )]
    Volatile(String),
    /// A backend failed to flush.
    #[error("a backend could not be flushed; nobody was paused (the target's log names it)")]
    Flush,
    /// A backend did not come to an end with it.
    #[error("the backends could not be flushed within {FLUSH_LIMIT:?}; nobody was paused")]
    Slow,
}

impl Daemon {
    /// Starts preparing; [`Input::Prepared`] follows unless the task is ended.
    pub(crate) fn prepare(self: &Rc<Self>, successor: bool) -> AbortHandle {
        let daemon = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let attached = daemon.attached_memory(&daemon.core.borrow());
            let prepared = match attached {
                Some(name) => Err(PrepareError::Volatile(name)),
                None => daemon.prepared(successor).await,
            };
            daemon.input(Input::Prepared(prepared));
        });
        task.abort_handle()
    }

    /// What of this target's somebody uses.
    fn used(&self) -> Used {
        let core = self.core.borrow();
        let place = |seat: &Seat| (seat.entry.node.to_string(), seat.entry.resource.0);
        let resources = core.machine.resources();
        let one =
            |place: usize, user| (&*self.shared[place].name, resources[place].geometry.size, user);
        // [SAFE-8] A block device is known by its size, whoever uses it.
        let devices = (0..self.shared.len()).filter(|at| self.shared[*at].is_device);
        let seats = core.machine.seats().map(place);
        let used = seats.map(|(node, place)| one(place, Some(node)));
        Used::of(used.chain(devices.map(|place| one(place, None))))
    }

    /// What is prepared as long as nobody has come to use memory meanwhile.
    pub(crate) fn still_prepared(
        &self,
        core: &mut Core,
        prepared: Result<Option<Box<Successor>>, PrepareError>,
    ) -> Result<Option<Box<Successor>>, PrepareError> {
        let (Ok(_), Some(name)) = (&prepared, self.attached_memory(core)) else { return prepared };
        core.successor = prepared?;
        self.forget_successor(core);
        Err(PrepareError::Volatile(name))
    }

    /// A resource in memory that somebody has attached, or is about to have.
    fn attached_memory(&self, core: &Core) -> Option<String> {
        let mut volatile =
            self.config.resources.iter().enumerate().filter(|(_, one)| is_volatile(&one.backend));
        let attached = |place: usize| core.machine.wanted().any(|resource| resource.0 == place);
        volatile.find(|(place, _)| attached(*place)).map(|(_, one)| one.name.clone())
    }

    async fn prepared(
        self: &Rc<Self>,
        successor: bool,
    ) -> Result<Option<Box<Successor>>, PrepareError> {
        let flushed = async {
            tokio::time::timeout(FLUSH_LIMIT, self.write_back())
                .await
                .unwrap_or(Err(PrepareError::Slow))
        };
        if !successor {
            return flushed.await.map(|()| None);
        }
        let told =
            [(STATE_VARIABLE, Format::ours().to_words()), (SIZES_VARIABLE, self.used().to_words())];
        let (started, flushed) = tokio::join!(Successor::start(&told), flushed);
        let successor = started?;
        match flushed {
            Ok(()) => Ok(Some(Box::new(successor))),
            Err(error) => {
                successor.end().await;
                Err(error)
            }
        }
    }

    async fn write_back(self: &Rc<Self>) -> Result<(), PrepareError> {
        for _ in 0..ROUNDS {
            let begun = self.clock.now();
            if !self.flush_or_fail(None).await {
                return Err(PrepareError::Flush);
            }
            if self.clock.now().since(begun) < SHORT {
                break;
            }
        }
        Ok(())
    }
}
