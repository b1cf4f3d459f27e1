//! A place of an attachment that cannot be had while others can.

use crate::attachment::Attachment;

/// A place, if it can be had. [INIT-1] Where consumers of a life before `go_on` that is no reason to cut them off.
///
/// # Errors
/// It cannot be had, and nobody depends on the others.
pub fn had<T, E: std::fmt::Display>(
    attachment: &Attachment,
    go_on: bool,
    place: Result<T, E>,
) -> Result<Option<T>, E> {
    match place {
        Ok(place) => Ok(Some(place)),
        Err(error) if go_on => {
            let text = format!(
                "{error}; the other ways to it go on: mend that, and have this daemon replaced once more"
            );
            attachment.made.chronicle.warn(&attachment.config().name, "place_missing", text);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
