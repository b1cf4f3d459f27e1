//! One connection to a target, from the dial to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use lull_proto::ConnId;
use lull_proto::initiator::Event;
use lull_transport::{Outlet, Stream};
use tokio::sync::oneshot;

use crate::attachment::Attachment;
use crate::buffer::Shared;
use crate::outstanding::Outstanding;
use crate::receive::{Over, receive};

/// How long what was sent last may take to leave once the machine hangs up.
const LINGER: Duration = Duration::from_secs(1);
/// How long the last words of a target may take that takes nothing any more.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The connection that the machine stands on. Dropping it hangs up: a dial under way is given up, a stream is
/// closed once what was sent has left, and nothing of it is delivered any more.
#[derive(Debug)]
pub struct Connection {
    /// Its number.
    pub id: ConnId,
    /// What leaves on it.
    pub outlet: Outlet<Shared>,
    /// What was sent on it and not answered.
    pub outstanding: Outstanding,
    _hang_up: oneshot::Sender<Infallible>,
}

impl Connection {
    /// Begins to dial.
    pub fn dial(attachment: &Rc<Attachment>, id: ConnId) -> Self {
        let (hang_up, hung_up) = oneshot::channel();
        let outlet = Outlet::new();
        tokio::task::spawn_local(run(Rc::clone(attachment), id, outlet.clone(), hung_up));
        Self { id, outlet, outstanding: Outstanding::new(), _hang_up: hang_up }
    }
}

async fn run(
    attachment: Rc<Attachment>,
    id: ConnId,
    outlet: Outlet<Shared>,
    mut hung_up: oneshot::Receiver<Infallible>,
) {
    let addr = attachment.config().target();
    let dialled = tokio::select! {
        biased;
        _ = &mut hung_up => return,
        dialled = Stream::dial(&addr) => dialled,
    };
    let stream = match dialled {
        Ok(stream) => stream,
        Err(error) => return attachment.dial_failed(id, &error),
    };
    let (r, mut w) = stream.into_split();
    attachment.hear(Event::Dialled { conn: id });
    let mut pump = pin!(outlet.pump(&mut w));
    let mut reader = pin!(receive(&attachment, id, r, &outlet));
    // The reader goes first: what it answers in one turn leaves behind it in one go.
    let over = tokio::select! {
        biased;
        _ = &mut hung_up => Over::HungUp,
        over = reader.as_mut() => over,
        ended = pump.as_mut() => {
            // What a connection still reads that the machine has left is nobody's.
            tokio::select! {
                biased;
                _ = &mut hung_up => {}
                () = broken(&attachment, id, ended, reader) => {}
            }
            return;
        }
    };
    match over {
        Over::HungUp => {
            outlet.finish();
            // A target that does not take the last bytes is not waited for.
            let _ = tokio::time::timeout(LINGER, pump).await;
        }
        over => attachment.lost(id, &over),
    }
}

/// Nothing can be sent any more. What the target sent before it went, replies and DISCONNECT, is read still.
async fn broken(
    attachment: &Rc<Attachment>,
    id: ConnId,
    ended: std::io::Result<()>,
    reader: impl Future<Output = Over>,
) {
    let over = match (tokio::time::timeout(LAST_WORDS, reader).await, ended) {
        (Ok(over), _) => over,
        (Err(_), Err(error)) => Over::Broken(error),
        (Err(_), Ok(())) => Over::Closed,
    };
    match over {
        Over::HungUp => {}
        over => attachment.lost(id, &over),
    }
}
