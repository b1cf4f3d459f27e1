//! The load against servers that are right, and against some that are not.
