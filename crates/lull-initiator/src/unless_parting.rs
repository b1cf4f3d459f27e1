//! What is let go of however its attachment ends, but where that goes on elsewhere.

use std::ops::Deref;

use lull_frontend::nbd::{Closer, Stage};

/// Something whose drop lets go of it outside of this process. Dropped while the attachment's consumers go to another process
/// it is left as it is: that one has it already, or will.
#[derive(Debug)]
pub struct UnlessParting<T> {
    /// There until the end.
    thing: Option<T>,
    closer: Closer,
}

impl<T> UnlessParting<T> {
    /// `closer`: the attachment's.
    pub fn new(thing: T, closer: &Closer) -> Self {
        Self { thing: Some(thing), closer: closer.clone() }
    }

    /// To be dropped by whoever takes it; nothing where it is to be left as it is.
    pub fn into_inner(mut self) -> Option<T> {
        self.thing.take_if(|_| self.closer.stage() != Stage::Parting)
    }

    /// Leaves it as it is.
    pub fn leave(mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        if let Some(thing) = self.thing.take() {
            std::mem::forget(thing);
        }
    }
}

impl<T> Deref for UnlessParting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let Some(thing) = &self.thing else { unreachable!("whoever takes it takes this value") };
        thing
    }
}

impl<T> Drop for UnlessParting<T> {
    fn drop(&mut self) {
        if self.closer.stage() == Stage::Parting {
            self.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// [INIT-1] A task that is dropped late in a hand-over would disconnect a device that the successor serves.
    #[test]
    fn what_is_dropped_while_its_attachment_parts_is_left_as_it_is() {
        let (thing, closer) = (Rc::new(()), Closer::new());
        let have = || UnlessParting::new(Rc::clone(&thing), &closer);
        let left = |before| Rc::strong_count(&thing) - before;
        drop(have());
        drop(have().into_inner());
        assert_eq!(left(1), 0, "let go of, while it is served");
        have().leave();
        assert_eq!(left(1), 1);
        closer.quiet();
        drop(have());
        assert_eq!(left(2), 0, "let go of, while it rests");
        closer.part();
        drop(have());
        assert!(have().into_inner().is_none());
        assert_eq!(left(2), 2);
        closer.close();
        drop(have());
        assert_eq!(left(4), 0, "let go of, once the attachment has ended");
    }
}
