//! The time as answers tell it. Separate from the answers, because a second has many of them, and the text is made once in it.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http1::date;

thread_local! {
    /// The last second that was told on this thread, since 1970.
    static TOLD: Cell<Option<(u64, [u8; 29])>> = const { Cell::new(None) };
}

/// The value of Date for an answer that is made now.
pub(super) fn date() -> [u8; 29] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match TOLD.get() {
        Some((second, text)) if second == now => text,
        Some(_) | None => {
            let text = date::write(now);
            TOLD.set(Some((now, text)));
            text
        }
    }
}
