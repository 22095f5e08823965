//! The id by which one request is found again in the logs of everybody whom it passes.

use crate::http1::head::RequestHead;

/// The request's TrackingID as it came, or a new one.
pub(super) fn tracking_id(head: &RequestHead) -> String {
    match head.fields.get("trackingid").filter(|value| !value.is_empty()) {
        Some(given) => String::from_utf8_lossy(given).into_owned(),
        None => new_tracking_id(),
    }
}

/// For a request that brings none.
pub(super) fn new_tracking_id() -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random: [u8; 16] = rand::random();
    let digits = random.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    let mut id = String::with_capacity(40);
    id.push_str("XSPGATE_");
    id.extend(digits.map(char::from));
    id
}
