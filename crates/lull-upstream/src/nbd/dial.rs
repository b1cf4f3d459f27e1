//! Reaching a server, once and again.

use super::memory::Memory;
use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::{ConnectError, Connection};
use lull_transport::Stream;
use std::time::Duration;

/// How long one attempt may take, from the first packet to the end of the handshake.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The pause after the first attempt that failed; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause: nobody waits much longer than the server was away.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A TCP peer that acknowledges nothing for so long is gone, whatever it was asked: requests are then sent again to
/// whoever answers at its address.
const SILENCE: Duration = Duration::from_secs(10);

/// The pauses between attempts.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    pub(super) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST_PAUSE);
        now
    }
}

/// One attempt, bounded.
///
/// # Errors
/// What is wrong, for people.
pub(super) async fn connect(uri: &Uri) -> Result<Connection<Memory>, String> {
    let attempt = async {
        let stream = Stream::dial(&uri.addr).await?;
        watch(&stream)?;
        Connection::over(stream, &uri.export).await
    };
    match tokio::time::timeout(ATTEMPT, attempt).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(said(&error)),
        Err(_) => Err(format!("it does not answer within {ATTEMPT:?}")),
    }
}

fn said(error: &ConnectError) -> String {
    match error {
        ConnectError::Dial(dial) => dial.to_string(),
        ConnectError::Handshake(error) => format!("handshake: {error}"),
        ConnectError::Lost(error) => {
            format!("it closed the connection during the handshake: {error}")
        }
    }
}

/// Lets the kernel find out that a TCP peer is gone without a word.
fn watch(stream: &Stream) -> Result<(), ConnectError> {
    use rustix::net::sockopt;
    if let Stream::Tcp(_) = stream {
        let set = || {
            sockopt::set_socket_keepalive(stream, true)?;
            sockopt::set_tcp_keepidle(stream, SILENCE / 2)?;
            sockopt::set_tcp_keepintvl(stream, SILENCE / 5)?;
            sockopt::set_tcp_user_timeout(stream, SILENCE.as_millis() as u32)
        };
        set().map_err(std::io::Error::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_short_and_stay_bearable() {
        let mut pauses = Pauses::new();
        let all: Vec<_> = (0..12).map(|_| pauses.next().as_millis()).collect();
        assert_eq!(all[..4], [5, 10, 20, 40]);
        assert_eq!(all[10..], [1000, 1000]);
    }
}
