//! Regular files and block devices.

use std::io;

use crate::{Backend, Context, FileSpec, Geometry, OpenError};

pub(crate) fn open(spec: &FileSpec, _: &Context) -> Result<crate::null::Null, OpenError> {
    Err(missing(spec))
}

pub(crate) fn check(spec: &FileSpec) -> Result<Geometry, OpenError> {
    Err(missing(spec))
}

fn missing(spec: &FileSpec) -> OpenError {
    OpenError::Io {
        path: spec.path.clone(),
        doing: "open",
        source: io::ErrorKind::Unsupported.into(),
    }
}
