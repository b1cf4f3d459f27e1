//! Following a restart by its record: each message as an arrow, or each transition as a line.

use std::time::Duration;

use lull_admin::{Client, Message, RestartOrder, RestartRecord};
use tokio::time::Instant;

use super::face::{Colour, Face};
use super::stage::{INITIATORS, TARGET};
use super::work::Work;
use crate::exit::Failure;
use crate::output::sequence::Drawing;

/// How often the record is read.
const READ_EVERY: Duration = Duration::from_millis(10);

/// How long a restart may take here.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is shown of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// The messages, as arrows.
    Messages,
    /// The transitions, as sentences.
    Transitions,
}

/// Orders a restart and shows it as it happens, until it has its outcome.
///
/// # Errors
/// The target refuses, or there is no outcome in time.
pub async fn restart(
    client: &Client,
    order: &RestartOrder,
    show: Show,
    work: &Work,
    face: &mut Face,
) -> Result<RestartRecord, Failure> {
    let drawing = Drawing::new(TARGET, &INITIATORS, face.width());
    if show == Show::Messages {
        face.coloured(Colour::Bold, &drawing.heads())?;
    }
    let started = client.restart(order).await?;
    let begun = Instant::now();
    let mut shown = 0;
    loop {
        // While daemons change places nobody answers; the record is read from the next one.
        let record = client.history(started.id).await;
        if let Ok(record) = &record {
            shown += match show {
                Show::Messages => messages(record, shown, &drawing, face)?,
                Show::Transitions => transitions(record, shown, face)?,
            };
        }
        match record {
            Ok(record) if record.outcome.is_some() => return Ok(record),
            Err(error) if !error.is_passing() => return Err(error.into()),
            _ if begun.elapsed() > PATIENCE => {
                let waited = PATIENCE.as_secs();
                return Err(Failure::failed(format!(
                    "the restart has no outcome after {waited} s"
                )));
            }
            _ => work.draw(face)?,
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}

fn messages(
    record: &RestartRecord,
    shown: usize,
    drawing: &Drawing,
    face: &mut Face,
) -> Result<usize, Failure> {
    let new = record.messages.get(shown..).unwrap_or_default();
    for message in new {
        if let Some(line) = drawing.line(message) {
            let line = face.paint(colour(message), &line);
            face.line(&line)?;
        }
    }
    Ok(new.len())
}

fn colour(message: &Message) -> Colour {
    match &*message.name {
        "PAUSE" | "PAUSE PROGRESS" => Colour::Waiting,
        "PAUSE COMPLETE" | "RESUME" => Colour::Good,
        "DISCONNECT" => Colour::Bad,
        _ => Colour::Dim,
    }
}

fn transitions(record: &RestartRecord, shown: usize, face: &mut Face) -> Result<usize, Failure> {
    let new = record.transitions.get(shown..).unwrap_or_default();
    for event in new {
        let ms = event.at.saturating_sub(record.started);
        face.moment(u128::from(ms), None, &event.to_string())?;
    }
    Ok(new.len())
}
