//! The calls of a daemon, from the other side of its admin socket.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::address::AdminAddr;
use crate::documents::{DecisionOrder, Done, EvictOrder, Evicted};
use crate::error::{ApiError, ErrorCode};
use crate::event::EventPosition;
use crate::record::RestartRecord;
use crate::restart::{Decision, GivenUp, PauseOrder, RestartOrder, RestartStarted};
use crate::status::Status;
use crate::stream::EventStream;

/// The longest answer that is read; a longer one is an error.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How long a daemon may take for an answer that it can give at once.
const PROMPT: Duration = Duration::from_secs(10);

/// How long it may take for one that needs a flush first.
const PATIENT: Duration = Duration::from_secs(600);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no daemon at {addr}: {source}\n  next: start it (`lull target …`, `lull attach …`), or say where it is with --admin"
    )]
    NotThere {
        /// Where it was sought.
        addr: AdminAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is another user's.
    #[error(
        "may not talk to the daemon at {addr}: {source}\n  next: do this as the user that runs the daemon"
    )]
    NotAllowed {
        /// Where it was sought.
        addr: AdminAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It accepts connections and says nothing.
    #[error("the daemon at {addr} does not answer (waited {} s)\n  next: see whether its process is stopped or overloaded", waited.as_secs())]
    Silent {
        /// Where it is.
        addr: AdminAddr,
        /// For how long.
        waited: Duration,
    },
    /// It went away in the middle of the call, as it does when a successor takes over.
    #[error("the daemon at {addr} went away before it answered\n  next: ask again")]
    Gone {
        /// Where it was.
        addr: AdminAddr,
    },
    /// What answers there is no daemon of ours.
    #[error(
        "what answers at {addr} is not understood: {what}\n  next: see that --admin names the socket of a Lull daemon"
    )]
    NotUnderstood {
        /// Where.
        addr: AdminAddr,
        /// What was wrong with the answer.
        what: String,
    },
    /// The daemon refused or failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl ClientError {
    /// Whether no daemon could be reached, rather than one that refused.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::NotThere { .. } | Self::NotAllowed { .. } => true,
            Self::Silent { .. } | Self::Gone { .. } => true,
            Self::Api(error) => error.code == ErrorCode::GoingAway,
            Self::NotUnderstood { .. } => false,
        }
    }

    /// Whether the same call may succeed in a moment because daemons are changing places.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotThere { .. } | Self::Silent { .. } | Self::Gone { .. } => true,
            Self::Api(error) => error.code == ErrorCode::GoingAway,
            Self::NotAllowed { .. } | Self::NotUnderstood { .. } => false,
        }
    }
}

/// A daemon by its address; each call makes a connection of its own, so that a successor on the
/// same address is found by the next call.
#[derive(Clone, Debug)]
pub struct Client {
    addr: AdminAddr,
}

impl Client {
    /// The daemon at `addr`, which is there at this moment.
    pub async fn connect(addr: AdminAddr) -> Result<Self, ClientError> {
        let client = Self::at(addr);
        client.dial().await?;
        Ok(client)
    }

    /// The daemon at `addr`, whether it is there or not.
    pub fn at(addr: AdminAddr) -> Self {
        Self { addr }
    }

    /// Where the daemon is.
    pub fn addr(&self) -> &AdminAddr {
        &self.addr
    }

    /// The daemon's state.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Orders a restart.
    pub async fn restart(&self, order: &RestartOrder) -> Result<RestartStarted, ClientError> {
        self.post("/v1/restart", order, PROMPT).await
    }

    /// Answers the question of restart `id`.
    pub async fn decide(&self, id: u64, decision: Decision) -> Result<(), ClientError> {
        let order = DecisionOrder { decision };
        let done: Done = self.post(&format!("/v1/restart/{id}/decision"), &order, PROMPT).await?;
        let Done {} = done;
        Ok(())
    }

    /// Orders a pause for a restart that something else performs.
    pub async fn pause(&self, order: &PauseOrder) -> Result<RestartStarted, ClientError> {
        self.post("/v1/pause", order, PROMPT).await
    }

    /// Ends such a pause.
    pub async fn resume(&self) -> Result<GivenUp, ClientError> {
        self.post("/v1/resume", &Done {}, PROMPT).await
    }

    /// Gives up the restart or pause that is under way.
    pub async fn abort(&self) -> Result<GivenUp, ClientError> {
        self.post("/v1/abort", &Done {}, PROMPT).await
    }

    /// Ends the attachment `name` after a flush.
    pub async fn detach(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/v1/attachments/{}/detach", PathSegment(name));
        let Done {} = self.post(&path, &Done {}, PATIENT).await?;
        Ok(())
    }

    /// Ends the reservation of a lost initiator, with `force` that of a connected one too; says what was declared
    /// lost.
    pub async fn evict(
        &self,
        name: &str,
        resource: Option<&str>,
        force: bool,
    ) -> Result<Vec<String>, ClientError> {
        let order = EvictOrder { name: name.into(), resource: resource.map(Into::into), force };
        let Evicted { lost } = self.post("/v1/evict", &order, PROMPT).await?;
        Ok(lost)
    }

    /// All records, the newest last, without transitions and messages.
    pub async fn histories(&self) -> Result<Vec<RestartRecord>, ClientError> {
        self.get("/v1/history").await
    }

    /// The whole record of restart `id`.
    pub async fn history(&self, id: u64) -> Result<RestartRecord, ClientError> {
        self.get(&format!("/v1/history/{id}")).await
    }

    /// The stream of events after `after`.
    pub async fn events(&self, after: Option<&EventPosition>) -> Result<EventStream, ClientError> {
        let mut request = Request::get("/v1/events").header("host", "lull");
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let request = request.body(Full::default()).map_err(|error| self.odd(error))?;
        let response = self.in_time(PROMPT, self.send(request)).await?;
        if response.status() == StatusCode::OK {
            return Ok(EventStream::new(response.into_body()));
        }
        Err(self.refusal(response).await)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = Request::get(path).header("host", "lull").body(Full::default());
        self.call(request.map_err(|error| self.odd(error))?, PROMPT).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        document: &impl Serialize,
        within: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(document).map_err(|error| self.odd(error))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "lull")
            .header("content-type", "application/json")
            .body(Full::from(body));
        self.call(request.map_err(|error| self.odd(error))?, within).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<T, ClientError> {
        let exchange = async {
            let response = self.send(request).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response).await);
            }
            let body = self.read(response).await?;
            serde_json::from_slice(&body).map_err(|error| self.odd(error))
        };
        self.in_time(within, exchange).await
    }

    async fn in_time<T>(
        &self,
        within: Duration,
        exchange: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| {
            Err(ClientError::Silent { addr: self.addr.clone(), waited: within })
        })
    }

    async fn dial(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(self.addr.path()).await.map_err(|source| {
            let addr = self.addr.clone();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { addr, source },
                _ => ClientError::NotThere { addr, source },
            }
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let stream = self.dial().await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(&error))?;
        // The connection lives as long as somebody reads from it; its errors come out there.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        match body {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => match error.downcast_ref::<hyper::Error>() {
                Some(_) => Err(ClientError::Gone { addr: self.addr.clone() }),
                None => Err(self.odd(error)),
            },
        }
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        match self.read(response).await {
            Ok(body) => match serde_json::from_slice::<ApiError>(&body) {
                Ok(error) if !error.message.is_empty() => ClientError::Api(error),
                _ => self.odd(format!("HTTP status {status}")),
            },
            Err(error) => error,
        }
    }

    fn broken(&self, error: &hyper::Error) -> ClientError {
        if error.is_parse() {
            return self.odd(error);
        }
        ClientError::Gone { addr: self.addr.clone() }
    }

    fn odd(&self, what: impl std::fmt::Display) -> ClientError {
        ClientError::NotUnderstood { addr: self.addr.clone(), what: what.to_string() }
    }
}

/// A name as one segment of a path.
struct PathSegment<'a>(&'a str);

impl std::fmt::Display for PathSegment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}
