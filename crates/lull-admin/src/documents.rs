//! The small bodies that only server and client see.

use serde::{Deserialize, Serialize};

use crate::restart::Decision;

/// `POST /v1/restart/{id}/decision`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionOrder {
    pub(crate) decision: Decision,
}

/// `POST /v1/evict`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvictOrder {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) resource: Option<String>,
    /// Left out where it is not set, so that an older daemon understands the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) force: bool,
}

/// What an eviction ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Evicted {
    pub(crate) lost: Vec<String>,
}

/// Accepted, with nothing to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {}
