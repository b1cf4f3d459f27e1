//! The client's half against servers that nobody here wrote.

mod support;

use std::path::Path;
use std::process::Command;

use lull_frontend::nbd::client::{Connection, RequestError};
use lull_frontend::nbd::{Errno, Uri};
use lull_transport::Addr;

use support::{MIB, local, patterned, tool};

/// A server in the background, gone with its last client or with this at the latest.
struct Foreign {
    directory: tempfile::TempDir,
}

impl Foreign {
    fn prepare() -> Foreign {
        Foreign { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Returns once it listens.
    fn nbdkit(arguments: &[&str]) -> Foreign {
        let foreign = Foreign::prepare();
        let (socket, pid) = (foreign.path("sock"), foreign.path("pid"));
        let fixed = ["-U", &socket, "-P", &pid, "--filter=exitlast"];
        tool("nbdkit", &[&fixed, arguments].concat());
        foreign
    }

    fn uri(&self, export: &str) -> Uri {
        Uri { addr: Addr::Unix(self.path("sock").into()), export: export.into() }
    }

    async fn connect(&self, export: &str) -> Connection {
        Connection::connect(&self.uri(export)).await.unwrap()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.path("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).output();
        }
    }
}

async fn writes_and_reads(connection: &Connection) {
    let asked: Vec<_> = (0..64u64)
        .map(|i| {
            let connection = connection.clone();
            tokio::task::spawn_local(async move {
                let (offset, pattern) = (i * 100_000, vec![i as u8; 100_000]);
                connection.write(offset, pattern.clone(), i % 2 == 0).await.unwrap();
                assert!(connection.read(offset, vec![0xff; 100_000]).await.unwrap() == pattern);
            })
        })
        .collect();
    for one in asked {
        one.await.unwrap();
    }
    connection.flush().await.unwrap();
    connection.write_zeroes(0, 50_000, false, true).await.unwrap();
    connection.trim(200_000, 100_000).await.unwrap();
    let got = connection.read(0, vec![9; 100_000]).await.unwrap();
    assert!(got[..50_000].iter().all(|byte| *byte == 0) && got[50_000..] == [0; 50_000]);
    let beyond = connection.read(16 * MIB, vec![0; 512]).await.unwrap_err();
    assert!(matches!(beyond, RequestError::Answered(Errno::Inval)), "{beyond}");
}

#[test]
fn nbdkit_in_every_dialect_serves_our_client() {
    let dialects: [(&[&str], bool); 3] =
        [(&[], true), (&["--no-sr"], false), (&["--mask-handshake=0"], false)];
    for (arguments, structured) in dialects {
        let server = Foreign::nbdkit(&[arguments, &["memory", "16M"]].concat());
        local(async {
            let connection = server.connect("").await;
            let export = connection.export();
            assert_eq!((export.size, export.structured), (16 * MIB, structured));
            writes_and_reads(&connection).await;
            connection.disconnect().await;
        });
    }
}

#[test]
fn an_error_of_nbdkit_is_ours_and_the_next_request_works() {
    for dialect in ["--no-sr", "--threads=1"] {
        let server = Foreign::nbdkit(&[
            dialect,
            "--filter=error",
            "memory",
            "1M",
            "error-pread=ENOSPC",
            "error-pread-rate=100%",
        ]);
        local(async {
            let connection = server.connect("").await;
            connection.write(0, vec![1; 512], false).await.unwrap();
            for _ in 0..3 {
                let failed = connection.read(0, vec![0; 4096]).await;
                assert_eq!(failed, Err(RequestError::Answered(Errno::NoSpace)));
                connection.flush().await.unwrap();
            }
            connection.disconnect().await;
        });
    }
}

#[test]
fn qemu_nbd_sends_holes_and_pieces_that_our_client_puts_together() {
    let server = Foreign::prepare();
    let sparse = server.path("sparse");
    let pattern = patterned(Path::new(&server.path("")), "pattern", MIB);
    let piece = std::fs::read(pattern).unwrap();
    let file = std::fs::File::create(&sparse).unwrap();
    file.set_len(16 * MIB).unwrap();
    for at in [MIB, 3 * MIB, 10 * MIB] {
        std::os::unix::fs::FileExt::write_all_at(&file, &piece, at).unwrap();
    }
    let (socket, pid) = (server.path("sock"), server.path("pid"));
    tool(
        "qemu-nbd",
        &["-k", &socket, "--pid-file", &pid, "--fork", "-f", "raw", "-x", "disk", &sparse],
    );
    local(async {
        let connection = server.connect("disk").await;
        assert!(connection.export().structured);
        let got = connection.read(0, vec![0xff; 16 << 20]).await.unwrap();
        assert!(got == std::fs::read(&sparse).unwrap());
        writes_and_reads(&connection).await;
        connection.disconnect().await;
    });
}

#[test]
fn a_server_that_dies_fails_what_is_under_way_with_the_reason() {
    let server = Foreign::nbdkit(&["--filter=delay", "memory", "1M", "delay-read=100"]);
    local(async {
        let connection = server.connect("").await;
        let read = tokio::task::spawn_local({
            let connection = connection.clone();
            async move { connection.read(0, vec![0; 512]).await }
        });
        connection.flush().await.unwrap();
        let pid = std::fs::read_to_string(server.path("pid")).unwrap();
        tool("kill", &["-9", pid.trim()]);
        let error = read.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("the connection was lost"), "{error}");
        connection.ended().await;
        let said = Connection::<Vec<u8>>::connect(&server.uri("")).await.unwrap_err().to_string();
        // It may still be dying.
        let gone = said.contains("cannot reach unix:");
        assert!(gone || said.contains("lost during the handshake"), "{said}");
    });
}
