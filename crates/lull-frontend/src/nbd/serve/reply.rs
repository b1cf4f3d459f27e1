//! An NBD client's side of the duty to answer.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::connection::Shared;
use crate::device::Outcome;
use crate::nbd::Dialect;
use crate::nbd::extents::Question;
use crate::nbd::reply::To;

use super::part::Owed;

/// What is owed to a client for one request.
#[derive(Debug)]
pub(crate) struct Duty<B: AsRef<[u8]>> {
    shared: Rc<Shared<B>>,
    dialect: Dialect,
    to: To,
    answer: Answer,
    /// Bytes that count against the connection's limit until it is answered.
    held: usize,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// No data, whatever comes of it.
    Plain,
    /// The data of a read.
    Data { length: u32 },
    /// The extents of a range.
    Extents(Question),
}

impl<B: AsRef<[u8]>> Duty<B> {
    pub(super) fn new(
        shared: &Rc<Shared<B>>,
        dialect: Dialect,
        to: To,
        answer: Answer,
        held: usize,
    ) -> Self {
        shared.load.begin(held);
        Duty { shared: Rc::clone(shared), dialect, to, answer, held }
    }

    pub(crate) fn done(self, outcome: Outcome<B>) {
        let Duty { shared, dialect, to, answer, held } = self;
        let outlet = &shared.outlet;
        match (answer, outcome) {
            (Answer::Plain, outcome) => {
                outlet.push_bytes(&dialect.plain(to, outcome.map(drop)));
            }
            (Answer::Data { length }, Ok(buffer)) => {
                let data = shared.load.leaves(filled(buffer, length), held);
                return outlet.push_frame(&dialect.data(to, length), data);
            }
            (Answer::Extents(question), Ok(list)) => {
                let list = list.as_ref().map_or(&[][..], B::as_ref);
                outlet.push_bytes(&dialect.extents(to, &question.answer(list)));
            }
            (Answer::Data { .. } | Answer::Extents(_), Err(errno)) => {
                outlet.push_bytes(&dialect.failed(to, errno));
            }
        }
        shared.load.end(held);
    }

    pub(crate) fn abandon(self) {
        self.shared.outlet.abort();
        self.shared.load.end(self.held);
    }

    /// What is still owed, where the connection was taken out of this process.
    pub(crate) fn into_owed(self) -> Owed {
        let Duty { shared, to, answer, held, .. } = self;
        shared.load.end(held);
        Owed { connection: shared.number, to, answer, held }
    }

    pub(crate) fn is_heard(&self) -> bool {
        self.shared.outlet.is_open()
    }
}

fn filled<B: AsRef<[u8]>>(buffer: Option<B>, length: u32) -> B {
    match buffer {
        Some(buffer) if buffer.as_ref().len() == length as usize => buffer,
        Some(_) => panic!("a read must be answered with exactly the bytes it asked for"),
        None => panic!("a read that succeeds must be answered with its buffer"),
    }
}
