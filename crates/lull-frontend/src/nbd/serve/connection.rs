//! Transmission: one reader and one writer in one task, and what they share with the replies.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use lull_transport::{Inlet, Outlet, ReadHalf, Stream, WriteHalf};

use super::closer::Stage;
use super::load::{Load, Unsent};
use super::part::{Agreement, Parted};
use super::receive::{Partial, receive};
use super::stalled::{Incoming, Wanting, stalled};
use super::{Agreed, Closer, Limits, ServeEnd};
use crate::nbd::Device;

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// Bytes of answers without data, and of the headers of others, that may wait to leave before no more is read.
const MOST_SAID: usize = 256 << 10;

/// What replies need of their connection, and who sees to it that it gets on.
#[derive(Debug)]
pub(super) struct Shared<B: AsRef<[u8]>> {
    pub(super) outlet: Outlet<Unsent<B>>,
    /// Which one of this process it is.
    pub(super) number: u64,
    pub(super) incoming: Incoming,
    pub(super) wanting: Wanting,
    pub(super) load: Rc<Load>,
}

impl<B: AsRef<[u8]>> Shared<B> {
    pub(super) fn new() -> Self {
        Shared {
            outlet: Outlet::new(),
            number: NEXT.replace(NEXT.get() + 1),
            incoming: Incoming::default(),
            wanting: Wanting::default(),
            load: Rc::default(),
        }
    }

    /// Waits until one more request of `length` bytes may be taken.
    pub(super) async fn room(&self, length: usize, limits: &Limits) {
        poll_fn(|cx| {
            let outlet = &self.outlet;
            // A broken outlet ends the reader.
            let silent = outlet.copied() < MOST_SAID || outlet.poll_below(MOST_SAID, cx).is_ready();
            if silent && self.load.has_room(length, limits) {
                return Poll::Ready(());
            }
            self.load.wait(cx);
            Poll::Pending
        })
        .await;
    }

    fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        if self.load.is_idle() {
            return Poll::Ready(());
        }
        self.load.wait(cx);
        Poll::Pending
    }
}

/// The incoming side of a connection. Whoever stops reading, wherever that is, finds everything in here.
#[derive(Debug)]
pub(super) struct Reader<B> {
    pub(super) inlet: Inlet,
    pub(super) r: ReadHalf,
    /// A request whose payload is being received.
    pub(super) partial: Option<Partial<B>>,
}

impl<B: AsRef<[u8]>> Reader<B> {
    pub(super) fn new(inlet: Inlet, r: ReadHalf) -> Self {
        Reader { inlet, r, partial: None }
    }
}

/// How the transmission left its stream.
enum Left {
    Ended(Result<(), ServeEnd>),
    Parting,
}

/// Runs a connection from its first request until everything of it has ended.
pub(super) async fn transmit<D: Device>(
    mut reader: Reader<D::Buffer>,
    mut w: WriteHalf,
    mut agreed: Agreed<D>,
    shared: Rc<Shared<D::Buffer>>,
    limits: &Limits,
    closer: &Closer,
) -> Result<(), ServeEnd> {
    let outlet = shared.outlet.clone();
    let _cut = AbortOnDrop(&outlet);
    let left = {
        let mut pump = pin!(outlet.pump(&mut w));
        match talk(&mut reader, &mut agreed, &shared, limits, closer, pump.as_mut()).await {
            // Where it is to leave meanwhile nobody is there who would go on with it.
            Left::Ended(end) => {
                // What is under way may take as long as an outage; what never came whole needs no memory meanwhile.
                reader.partial = None;
                tokio::select! {
                    end = finish(end, &shared, limits, pump) => Left::Ended(end),
                    () = closer.when(|stage| stage == Stage::Parting) => Left::Ended(Ok(())),
                }
            }
            Left::Parting => {
                outlet.stop();
                match pump.await {
                    Ok(()) => Left::Parting,
                    Err(error) => Left::Ended(Err(ServeEnd::Lost(error))),
                }
            }
        }
    };
    match left {
        Left::Ended(end) => end,
        Left::Parting => {
            let unread = reader.partial;
            let unread = unread.map_or_else(Vec::new, |some| some.into_bytes(agreed.terms.dialect));
            let unread = [&unread, reader.inlet.bytes()].concat();
            let fd = Stream::rejoin(reader.r, w)?.into_fd()?;
            let Agreed { geometry, terms, device: _ } = agreed;
            let agreed = Agreement { connection: shared.number, terms, geometry };
            closer.leave(Parted { fd, agreed, unread, unsent: outlet.take_rest() });
            Ok(())
        }
    }
}

/// Requests in, replies out, for as long as nobody ends it.
async fn talk<D: Device>(
    reader: &mut Reader<D::Buffer>,
    agreed: &mut Agreed<D>,
    shared: &Rc<Shared<D::Buffer>>,
    limits: &Limits,
    closer: &Closer,
    mut pump: std::pin::Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> Left {
    let device = Rc::clone(&agreed.device);
    loop {
        match closer.stage() {
            // The reader goes first: what it answers in one turn is written behind it in one go.
            Stage::Open => tokio::select! {
                biased;
                () = closer.when(|stage| stage != Stage::Open) => {}
                end = receive(reader, agreed, shared, limits) => return Left::Ended(end),
                broken = pump.as_mut() => return Left::Ended(broken.map_err(ServeEnd::Lost)),
                end = stalled(shared, &*device, limits) => {
                    // Its buffers are let go at once, not when what is under way has ended. The pump says that it was ended.
                    shared.outlet.abort();
                    let _ = pump.as_mut().await;
                    return Left::Ended(Err(end));
                }
            },
            Stage::Quiet => tokio::select! {
                biased;
                () = closer.when(|stage| stage != Stage::Quiet) => {}
                broken = pump.as_mut() => return Left::Ended(broken.map_err(ServeEnd::Lost)),
            },
            Stage::Parting => return Left::Parting,
            Stage::Closed => return Left::Ended(Ok(())),
        }
    }
}

/// Answers still leave while the rest is waited for, unless the stream is already broken.
async fn finish<B: AsRef<[u8]>>(
    mut end: Result<(), ServeEnd>,
    shared: &Shared<B>,
    limits: &Limits,
    mut pump: std::pin::Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> Result<(), ServeEnd> {
    let outlet = &shared.outlet;
    let mut writing = outlet.is_open();
    poll_fn(|cx| {
        if writing && let Poll::Ready(broken) = pump.as_mut().poll(cx) {
            writing = false;
            if let (Err(error), Ok(())) = (broken, &end) {
                end = Err(ServeEnd::Lost(error));
            }
        }
        shared.poll_idle(cx)
    })
    .await;

    if writing && !matches!(end, Err(ServeEnd::Lost(_))) {
        outlet.finish();
        match tokio::time::timeout(limits.linger, pump).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => end = end.and(Err(ServeEnd::Lost(error))),
            Err(_) => end = end.and(Err(ServeEnd::Stuck(limits.linger))),
        }
    }
    end
}

struct AbortOnDrop<'a, B: AsRef<[u8]>>(&'a Outlet<B>);

impl<B: AsRef<[u8]>> Drop for AbortOnDrop<'_, B> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
