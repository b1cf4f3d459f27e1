//! A scrape over a real unix socket, with a loop that stands for a daemon's.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use lull_admin::{
    AdminAddr, AdminListener, CALLS_QUEUED, Call, ResourceStatus, Status, TargetStatus, serve,
};
use tokio::sync::mpsc;

/// Head and body of the answer to a scrape.
async fn scrape(addr: &AdminAddr) -> (String, String) {
    let path = addr.path().to_owned();
    let exchange = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: lull\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = exchange.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn a_scrape_shows_the_status_of_its_moment_in_the_declared_format() {
    let dir = tempfile::tempdir().unwrap();
    let addr = AdminAddr::unix(dir.path().join("admin.sock"));
    let (to_loop, mut calls) = mpsc::channel(CALLS_QUEUED);
    let server = serve(AdminListener::bind(&addr).unwrap(), to_loop).unwrap();
    let daemon = tokio::spawn(async move {
        let mut size = 0;
        while let Some(call) = calls.recv().await {
            let Call::Status { reply } = call else { panic!("a scrape asks for status alone") };
            size += 4096;
            let db1 = ResourceStatus { name: "db1".into(), size, ..Default::default() };
            let target = Some(TargetStatus { resources: vec![db1], ..Default::default() });
            let _ = reply.send(Ok(Status { target, ..Default::default() }));
        }
    });

    for size in [4096, 8192] {
        let (head, body) = scrape(&addr).await;
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(head.contains(&format!("\r\ncontent-type: {format}\r\n")), "{head}");
        let series = format!("\nlull_resource_size_bytes{{resource=\"db1\"}} {size}\n");
        assert!(body.contains(&series), "{body}");
        assert!(body.ends_with("\n# EOF\n"), "{body}");
    }

    daemon.abort();
    let _ = daemon.await;
    let (head, body) = scrape(&addr).await;
    assert!(head.starts_with("http/1.1 503 "), "a scrape fails while nobody answers: {head}");
    assert!(body.contains("going_away"), "{body}");
    server.stop().await;
}
