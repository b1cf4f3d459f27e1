//! The duty to answer one request.

use std::rc::Rc;

use super::connection::Shared;
use crate::nbd::device::Outcome;
use crate::nbd::extents::Question;
use crate::nbd::reply::To;
use crate::nbd::{Dialect, Errno};

/// The duty to answer one request. [CONN-3] It is a bug to drop it unanswered, and panics.
#[derive(Debug)]
pub struct Reply<B: AsRef<[u8]>>(Option<Duty<B>>);

#[derive(Debug)]
struct Duty<B: AsRef<[u8]>> {
    shared: Rc<Shared<B>>,
    dialect: Dialect,
    to: To,
    answer: Answer,
    /// Bytes that count against the connection's limit until it is answered.
    held: usize,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// No data, whatever comes of it.
    Plain,
    /// The data of a read.
    Data { length: u32 },
    /// The extents of a range.
    Extents(Question),
}

impl<B: AsRef<[u8]>> Reply<B> {
    pub(super) fn new(
        shared: &Rc<Shared<B>>,
        dialect: Dialect,
        to: To,
        answer: Answer,
        held: usize,
    ) -> Self {
        shared.begin(held);
        Reply(Some(Duty { shared: Rc::clone(shared), dialect, to, answer, held }))
    }

    /// Answers. A read is answered with its filled buffer, a question about extents with their
    /// list; a buffer that comes with another answer is dropped. Where the connection is gone, the
    /// answer goes nowhere.
    ///
    /// Panics where a read is answered with success and without exactly the bytes it asked for.
    pub fn done(mut self, outcome: Outcome<B>) {
        let Some(duty) = self.0.take() else {
            unreachable!("the duty leaves only here, and here the reply ends");
        };
        let Duty { dialect, to, ref shared, .. } = duty;
        let outlet = &shared.outlet;
        match (duty.answer, outcome) {
            (Answer::Plain, outcome) => {
                outlet.push_bytes(&dialect.plain(to, outcome.map(drop)));
            }
            (Answer::Data { length }, Ok(buffer)) => {
                outlet.push_frame(&dialect.data(to, length), filled(buffer, length));
            }
            (Answer::Extents(question), Ok(list)) => {
                let list = list.as_ref().map_or(&[][..], B::as_ref);
                outlet.push_bytes(&dialect.extents(to, &question.answer(list)));
            }
            (Answer::Data { .. } | Answer::Extents(_), Err(errno)) => {
                outlet.push_bytes(&dialect.failed(to, errno));
            }
        }
        duty.shared.end(duty.held);
    }

    /// Answers with an error.
    pub fn fail(self, errno: Errno) {
        self.done(Err(errno));
    }

    /// Gives up the duty where it cannot be fulfilled any more, because whoever should answer is
    /// being taken down: the connection is cut, so that the client does not wait for ever.
    pub fn abandon(mut self) {
        if let Some(duty) = self.0.take() {
            duty.shared.outlet.abort();
            duty.shared.end(duty.held);
        }
    }

    /// Whether somebody is left to hear the answer.
    pub fn is_heard(&self) -> bool {
        self.0.as_ref().is_some_and(|duty| duty.shared.outlet.is_open())
    }
}

fn filled<B: AsRef<[u8]>>(buffer: Option<B>, length: u32) -> B {
    match buffer {
        Some(buffer) if buffer.as_ref().len() == length as usize => buffer,
        Some(_) => panic!("a read must be answered with exactly the bytes it asked for"),
        None => panic!("a read that succeeds must be answered with its buffer"),
    }
}

impl<B: AsRef<[u8]>> Drop for Reply<B> {
    fn drop(&mut self) {
        if self.0.is_some() && !std::thread::panicking() {
            panic!("[CONN-3] a request was dropped without an answer");
        }
    }
}
