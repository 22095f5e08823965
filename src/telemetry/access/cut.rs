//! What clients make up ends somewhere in the log, so that a scan fills no disk. Separate from writing, which both formats do.

use std::borrow::Cow;

/// The longest path, in bytes.
const PATH: usize = 1024;
/// The longest TrackingID: Webex's have 60 or so.
const TRACKING_ID: usize = 128;

/// A path as the log has it.
pub(super) fn path(path: &str) -> Cow<'_, str> {
    cut(path, PATH)
}

/// A TrackingID as the log has it.
pub(super) fn tracking_id(id: &str) -> Cow<'_, str> {
    cut(id, TRACKING_ID)
}

fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let kept = text.floor_char_boundary(most);
    Cow::Owned(format!("{}...[{} bytes more]", &text[..kept], text.len() - kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("/com.broadsoft", 14), "/com.broadsoft");
        assert_eq!(cut("/com.broadsoft", 13), "/com.broadsof...[1 bytes more]");
        assert_eq!(cut("a\u{e9}b", 2), "a...[3 bytes more]");
        assert_eq!(path(&"x".repeat(9_000)).len(), 1024 + "...[7976 bytes more]".len());
        assert_eq!(tracking_id(&"x".repeat(129)).len(), 128 + "...[1 bytes more]".len());
    }
}
