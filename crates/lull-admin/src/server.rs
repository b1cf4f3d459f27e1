//! HTTP on the admin socket, translated into calls for the daemon's loop and back.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::call::{Call, Reply};
use crate::documents::{DecisionOrder, Done, EvictOrder, Evicted};
use crate::error::{ApiError, ErrorCode};
use crate::event::{Event, EventFeed, EventPosition};
use crate::listen::AdminListener;
use crate::metrics;
use crate::restart::{Decision, PauseOrder, RestartOrder};

/// The longest body of a request; a longer one is refused.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// How long a stopped server waits for answers under way before it drops their connections.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Events on their way to one subscriber; when it reads no more, the broadcast's ring takes over.
const EVENTS_AHEAD: usize = 16;

/// A server that runs beside the daemon's loop.
#[derive(Debug)]
pub struct AdminServer {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl AdminServer {
    /// Takes no more connections, ends the event streams, lets answers under way finish for a
    /// moment, and ends. The socket's name stays, for a successor or [`AdminListener::unlink`].
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Serves on `listener` until stopped; every request becomes one call.
///
/// Must be called inside a tokio runtime. The daemon's loop owns the other end of `calls`.
///
/// # Errors
/// Where the system refuses to make the socket non-blocking or to watch it.
pub fn serve(listener: AdminListener, calls: mpsc::Sender<Call>) -> std::io::Result<AdminServer> {
    listener.socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixListener::from_std(listener.socket)?;
    let (stop, stopped) = watch::channel(false);
    let app = routes(Api { calls, stopped: stopped.clone() });
    let task = tokio::spawn(async move {
        let until = wait_for_stop(stopped);
        // It has no errors of its own: those of accept are retried inside.
        let _ = axum::serve(socket, app).with_graceful_shutdown(until).await;
    });
    Ok(AdminServer { stop, task })
}

async fn wait_for_stop(mut stopped: watch::Receiver<bool>) {
    // An error means that the server's handle is gone, which is a stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

#[derive(Clone)]
struct Api {
    calls: mpsc::Sender<Call>,
    stopped: watch::Receiver<bool>,
}

impl Api {
    /// Puts a call to the daemon's loop and waits for its answer.
    async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(call(reply)).await.map_err(|_| going_away())?;
        answer.await.unwrap_or_else(|_| Err(going_away()))
    }
}

fn going_away() -> ApiError {
    ApiError::new(
        ErrorCode::GoingAway,
        "the daemon is on its way out and answers no more calls",
        "ask again when its successor serves",
    )
}

fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics))
        .route("/v1/restart", post(restart))
        .route("/v1/restart/{id}/decision", post(decide))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/abort", post(abort))
        .route("/v1/attachments/{name}/detach", post(detach))
        .route("/v1/evict", post(evict))
        .route("/v1/history", get(histories))
        .route("/v1/history/{id}", get(history))
        .route("/v1/events", get(events))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(api)
}

/// A body as it came, or the reason why it could not be read.
type Body = Result<Bytes, BytesRejection>;

async fn status(State(api): State<Api>) -> Response {
    answer(api.ask(|reply| Call::Status { reply }).await)
}

async fn metrics(State(api): State<Api>) -> Response {
    let status = match api.ask(|reply| Call::Status { reply }).await {
        Ok(status) => status,
        Err(error) => return error.into_response(),
    };
    match metrics::render(&status) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn restart(State(api): State<Api>, body: Body) -> Response {
    match parse(body).and_then(|order: RestartOrder| order.check().map(|()| order)) {
        Ok(order) => answer(api.ask(|reply| Call::Restart { order, reply }).await),
        Err(error) => error.into_response(),
    }
}

async fn decide(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Response {
    match restart_number(&id).and_then(|id| Ok((id, decision(body)?))) {
        Ok((id, decision)) => done(api.ask(|reply| Call::Decide { id, decision, reply }).await),
        Err(error) => error.into_response(),
    }
}

fn decision(body: Body) -> Result<Decision, ApiError> {
    match parse::<DecisionOrder>(body)?.decision {
        Decision::Unknown => Err(ApiError::new(
            ErrorCode::BadRequest,
            "a decision is wait, proceed or abort",
            "correct the request and send it again",
        )),
        decision => Ok(decision),
    }
}

async fn pause(State(api): State<Api>, body: Body) -> Response {
    match parse(body).and_then(|order: PauseOrder| order.check().map(|()| order)) {
        Ok(order) => answer(api.ask(|reply| Call::Pause { order, reply }).await),
        Err(error) => error.into_response(),
    }
}

async fn resume(State(api): State<Api>) -> Response {
    answer(api.ask(|reply| Call::Resume { reply }).await)
}

async fn abort(State(api): State<Api>) -> Response {
    answer(api.ask(|reply| Call::Abort { reply }).await)
}

async fn detach(State(api): State<Api>, Path(name): Path<String>) -> Response {
    done(api.ask(|reply| Call::Detach { name, reply }).await)
}

async fn evict(State(api): State<Api>, body: Body) -> Response {
    match parse::<EvictOrder>(body) {
        Ok(EvictOrder { name, resource, force }) => {
            let ended = api.ask(|reply| Call::Evict { name, resource, force, reply }).await;
            answer(ended.map(|lost| Evicted { lost }))
        }
        Err(error) => error.into_response(),
    }
}

async fn histories(State(api): State<Api>) -> Response {
    answer(api.ask(|reply| Call::Histories { reply }).await)
}

async fn history(State(api): State<Api>, Path(id): Path<String>) -> Response {
    match restart_number(&id) {
        Ok(id) => answer(api.ask(|reply| Call::History { id, reply }).await),
        Err(error) => error.into_response(),
    }
}

async fn events(State(api): State<Api>, headers: HeaderMap) -> Response {
    let after = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(EventPosition::parse);
    match api.ask(|reply| Call::Events { after, reply }).await {
        Ok(feed) => {
            let (to, from) = mpsc::channel(EVENTS_AHEAD);
            tokio::spawn(forward(feed, to, api.stopped));
            Sse::new(ReceiverStream::new(from)).keep_alive(KeepAlive::default()).into_response()
        }
        Err(error) => error.into_response(),
    }
}

async fn no_such_path(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("no such call: {method} {}", uri.path()),
        "see the list of calls in the documentation; this daemon may be of an older release",
    )
}

type SseItem = Result<SseEvent, Infallible>;

/// Feeds one subscriber until it leaves, the daemon ends the stream, or the server stops; what was
/// told before a stop is still delivered.
async fn forward(feed: EventFeed, to: mpsc::Sender<SseItem>, stopped: watch::Receiver<bool>) {
    let EventFeed { recent, mut live } = feed;
    let flow = async {
        for event in recent {
            to.send(Ok(sse(&event))).await.ok()?;
        }
        to.send(Ok(SseEvent::default().event("caught_up").data(""))).await.ok()?;
        let stop = wait_for_stop(stopped);
        tokio::pin!(stop);
        loop {
            let next = tokio::select! {
                biased;
                next = live.recv() => next,
                () = &mut stop => Err(RecvError::Closed),
            };
            let next = match next {
                Ok(event) => sse(&event),
                Err(RecvError::Lagged(missed)) => {
                    SseEvent::default().event("missed").data(missed.to_string())
                }
                Err(RecvError::Closed) => return Some(()),
            };
            to.send(Ok(next)).await.ok()?;
        }
    };
    tokio::select! {
        _ = flow => {}
        () = to.closed() => {}
    }
}

fn sse(event: &Event) -> SseEvent {
    let position = EventPosition { instance: event.instance.clone(), seq: event.seq };
    // The id of a stream may not hold line ends; a life's name is hexadecimal, but be sure.
    let id = position.to_string().replace(['\r', '\n', '\0'], " ");
    let data = serde_json::to_string(event).unwrap_or_default();
    SseEvent::default().id(id).data(data)
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bad = |message: String| {
        ApiError::new(ErrorCode::BadRequest, message, "correct the request and send it again")
    };
    let bytes = body.map_err(|rejection| bad(format!("unreadable body: {rejection}")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("not what this call takes: {error}")))
}

fn restart_number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        ApiError::new(
            ErrorCode::BadRequest,
            format!("`{text}` is not the number of a restart"),
            "see `lull history` for the numbers",
        )
    })
}

fn done(result: Result<(), ApiError>) -> Response {
    answer(result.map(|()| Done {}))
}

fn answer<T: Serialize>(result: Result<T, ApiError>) -> Response {
    match result {
        Ok(document) => json(StatusCode::OK, &document),
        Err(error) => error.into_response(),
    }
}

fn json<T: Serialize>(status: StatusCode, document: &T) -> Response {
    match serde_json::to_vec(document) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status());
        json(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &self)
    }
}
