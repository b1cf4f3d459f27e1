//! What is kept in files and sent as JSON.

use lull_admin::{
    Alert, ApiError, Event, PauseOrder, RestartOrder, RestartRecord, RestartStarted, Status,
};
use lull_proto::target::ResourceIndex;
use lull_target::store::{ResourceRow, SeatRow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Each document tries it; the stream of events takes it in portions.
pub fn admin(bytes: &[u8]) {
    again::<Status>(bytes);
    again::<RestartRecord>(bytes);
    again::<Event>(bytes);
    again::<ApiError>(bytes);
    again::<Alert>(bytes);
    again::<RestartStarted>(bytes);
    if let Ok(order) = serde_json::from_slice::<RestartOrder>(bytes) {
        let _ = order.check();
    }
    if let Ok(order) = serde_json::from_slice::<PauseOrder>(bytes) {
        let _ = order.check();
    }
    if let Ok(status) = serde_json::from_slice::<Status>(bytes) {
        let _ = status.with_alerts();
    }
    let whole = lull_admin::read_events([bytes]);
    let portion = bytes.first().map_or(1, |byte| usize::from(*byte % 16) + 1);
    assert_eq!(lull_admin::read_events(bytes.chunks(portion)), whole, "portions change events");
}

/// What is read is the same after it was written once.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("a document can be written");
    let back = serde_json::from_slice::<T>(&written).expect("and read");
    assert_eq!(back, read);
}

/// Rows, the roster's as the machine has them too.
pub fn target_state(bytes: &[u8]) {
    again::<ResourceRow>(bytes);
    again::<SeatRow>(bytes);
    again::<RestartRecord>(bytes);
    if let Ok(row) = serde_json::from_slice::<SeatRow>(bytes)
        && let Some(entry) = row.entry(ResourceIndex(0))
    {
        // A number too long for a span of time is one without limit once it is written again.
        let kept = SeatRow::of(&entry, &row.resource);
        assert_eq!(kept.entry(ResourceIndex(0)), Some(entry), "[SAFE-7]");
    }
    if let Ok(words) = str::from_utf8(bytes)
        && let Some(format) = lull_target::store::Format::of_words(words)
    {
        assert_eq!(lull_target::store::Format::of_words(&format.to_words()), Some(format));
    }
}

/// The file of an attachment's state.
pub fn initiator_state(bytes: &[u8]) {
    lull_initiator::outside::state(bytes);
}

/// Memory that a life before left.
pub fn retained_log(bytes: &[u8]) {
    lull_initiator::outside::log(bytes);
}

/// What a process leaves to the one that takes its consumers over.
pub fn estate(bytes: &[u8]) {
    lull_initiator::outside::estate(bytes);
}

/// Descriptions of requests and devices, and answers of netlink.
pub fn kernel_devices(bytes: &[u8]) {
    lull_frontend::outside::ublk(bytes);
    lull_frontend::outside::netlink(bytes);
}
