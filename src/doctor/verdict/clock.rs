//! Clocks (R-TOP-8): how far others' are from this machine's, and from one another.

use crate::doctor::finding::Finding;

const CHECK: &str = "clock";
/// A Date field has whole seconds, and the answer takes its time: less than this is nothing.
const NOTICEABLE: i64 = 5;
/// From here on, tokens and certificates are judged wrongly.
const HARMFUL: i64 = 60;

/// One clock that says `offset` more seconds than this machine's; `None`: it does not say.
pub(in crate::doctor) fn one(offset: Option<i64>) -> Finding {
    const HELP: &str = "let both take their time from NTP";
    let Some(offset) = offset else { return Finding::skip(CHECK, "the answers have no Date that could be read") };
    let found = match offset {
        0 => "as this machine's".to_owned(),
        offset if offset > 0 => format!("{offset} s ahead of this machine's"),
        offset => format!("{} s behind this machine's", -offset),
    };
    match offset.abs() {
        0..NOTICEABLE => Finding::ok(CHECK, found),
        NOTICEABLE..HARMFUL => Finding::warn(CHECK, found, HELP),
        _ => Finding::fail(CHECK, found, HELP),
    }
}

/// All clocks of a farm, by their offsets from this machine's.
pub(in crate::doctor) fn several(offsets: &[i64]) -> Finding {
    let (Some(least), Some(most)) = (offsets.iter().min(), offsets.iter().max()) else {
        return Finding::skip(CHECK, "no XSP has told the time");
    };
    let apart = most - least;
    let found = format!("{} XSPs are at most {apart} s apart", offsets.len());
    let help = "let all XSPs take their time from NTP (R-TOP-8)";
    match apart {
        0..NOTICEABLE if *least >= NOTICEABLE || *most <= -NOTICEABLE => {
            Finding::warn(CHECK, format!("{found}, and not with this machine"), "is this machine's clock right?")
        }
        0..NOTICEABLE => Finding::ok(CHECK, found),
        NOTICEABLE..HARMFUL => Finding::warn(CHECK, found, help),
        _ => Finding::fail(CHECK, found, help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Standing;

    #[test]
    fn r_top_8_clocks_agree_within_seconds() {
        for (offset, expected) in [
            (None, Standing::Skip),
            (Some(0), Standing::Ok),
            (Some(-4), Standing::Ok),
            (Some(5), Standing::Warn),
            (Some(-59), Standing::Warn),
            (Some(60), Standing::Fail),
            (Some(-86_400), Standing::Fail),
        ] {
            assert_eq!(one(offset).standing, expected, "{offset:?}");
        }
        assert_eq!(one(Some(-59)).found, "59 s behind this machine's");
        for (offsets, expected) in [
            (&[][..], Standing::Skip),
            (&[1, 0, -1], Standing::Ok),
            (&[100, 101], Standing::Warn),
            (&[0, 5], Standing::Warn),
            (&[-40, 40], Standing::Fail),
        ] {
            assert_eq!(several(offsets).standing, expected, "{offsets:?}");
        }
    }
}
