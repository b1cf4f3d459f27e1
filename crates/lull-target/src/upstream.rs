//! The attachments of this target to others, on whose resources some of its own rest [CHAIN-1]. They live on the
//! machine's thread, which hears of all that happens to them.

use crate::RunError;
use crate::daemon::{Input, Shared};
use crate::life::system;
use lull_proto::target::{Ended, ResourceIndex};
use lull_upstream::{Chain, ChainLink, Told};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Begins all of them; to be called within the machine's `LocalSet`.
pub fn begin(
    chains: Vec<(ResourceIndex, Chain)>,
    shared: &Arc<[Shared]>,
    control: &mpsc::UnboundedSender<Input>,
) -> Result<Vec<(ResourceIndex, ChainLink)>, RunError> {
    let begin = |(resource, chain): (ResourceIndex, Chain)| {
        let (shared, control) = (Arc::clone(shared), control.clone());
        let tell = move |told| {
            let input = match told {
                Told::Turned(upstream) => Input::Upstream { resource, upstream },
                Told::LifeEnded => {
                    // [CHAIN-4] Before the next life up there answers anything, no lane answers for this one.
                    let life = &shared[resource.0].life;
                    life.end(life.number());
                    Input::LifeEnded { resource, why: Ended::Upstream }
                }
                Told::Event(event) => Input::Told(event),
            };
            // The machine hears it in a turn of its own. It is gone only when nobody waits for this any more.
            let _ = control.send(input);
        };
        let link =
            chain.begin(tell).map_err(|error| system("an attachment")(io::Error::other(error)))?;
        Ok((resource, link))
    };
    chains.into_iter().map(begin).collect()
}
