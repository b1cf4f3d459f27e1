//! Sockets and messages to another process.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use lull_transport::handover::{
    Channel, MAX_FDS, MAX_MESSAGE, ParcelError, inherit, inherited, recv_fds, send_fds, socketpair,
};
use lull_transport::{Addr, Listener, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Set for the child that this test program becomes.
const CHILD: &str = "HANDOVER_CHILD_FD";

#[tokio::test(flavor = "current_thread")]
async fn descriptors_arrive_under_their_names_with_the_message() {
    let (a, b) = socketpair().unwrap();
    let (a, b) = (Channel::new(a).unwrap(), Channel::new(b).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let addr = Addr::Unix(directory.path().join("s.sock"));
    let listener = Listener::bind(&addr).await.unwrap();
    let receiving = async { b.recv().await.unwrap() };
    let sending = async {
        a.send(b"take over", &[(addr.to_string(), listener.as_fd())]).await.unwrap();
    };
    let (mut parcel, ()) = tokio::join!(receiving, sending);
    assert_eq!(parcel.message, b"take over");
    drop(listener);
    let (name, fd) = parcel.fds.pop().unwrap();
    assert!(parcel.fds.is_empty());
    let listener = Listener::from_fd(&name.parse().unwrap(), fd).unwrap();
    let (dialled, accepted) = tokio::join!(Stream::dial(&addr), listener.accept());
    dialled.unwrap().write_all(b"x").await.unwrap();
    assert_eq!(accepted.unwrap().read_u8().await.unwrap(), b'x');

    b.send(b"serving", &[]).await.unwrap();
    assert_eq!(a.recv().await.unwrap().message, b"serving");
    b.send(b"", &[]).await.unwrap();
    assert_eq!(a.recv().await.unwrap().message, b"");
    drop(b);
    assert!(matches!(a.recv().await, Err(ParcelError::Closed)));
    assert!(matches!(a.send(b"?", &[]).await, Err(ParcelError::Closed)));
}

#[test]
fn a_parcel_takes_as_much_as_it_says_and_refuses_more() {
    let (a, b) = socketpair().unwrap();
    let file = tempfile::tempfile().unwrap();
    let mut fds: Vec<_> = (0..MAX_FDS).map(|i| (format!("{i:0>255}"), file.as_fd())).collect();
    send_fds(&a, &fds, &vec![7; MAX_MESSAGE]).unwrap();
    let parcel = recv_fds(&b).unwrap();
    assert_eq!((parcel.fds.len(), parcel.message.len()), (MAX_FDS, MAX_MESSAGE));
    for (i, (name, fd)) in parcel.fds.iter().enumerate() {
        assert_eq!(*name, format!("{i:0>255}"));
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
    fds.push(("one more".into(), file.as_fd()));
    assert!(matches!(send_fds(&a, &fds, b""), Err(ParcelError::TooLarge(_))));
    assert!(matches!(send_fds(&a, &[], &vec![7; MAX_MESSAGE + 1]), Err(ParcelError::TooLarge(_))));
    let long = [("n".repeat(256), file.as_fd())];
    assert!(matches!(send_fds(&a, &long, b""), Err(ParcelError::TooLarge(_))));
}

#[test]
fn a_foreign_message_is_refused_and_its_descriptors_are_closed() {
    let (a, b) = socketpair().unwrap();
    rustix::io::write(&a, b"\x05").unwrap();
    assert!(matches!(recv_fds(&b), Err(ParcelError::Malformed(_))));
    rustix::io::write(&a, b"\x01\x00\x01xhello").unwrap();
    assert!(matches!(recv_fds(&b), Err(ParcelError::Malformed(_))));
}

#[test]
fn a_child_finds_its_end_under_the_number_it_was_told() {
    let (ours, theirs) = socketpair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let number = inherit(&mut command, theirs, 40).unwrap();
    assert!(number >= 40);
    let mut child = command
        .args(["--exact", "as_the_child", "--nocapture"])
        .env(CHILD, number.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(command);
    let (mut kept, passed) = std::io::pipe().unwrap();
    send_fds(&ours, &[("pipe".into(), passed.as_fd())], b"write here").unwrap();
    drop(passed);
    assert_eq!(recv_fds(&ours).unwrap().message, b"written");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut kept, &mut said).unwrap();
    assert_eq!(said, "from the child");
    assert!(matches!(recv_fds(&ours), Err(ParcelError::Closed)));
    assert!(child.wait().unwrap().success());
}

/// The other half of the test above; on its own it has nothing to do.
#[test]
fn as_the_child() {
    let Ok(number) = std::env::var(CHILD) else {
        return;
    };
    let number = number.parse().unwrap();
    let end = inherited(number).unwrap();
    assert!(inherited(number).is_err(), "a number is good for one end");
    let mut parcel = recv_fds(&end).unwrap();
    let (name, pipe) = parcel.fds.pop().unwrap();
    assert_eq!((name.as_str(), &parcel.message[..]), ("pipe", &b"write here"[..]));
    std::fs::File::from(pipe).write_all(b"from the child").unwrap();
    send_fds(&end, &[], b"written").unwrap();
}

#[test]
fn a_number_that_was_not_inherited_is_refused() {
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    for number in [-1, 0, 2, 9999, file.as_raw_fd()] {
        assert!(inherited(number).is_err(), "{number}");
    }
}
