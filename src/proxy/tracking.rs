//! The id by which one request is found again in the logs of everybody whom it passes.

use std::fmt::Write;

use crate::http1::head::RequestHead;

/// The request's TrackingID as it came, or a new one. It goes to logs: what is not printable ASCII stands as `\xC3`.
pub(super) fn tracking_id(head: &RequestHead) -> String {
    match head.fields.get("trackingid").filter(|value| !value.is_empty()) {
        Some(given) => printable(given),
        None => new_tracking_id(),
    }
}

fn printable(given: &[u8]) -> String {
    let mut id = String::with_capacity(given.len());
    for &byte in given {
        match byte {
            b' '..=b'~' => id.push(char::from(byte)),
            _ => write!(id, "\\x{byte:02X}").expect("a string takes what it is given"),
        }
    }
    id
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

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_could_steer_a_terminal_is_told_by_its_bytes() {
        assert_eq!(printable(b"ROUTER_0a-1 \"x\"\\"), "ROUTER_0a-1 \"x\"\\");
        // A tab, the C1 control that begins a sequence, what turns the direction of writing around, and no UTF-8 at all.
        assert_eq!(printable("\t\u{9b}2J\u{202e}".as_bytes()), r"\x09\xC2\x9B2J\xE2\x80\xAE");
        assert_eq!(printable(b"\xff"), r"\xFF");
    }
}
