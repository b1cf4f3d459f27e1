//! Listening, dialling, and who is in the way.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use lull_transport::{Addr, BindError, Listener, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn unix(directory: &tempfile::TempDir) -> Addr {
    Addr::Unix(directory.path().join("s.sock"))
}

fn loopback() -> Addr {
    "tcp:127.0.0.1:0".parse().unwrap()
}

async fn both_ways(listener: &Listener) {
    let addr = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(Stream::dial(&addr), listener.accept());
    let (mut near, mut far) = (dialled.unwrap(), accepted.unwrap());
    near.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    far.read_exact(&mut got).await.unwrap();
    far.write_all(&got).await.unwrap();
    near.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_go_both_ways_on_every_transport() {
    let directory = tempfile::tempdir().unwrap();
    for addr in [unix(&directory), loopback()] {
        both_ways(&Listener::bind(&addr).await.unwrap()).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_peer_is_named_by_user_or_address() {
    let directory = tempfile::tempdir().unwrap();
    let addr = unix(&directory);
    let listener = Listener::bind(&addr).await.unwrap();
    let (near, far) = tokio::join!(Stream::dial(&addr), listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap());
    let me = std::fs::metadata("/proc/self").unwrap().uid();
    for end in [&near, &far] {
        assert_eq!(end.peer(), format!("uid {me} pid {}", std::process::id()));
        assert_eq!(end.credentials().unwrap().uid, me);
    }
    let listener = Listener::bind(&loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (near, _far) = tokio::join!(Stream::dial(&addr), listener.accept());
    let near = near.unwrap();
    assert_eq!(format!("tcp:{}", near.peer()), addr.to_string());
    assert_eq!(near.credentials(), None);
}

#[tokio::test(flavor = "current_thread")]
async fn a_socket_of_the_dead_is_replaced_and_one_of_the_living_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let addr = unix(&directory);
    let first = Listener::bind(&addr).await.unwrap();
    let said = Listener::bind(&addr).await.unwrap_err().to_string();
    assert!(said.contains(&addr.to_string()) && said.contains("in use by"), "{said}");
    assert!(said.contains(&format!("pid {}", std::process::id())), "{said}");
    // Whoever looked whether anybody lives there was one connection, which ended at once.
    assert_eq!(first.accept().await.unwrap().read(&mut [0]).await.unwrap(), 0);
    both_ways(&first).await;

    drop(first);
    let second = Listener::bind(&addr).await.unwrap();
    both_ways(&second).await;
    second.remove_file().unwrap();
    second.remove_file().unwrap();
    assert!(Stream::dial(&addr).await.is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    std::fs::write(&path, "precious").unwrap();
    let refused = Listener::bind(&Addr::Unix(path.clone())).await.unwrap_err();
    assert!(matches!(refused, BindError::NotASocket { .. }), "{refused}");
    assert_eq!(std::fs::read(path).unwrap(), b"precious");
}

#[tokio::test(flavor = "current_thread")]
async fn a_port_in_use_and_a_missing_directory_are_named() {
    let taken = Listener::bind(&loopback()).await.unwrap();
    let addr = taken.local_addr().unwrap();
    let said = Listener::bind(&addr).await.unwrap_err().to_string();
    assert!(said.contains(&addr.to_string()) && said.contains("choose another"), "{said}");

    let nowhere: Addr = "unix:/nonexistent/deep/s.sock".parse().unwrap();
    let said = Listener::bind(&nowhere).await.unwrap_err().to_string();
    assert!(said.contains("unix:/nonexistent/deep/s.sock"), "{said}");
    let said = Stream::dial(&nowhere).await.unwrap_err().to_string();
    assert!(said.contains("cannot reach unix:/nonexistent/deep/s.sock"), "{said}");

    // The last component alone is made: /run/lull is not there after a boot.
    let dir = tempfile::tempdir().unwrap();
    let made: Addr = format!("unix:{}/lull/s.sock", dir.path().display()).parse().unwrap();
    Listener::bind(&made).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_port_can_be_bound_again_at_once_after_its_connections_ended() {
    let listener = Listener::bind(&loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    both_ways(&listener).await;
    drop(listener);
    both_ways(&Listener::bind(&addr).await.unwrap()).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_successor_accepts_what_was_dialled_before_it_took_over() {
    let directory = tempfile::tempdir().unwrap();
    for addr in [unix(&directory), loopback()] {
        let old = Listener::bind(&addr).await.unwrap();
        let at = old.local_addr().unwrap();
        let mut waiting = Stream::dial(&at).await.unwrap();
        let passed = old.as_fd().try_clone_to_owned().unwrap();
        drop(old);
        let new = Listener::from_fd(&at, passed).unwrap();
        let mut accepted = new.accept().await.unwrap();
        waiting.write_all(b"x").await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), b'x');
        assert_eq!(new.local_addr().unwrap(), at);
        both_ways(&new).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_descriptor_of_another_kind_is_not_taken_for_a_listener() {
    let directory = tempfile::tempdir().unwrap();
    let tcp = Listener::bind(&loopback()).await.unwrap();
    let passed = tcp.as_fd().try_clone_to_owned().unwrap();
    let refused = Listener::from_fd(&unix(&directory), passed).unwrap_err();
    assert!(matches!(refused, BindError::NotAListener { .. }));
    let (end, _other) = Stream::pair().unwrap();
    let passed = end.as_fd().try_clone_to_owned().unwrap();
    assert!(Listener::from_fd(&unix(&directory), passed).is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_listening_socket_that_was_shut_down_is_an_error_and_no_dialler_that_gave_up() {
    let listener = Listener::bind(&loopback()).await.unwrap();
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
    let accepted = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
    accepted.expect("it does not try for ever").unwrap_err();
}

#[tokio::test(flavor = "current_thread")]
async fn only_the_sockets_own_file_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let addr = unix(&directory);
    let Addr::Unix(path) = &addr else { panic!("a unix socket") };
    let first = Listener::bind(&addr).await.unwrap();
    let inherited = first.as_fd().try_clone_to_owned().unwrap();
    let inherited = Listener::from_fd(&addr, inherited).unwrap();
    std::fs::remove_file(path).unwrap();
    let second = Listener::bind(&addr).await.unwrap();
    first.remove_file().unwrap();
    inherited.remove_file().unwrap();
    both_ways(&second).await;
    let heir = second.as_fd().try_clone_to_owned().unwrap();
    Listener::from_fd(&addr, heir).unwrap().remove_file().unwrap();
    assert!(!path.exists());
}
