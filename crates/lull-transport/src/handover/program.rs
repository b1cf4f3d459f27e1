//! Starting another program in a process on whose disks that program may lie.

use std::io;
use std::pin::pin;

use tokio::process::Child;
use tokio::sync::oneshot;

/// Runs `start` where blocking hurts nobody: it returns only when the child executes its program, which may have to be read
/// first, through this very process. Must be called within a runtime. When `over` ends before, nobody waits any longer, and
/// what is started after all is killed.
///
/// # Errors
/// Those of `start`; `TimedOut` where `over` has ended.
pub async fn start_program(
    start: impl FnOnce() -> io::Result<Child> + Send + 'static,
    over: impl Future<Output = ()>,
) -> io::Result<Child> {
    let (given, mut taken) = oneshot::channel();
    drop(tokio::task::spawn_blocking(move || {
        if let Err(Ok(late)) = given.send(start()) {
            kill(late);
        }
    }));
    let mut over = pin!(over);
    tokio::select! {
        biased;
        started = &mut taken => started.map_err(io::Error::other)?,
        () = &mut over => {
            taken.close();
            if let Ok(Ok(late)) = taken.try_recv() {
                kill(late);
            }
            Err(io::Error::new(io::ErrorKind::TimedOut, "its program could not be read in time"))
        }
    }
}

fn kill(mut late: Child) {
    // It may have ended.
    let _ = late.start_kill();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::sync::mpsc;
    use tokio::process::Command;

    fn sleeper() -> io::Result<Child> {
        Command::new("sleep").arg("1000").spawn()
    }

    /// [TIMER-3] Its program is read through the very thread that asked for it.
    #[tokio::test]
    async fn the_thread_that_starts_a_program_goes_on_until_it_runs() {
        let (read, reading) = mpsc::channel();
        let starting = start_program(
            move || {
                reading.recv().map_err(io::Error::other)?;
                sleeper()
            },
            pending(),
        );
        let serving = async { read.send(()).unwrap() };
        let (mut child, ()) = tokio::join!(starting, serving);
        child.as_mut().unwrap().kill().await.unwrap();
    }

    /// [TIMER-2] What could not be had in time runs no more.
    #[tokio::test]
    async fn a_program_that_is_read_too_late_is_killed() {
        let ((read, reading), (tell, told)) = (mpsc::channel::<()>(), mpsc::channel());
        let late = move || {
            reading.recv().map_err(io::Error::other)?;
            let child = sleeper()?;
            tell.send(child.id().unwrap()).map_err(io::Error::other)?;
            Ok(child)
        };
        let error = start_program(late, ready(())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        read.send(()).unwrap();
        let path = format!("/proc/{}/stat", told.recv().unwrap());
        let runs = || {
            let stat = std::fs::read_to_string(&path).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        while runs() {
            tokio::task::yield_now().await;
        }
    }
}
