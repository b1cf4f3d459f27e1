//! The client's half on a stream: many requests at once over one connection.

mod pending;
mod receive;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use lull_transport::{Addr, DialError, Inlet, Outlet, ReadHalf, Stream, WriteHalf};
use tokio::io::AsyncWriteExt;

use super::constants::{cmd, cmd_flag};
use super::handshake::HandshakeError;
use super::handshake::client::{Client, Step};
use super::request::Request;
use super::{Errno, MAX_PAYLOAD, Uri};
use pending::{Answer, Kind, Pending};

pub use super::handshake::client::Export;

/// The receiving buffer's largest size in bytes.
const INLET: usize = 256 * 1024;

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server and we did not agree.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The stream broke during the handshake.
    #[error("the connection was lost during the handshake: {0}")]
    Lost(#[from] io::Error),
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server answered with an error.
    #[error("the server answered: {0}")]
    Answered(#[from] Errno),
    /// The connection ended before the answer came; whether the request was carried out is unknown.
    #[error("the connection was lost: {0}")]
    Lost(Rc<str>),
    /// The server does not offer this, so nothing was sent.
    #[error("the server does not offer {0}")]
    NotOffered(&'static str),
    /// More bytes than one request may have, so nothing was sent.
    #[error("a request for {length} bytes, where the server takes {most}")]
    TooLong {
        /// Bytes of the request.
        length: usize,
        /// What the server takes.
        most: u32,
    },
}

/// A connection to an export. All clones are one connection, on which any number of requests may be
/// under way. It is told good-bye when the last clone is dropped.
///
/// `B` is the memory that requests use: filled in place by reads, sent from by writes.
#[derive(Debug)]
pub struct Connection<B: AsRef<[u8]> + AsMut<[u8]> + 'static = Vec<u8>> {
    shared: Rc<Shared<B>>,
    _leave: Rc<LeaveOnDrop<B>>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Clone for Connection<B> {
    fn clone(&self) -> Self {
        Connection { shared: Rc::clone(&self.shared), _leave: Rc::clone(&self._leave) }
    }
}

#[derive(Debug)]
struct Shared<B: AsRef<[u8]>> {
    export: Export,
    outlet: Outlet<B>,
    pending: RefCell<Pending<B>>,
    /// Whoever waits for the end of the connection.
    mourners: RefCell<Vec<Waker>>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Connection<B> {
    /// Dials the server and opens the export. It has no time limit of its own. Must be called
    /// within a tokio `LocalSet` or local runtime, where the connection's task then lives.
    pub async fn connect(uri: &Uri) -> Result<Self, ConnectError> {
        let stream = Stream::dial(&uri.addr).await?;
        Connection::over(stream, &uri.export).await
    }

    /// The same over a stream that is there already.
    pub async fn over(stream: Stream, export: &str) -> Result<Self, ConnectError> {
        let (mut r, mut w) = stream.into_split();
        let mut inlet = Inlet::with_capacity(INLET);
        let step = negotiate(Client::new(export), &mut inlet, &mut r, &mut w).await?;
        let Step::Done(export) = step else {
            unreachable!("a client that does not list ends with an export");
        };
        let shared = Rc::new(Shared {
            export,
            outlet: Outlet::new(),
            pending: RefCell::new(Pending::new()),
            mourners: RefCell::new(Vec::new()),
        });
        tokio::task::spawn_local(run(Rc::clone(&shared), inlet, r, w));
        Ok(Connection { _leave: Rc::new(LeaveOnDrop(Rc::clone(&shared))), shared })
    }

    /// What the server said about the export.
    pub fn export(&self) -> &Export {
        &self.shared.export
    }

    /// Reads `buffer.as_ref().len()` bytes at `offset` into `buffer`.
    pub async fn read(&self, offset: u64, buffer: B) -> Result<B, RequestError> {
        match self.fetch(offset, buffer).await {
            (Ok(()), Some(buffer)) => Ok(buffer),
            (Ok(()), None) => unreachable!("a read keeps its buffer until it is answered"),
            (Err(error), _) => Err(error),
        }
    }

    /// The same for memory that is needed again where the read fails: `buffer` has it back when
    /// this ends, and an empty one meanwhile.
    pub async fn fill(&self, offset: u64, buffer: &mut B) -> Result<(), RequestError>
    where
        B: Default,
    {
        let (result, back) = self.fetch(offset, std::mem::take(buffer)).await;
        *buffer = back.unwrap_or_default();
        result
    }

    async fn fetch(&self, offset: u64, buffer: B) -> (Result<(), RequestError>, Option<B>) {
        let length = match self.check_length(buffer.as_ref().len()) {
            Ok(length) => length,
            Err(error) => return (Err(error), Some(buffer)),
        };
        if let Some(why) = self.shared.pending.borrow().dead() {
            return (Err(RequestError::Lost(why)), Some(buffer));
        }
        match self.ask(cmd::READ, 0, offset, length, Kind::Read { offset, length, buffer }) {
            Ok(answer) => answer.await,
            Err(error) => (Err(error), None),
        }
    }

    /// Writes `payload` at `offset`; with `fua` it is on stable storage before this ends.
    pub async fn write(&self, offset: u64, payload: B, fua: bool) -> Result<(), RequestError> {
        let length = self.check_length(payload.as_ref().len())?;
        let flags = self.fua(fua)?;
        let (request, answer) = self.prepare(cmd::WRITE, flags, offset, length, Kind::Plain)?;
        self.shared.outlet.push_frame(&request.encode(), payload);
        answer.await.0
    }

    /// Everything that was answered before this was asked is on stable storage when this ends.
    pub async fn flush(&self) -> Result<(), RequestError> {
        if !self.export().can_flush() {
            return Err(RequestError::NotOffered("flushing"));
        }
        self.ask(cmd::FLUSH, 0, 0, 0, Kind::Plain)?.await.0
    }

    /// Says that the content of a range is no longer needed.
    pub async fn trim(&self, offset: u64, length: u32) -> Result<(), RequestError> {
        if !self.export().can_trim() {
            return Err(RequestError::NotOffered("discarding"));
        }
        self.ask(cmd::TRIM, 0, offset, length, Kind::Plain)?.await.0
    }

    /// Makes a range read as zeroes, without freeing it where it is to stay allocated.
    pub async fn write_zeroes(
        &self,
        offset: u64,
        length: u32,
        fua: bool,
        keep_allocated: bool,
    ) -> Result<(), RequestError> {
        if !self.export().can_write_zeroes() {
            return Err(RequestError::NotOffered("writing zeroes"));
        }
        let no_hole = if keep_allocated { cmd_flag::NO_HOLE } else { 0 };
        let flags = self.fua(fua)? | no_hole;
        self.ask(cmd::WRITE_ZEROES, flags, offset, length, Kind::Plain)?.await.0
    }

    /// Ends when the connection has, with the reason.
    pub async fn ended(&self) -> Rc<str> {
        poll_fn(|cx| match self.shared.pending.borrow().dead() {
            Some(why) => Poll::Ready(why),
            None => {
                let mut mourners = self.shared.mourners.borrow_mut();
                mourners.retain(|waker| !waker.will_wake(cx.waker()));
                mourners.push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Ends the connection at once, without a word to the server. Requests under way are lost.
    pub fn abort(&self, why: &str) {
        self.shared.pending.borrow_mut().doom(why);
        self.shared.outlet.abort();
    }

    /// Takes leave of the server and waits until that is sent. Requests under way are lost.
    pub async fn disconnect(self) {
        self.shared.leave();
        self.ended().await;
    }

    fn check_length(&self, length: usize) -> Result<u32, RequestError> {
        let most = self.export().max_length.min(MAX_PAYLOAD);
        match u32::try_from(length) {
            Ok(short) if short <= most => Ok(short),
            _ => Err(RequestError::TooLong { length, most }),
        }
    }

    fn fua(&self, fua: bool) -> Result<u16, RequestError> {
        match fua {
            false => Ok(0),
            true if self.export().can_fua() => Ok(cmd_flag::FUA),
            true => Err(RequestError::NotOffered("durable writes")),
        }
    }

    fn prepare(
        &self,
        command: u16,
        flags: u16,
        offset: u64,
        length: u32,
        kind: Kind<B>,
    ) -> Result<(Request, Answer<'_, B>), RequestError> {
        let cookie = self.shared.pending.borrow_mut().begin(kind)?;
        let request = Request { flags, command, cookie, offset, length: length.into() };
        Ok((request, Answer::new(&self.shared.pending, cookie)))
    }

    fn ask(
        &self,
        command: u16,
        flags: u16,
        offset: u64,
        length: u32,
        kind: Kind<B>,
    ) -> Result<Answer<'_, B>, RequestError> {
        let (request, answer) = self.prepare(command, flags, offset, length, kind)?;
        self.shared.outlet.push_bytes(&request.encode());
        Ok(answer)
    }
}

/// The names that a server lists.
pub async fn list(addr: &Addr) -> Result<Vec<String>, ConnectError> {
    let (mut r, mut w) = Stream::dial(addr).await?.into_split();
    let mut inlet = Inlet::with_capacity(INLET);
    match negotiate(Client::list(), &mut inlet, &mut r, &mut w).await? {
        Step::Listed(names) => Ok(names),
        _ => unreachable!("a client that lists ends with a list"),
    }
}

async fn negotiate(
    mut client: Client,
    inlet: &mut Inlet,
    r: &mut ReadHalf,
    w: &mut WriteHalf,
) -> Result<Step, ConnectError> {
    let mut out = Vec::new();
    loop {
        let (used, step) = client.receive(inlet.bytes(), &mut out)?;
        inlet.consume(used);
        if !out.is_empty() {
            w.write_all(&out).await?;
            out.clear();
        }
        match step {
            Step::Went => {}
            Step::More => {
                if inlet.fill(r).await? == 0 {
                    return Err(ConnectError::Lost(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            done => return Ok(done),
        }
    }
}

/// The connection's task: replies in, requests out, until one of them ends.
async fn run<B: AsRef<[u8]> + AsMut<[u8]>>(
    shared: Rc<Shared<B>>,
    inlet: Inlet,
    r: ReadHalf,
    mut w: WriteHalf,
) {
    let ending = EndOnDrop(&shared);
    let why = {
        let mut pump = pin!(shared.outlet.pump(&mut w));
        tokio::select! {
            biased;
            lost = receive::receive(inlet, r, &shared) => lost.to_string(),
            ended = pump.as_mut() => match ended {
                Ok(()) => "it was closed by this side".into(),
                Err(error) => error.to_string(),
            },
        }
    };
    ending.end(why.into());
}

impl<B: AsRef<[u8]>> Shared<B> {
    fn leave(&self) {
        let request = Request { flags: 0, command: cmd::DISC, cookie: 0, offset: 0, length: 0 };
        self.outlet.push_bytes(&request.encode());
        self.outlet.finish();
    }
}

#[derive(Debug)]
struct LeaveOnDrop<B: AsRef<[u8]>>(Rc<Shared<B>>);

impl<B: AsRef<[u8]>> Drop for LeaveOnDrop<B> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Nobody waits for an answer that can no longer come, even where the task is dropped.
struct EndOnDrop<'a, B: AsRef<[u8]>>(&'a Shared<B>);

impl<B: AsRef<[u8]>> EndOnDrop<'_, B> {
    fn end(&self, why: Rc<str>) {
        let wakers = self.0.pending.borrow_mut().die(why);
        self.0.outlet.abort();
        let mourners = self.0.mourners.take();
        wakers.into_iter().chain(mourners).for_each(Waker::wake);
    }
}

impl<B: AsRef<[u8]>> Drop for EndOnDrop<'_, B> {
    fn drop(&mut self) {
        self.end("its task was dropped".into());
    }
}
