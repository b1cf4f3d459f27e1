//! Server and client over a real unix socket, with a loop that stands for a daemon's.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use lull_admin::{
    AdminAddr, AdminListener, AdminServer, ApiError, Call, Client, ClientError, Decision,
    ErrorCode, Event, EventItem, EventLog, EventPosition, GivenUp, ListenError, MAX_REQUEST_BYTES,
    OnPauseTimeout, PauseOrder, RestartKind, RestartOrder, RestartRecord, RestartStarted, Status,
    TargetStatus, serve,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A daemon that does nothing but answer: what it was told stands in the answers.
struct FakeDaemon {
    events: EventLog,
    restarted: Option<RestartOrder>,
}

impl FakeDaemon {
    fn start(instance: &str, mut calls: mpsc::Receiver<Call>) -> JoinHandle<()> {
        let events = EventLog::new("store-1", instance);
        let mut daemon = Self { events, restarted: None };
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                daemon.answer(call);
            }
        })
    }

    fn answer(&mut self, call: Call) {
        match call {
            Call::Status { reply } => {
                let target = Some(TargetStatus { name: "store-1".into(), ..Default::default() });
                let _ =
                    reply.send(Ok(Status { name: "store-1".into(), target, ..Default::default() }));
            }
            Call::Restart { order, reply } => {
                self.events
                    .record(Event::new(5, "store-1", "pausing", &*order.reason).in_restart(7));
                self.restarted = Some(order);
                let _ = reply.send(Ok(RestartStarted { id: 7, initiators: vec!["web-1".into()] }));
            }
            Call::Pause { order, reply } => {
                let _ = reply.send(Ok(RestartStarted { id: 8, initiators: vec![order.reason] }));
            }
            Call::Decide { id: 7, decision: Decision::Proceed, reply } => {
                let _ = reply.send(Ok(()));
            }
            Call::Decide { reply, .. } => {
                let error =
                    ApiError::new(ErrorCode::Conflict, "no such question", "look at status");
                let _ = reply.send(Err(error));
            }
            Call::Resume { reply } => _ = reply.send(Ok(GivenUp::default())),
            Call::Abort { reply } => {
                let outside = Some("the host goes".to_owned());
                let _ = reply.send(Ok(GivenUp { outside }));
            }
            Call::Detach { name, reply } => {
                let error =
                    ApiError::new(ErrorCode::NotFound, format!("no `{name}`"), "see status");
                let _ = reply.send(Err(error));
            }
            Call::Evict { name, resource, force, reply } => {
                let _ = reply.send(Ok(vec![format!("{name} {resource:?} {force}")]));
            }
            Call::Histories { reply } => {
                let _ = reply.send(Ok(vec![RestartRecord { id: 7, ..Default::default() }]));
            }
            // A reply that is dropped: the daemon goes away.
            Call::History { id: 404, reply } => drop(reply),
            Call::History { id, reply } => {
                let reason = self.restarted.as_ref().map(|order| order.reason.clone());
                let reason = reason.unwrap_or_default();
                let _ = reply.send(Ok(RestartRecord { id, reason, ..Default::default() }));
            }
            Call::Events { after, reply } => {
                let _ = reply.send(Ok(self.events.feed(after.as_ref())));
            }
        }
    }
}

fn start(listener: AdminListener, instance: &str) -> (AdminServer, JoinHandle<()>) {
    let (to_loop, calls) = mpsc::channel(lull_admin::CALLS_QUEUED);
    let daemon = FakeDaemon::start(instance, calls);
    (serve(listener, to_loop).unwrap(), daemon)
}

fn addr(dir: &tempfile::TempDir) -> AdminAddr {
    AdminAddr::unix(dir.path().join("run/admin.sock"))
}

fn api_error(error: ClientError) -> ApiError {
    match error {
        ClientError::Api(error) => error,
        other => panic!("not an answer of the daemon: {other}"),
    }
}

#[tokio::test]
async fn every_call_arrives_and_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let listener = AdminListener::bind(&addr(&dir)).unwrap();
    let (server, _daemon) = start(listener, "aa");
    let client = Client::connect(addr(&dir)).await.unwrap();

    assert_eq!(client.status().await.unwrap().target.unwrap().name, "store-1");
    let order = RestartOrder {
        kind: RestartKind::Exec,
        command: Some("true".into()),
        reason: "new kernel".into(),
        on_pause_timeout: Some(OnPauseTimeout::Ask),
        interactive: true,
        ..Default::default()
    };
    let started = client.restart(&order).await.unwrap();
    assert_eq!(started, RestartStarted { id: 7, initiators: vec!["web-1".into()] });
    assert_eq!(client.history(7).await.unwrap().reason, "new kernel");
    client.decide(7, Decision::Proceed).await.unwrap();
    let error = api_error(client.decide(7, Decision::Wait).await.unwrap_err());
    assert_eq!((error.code, &*error.message), (ErrorCode::Conflict, "no such question"));
    let pause = PauseOrder { reason: "by hand".into(), ..Default::default() };
    assert_eq!(client.pause(&pause).await.unwrap().initiators, ["by hand"]);
    assert_eq!(client.resume().await.unwrap(), GivenUp::default());
    assert_eq!(client.abort().await.unwrap().outside.as_deref(), Some("the host goes"));
    let error = api_error(client.detach("a/b c?%").await.unwrap_err());
    assert_eq!((error.code, &*error.message), (ErrorCode::NotFound, "no `a/b c?%`"));
    assert_eq!(
        client.evict("web-2", Some("db1"), true).await.unwrap(),
        ["web-2 Some(\"db1\") true"]
    );
    assert_eq!(client.histories().await.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_before_the_daemon_sees_them() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _daemon) = start(AdminListener::bind(&addr(&dir)).unwrap(), "aa");
    let client = Client::at(addr(&dir));
    for (kind, command) in [
        (RestartKind::Exec, None),
        (RestartKind::Stop, Some("true".to_owned())),
        (RestartKind::Unknown, None),
        (RestartKind::Pause, None),
    ] {
        let order = RestartOrder { kind, command, ..Default::default() };
        let error = api_error(client.restart(&order).await.unwrap_err());
        assert_eq!(error.code, ErrorCode::BadRequest, "{kind}");
    }
    let error = api_error(client.decide(7, Decision::Unknown).await.unwrap_err());
    assert_eq!(error.code, ErrorCode::BadRequest);
    server.stop().await;
}

#[tokio::test]
async fn the_event_stream_goes_on_where_the_reader_was() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _daemon) = start(AdminListener::bind(&addr(&dir)).unwrap(), "aa");
    let client = Client::at(addr(&dir));
    let mut early = client.events(None).await.unwrap();
    assert_eq!(early.next().await, Some(EventItem::CaughtUp));
    for reason in ["first", "second"] {
        let order = RestartOrder { reason: reason.into(), ..Default::default() };
        client.restart(&order).await.unwrap();
    }
    let text = |item: Option<EventItem>| match item {
        Some(EventItem::Event(event)) => format!("{}:{} {event}", event.instance, event.seq),
        other => panic!("not an event: {other:?}"),
    };
    assert_eq!(text(early.next().await), "aa:1 store-1: first");
    assert_eq!(text(early.next().await), "aa:2 store-1: second");

    let seen = EventPosition { instance: "aa".into(), seq: 1 };
    let mut late = client.events(Some(&seen)).await.unwrap();
    assert_eq!(text(late.next().await), "aa:2 store-1: second");
    assert_eq!(late.next().await, Some(EventItem::CaughtUp));

    // Of another life everything is news.
    let other = EventPosition { instance: "bb".into(), seq: 9 };
    let mut fresh = client.events(Some(&other)).await.unwrap();
    assert_eq!(text(fresh.next().await), "aa:1 store-1: first");

    server.stop().await;
    assert_eq!(late.next().await, None, "a stopped server ends its streams");
}

#[tokio::test]
async fn a_successor_answers_on_the_socket_of_its_predecessor() {
    let dir = tempfile::tempdir().unwrap();
    let listener = AdminListener::bind(&addr(&dir)).unwrap();
    let passed = std::os::fd::OwnedFd::from(listener.try_clone().unwrap());
    let (server, daemon) = start(listener, "aa");
    let client = Client::connect(addr(&dir)).await.unwrap();
    client.restart(&RestartOrder::default()).await.unwrap();
    server.stop().await;
    daemon.abort();

    // Nobody takes calls now, but none is refused: they wait for the successor.
    let between = tokio::spawn({
        let client = client.clone();
        async move { client.status().await }
    });
    let inherited = AdminListener::from_fd(passed).unwrap();
    assert_eq!(inherited.addr(), addr(&dir));
    let (server, _daemon) = start(inherited, "bb");
    assert_eq!(between.await.unwrap().unwrap().name, "store-1");
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_the_daemon_drops_is_going_away() {
    let dir = tempfile::tempdir().unwrap();
    let (server, daemon) = start(AdminListener::bind(&addr(&dir)).unwrap(), "aa");
    let client = Client::at(addr(&dir));
    let dropped = client.history(404).await.unwrap_err();
    assert!(dropped.is_unreachable() && dropped.is_passing(), "{dropped}");
    daemon.abort();
    let _ = daemon.await;
    let error = client.status().await.unwrap_err();
    assert!(error.is_unreachable() && error.is_passing(), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::connect(addr(&dir)).await.unwrap_err();
    assert!(matches!(error, ClientError::NotThere { .. }));
    assert!(error.is_unreachable());
    assert!(error.to_string().contains("next: start it"), "{error}");
}

#[tokio::test]
async fn only_the_owner_may_connect_and_only_one_daemon_may_listen() {
    let dir = tempfile::tempdir().unwrap();
    let addr = addr(&dir);
    let listener = AdminListener::bind(&addr).unwrap();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(addr.path()), 0o600);
    assert_eq!(mode(addr.path().parent().unwrap()), 0o700);
    assert!(matches!(AdminListener::bind(&addr), Err(ListenError::InUse(_))));
    // What a killed daemon leaves behind is in nobody's way.
    drop(listener);
    let listener = AdminListener::bind(&addr).unwrap();
    listener.unlink().unwrap();
    std::fs::write(addr.path(), "precious").unwrap();
    assert!(matches!(AdminListener::bind(&addr), Err(ListenError::NotASocket(_))));
}

/// Sends bytes and gives back what came until the server closed.
async fn raw(addr: &AdminAddr, request: Vec<u8>) -> String {
    let path = addr.path().to_owned();
    let exchange = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        // The server may close before it has taken everything.
        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    exchange.await.unwrap()
}

#[tokio::test]
async fn requests_that_are_none_are_refused_with_a_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _daemon) = start(AdminListener::bind(&addr(&dir)).unwrap(), "aa");
    let post = |path: &str, body: &str| {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
    };
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(MAX_REQUEST_BYTES));
    for (request, expected) in [
        (post("/v1/restart", "not json"), "400 Bad Request"),
        (post("/v1/restart", "{\"knid\":\"stop\"}"), "unknown field `knid`"),
        (post("/v1/restart", &long), "length limit exceeded"),
        (post("/v1/restart/x/decision", "{\"decision\":\"wait\"}"), "not the number of a restart"),
        (post("/v1/status", ""), "no such call: POST /v1/status"),
        (post("/v2/anything", ""), "no such call: POST /v2/anything"),
        (b"\x00\x01garbage\r\n\r\n".to_vec(), "400 Bad Request"),
    ] {
        let answer = raw(&addr(&dir), request).await;
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
    // It still serves.
    Client::at(addr(&dir)).status().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_daemon_of_ours_is_not_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // All of the question first: a peer that closes with something unread may destroy its own answer.
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).is_err() {
                    break;
                }
                asked.extend(byte);
            }
            let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n");
        }
    });
    let error = Client::at(AdminAddr::unix(&path)).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotUnderstood { .. }), "{error}");
    assert!(!error.is_unreachable() && !error.is_passing());
}
