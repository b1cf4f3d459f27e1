//! The same machine under other names, for whoever explores all states of a world: two machines that differ only in
//! how far they have counted, or in where their clocks stand, do the same for ever after.
//!
//! Nothing here decides anything. Each walk takes its values apart field by field, so that a new field does not compile
//! until it is said what it is.

use crate::target::Ticket;
use crate::{ConnId, MonoTime};
use core::time::Duration;
use lull_wire::{AttachmentId, Epoch};

/// What becomes of the values that have a meaning only beside others of their kind.
///
/// Instants move together; of each other kind the new names keep the order and the distances that matter, which are
/// those of connections and tickets: order, and of epochs: order and succession.
pub trait Renaming {
    /// An instant that the clock is compared with; one that is past may become any that is.
    fn deadline(&mut self, at: MonoTime) -> MonoTime;
    /// An instant in the past of which it matters how long ago it was, up to a span.
    fn ago(&mut self, at: MonoTime, longest: Duration) -> MonoTime;
    /// A connection; or the last number that was given to one.
    fn conn(&mut self, conn: ConnId) -> ConnId;
    /// An epoch of an attachment.
    fn epoch(&mut self, attachment: AttachmentId, epoch: Epoch) -> Epoch;
    /// What is being written to stable storage; or the last number that was given.
    fn ticket(&mut self, ticket: Ticket) -> Ticket;
    /// The token of a PING; or the last one.
    fn ping(&mut self, token: u64) -> u64;
    /// Whether no message of this attachment with a request's number is under way anywhere: where the machine has no
    /// request either, its numbers begin anew.
    fn forgets_numbers(&mut self) -> bool;
}
