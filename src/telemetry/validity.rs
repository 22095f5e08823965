//! From when to when a certificate is valid, and how that is told. Separate from certificates, because the log, the status
//! page and the messages about files speak of it in the same words.

const DAY: i64 = 24 * 3600;
/// A certificate that ends sooner than this is worth a warning, in seconds.
const SOON: i64 = 14 * DAY;

/// From when to when a certificate is valid, or a list of revoked certificates is current: the first and the last second,
/// since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second; `None` of a list, which is meant to be replaced soon, and says when it was made only.
    pub from: Option<i64>,
    /// The last one.
    pub to: i64,
}

/// What the clock says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its time has not come.
    NotYetValid,
    /// All is well.
    Valid,
    /// It is valid, and not for much longer.
    EndsSoon,
    /// Its time is over.
    Expired,
}

impl Standing {
    /// A word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotYetValid => "not-yet-valid",
            Self::Valid => "valid",
            Self::EndsSoon => "ends-soon",
            Self::Expired => "expired",
        }
    }
}

impl Validity {
    /// What the clock says of it at `now`.
    pub const fn standing(self, now: i64) -> Standing {
        match self.from {
            Some(from) if now < from => Standing::NotYetValid,
            Some(_) | None if now > self.to => Standing::Expired,
            Some(_) if self.to - now < SOON => Standing::EndsSoon,
            Some(_) | None => Standing::Valid,
        }
    }

    /// Whether it is valid at `now`.
    pub const fn holds(self, now: i64) -> bool {
        match self.standing(now) {
            Standing::Valid | Standing::EndsSoon => true,
            Standing::NotYetValid | Standing::Expired => false,
        }
    }

    /// What there is to say of it at `now`: `expired 12 days ago (2026-11-18)`; `day` writes a second as a day.
    pub fn told(self, now: i64, day: impl Fn(i64) -> String) -> Option<String> {
        match self.standing(now) {
            Standing::NotYetValid => {
                let from = self.from.unwrap_or(now);
                Some(format!("is not valid before {} (in {})", day(from), days(from - now)))
            }
            Standing::Valid => None,
            Standing::EndsSoon => Some(format!("ends in {} ({})", days(self.to - now), day(self.to))),
            Standing::Expired => Some(format!("expired {} ago ({})", days(now - self.to), day(self.to))),
        }
    }
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_clock_says_is_told_with_the_days() {
        let validity = Validity { from: Some(100 * DAY), to: 200 * DAY };
        let told = |now: i64| validity.told(now, |second| format!("day {}", second / DAY)).unwrap_or_default();
        for (now, standing, expected) in [
            (100 * DAY - 1, Standing::NotYetValid, "is not valid before day 100 (in less than a day)"),
            (0, Standing::NotYetValid, "is not valid before day 100 (in 100 days)"),
            (100 * DAY, Standing::Valid, ""),
            (186 * DAY, Standing::Valid, ""),
            (186 * DAY + 1, Standing::EndsSoon, "ends in 13 days (day 200)"),
            (200 * DAY, Standing::EndsSoon, "ends in less than a day (day 200)"),
            (200 * DAY + 1, Standing::Expired, "expired less than a day ago (day 200)"),
            (201 * DAY, Standing::Expired, "expired 1 day ago (day 200)"),
            (212 * DAY, Standing::Expired, "expired 12 days ago (day 200)"),
        ] {
            assert_eq!((validity.standing(now), told(now).as_str()), (standing, expected), "{now}");
            let holds = matches!(standing, Standing::Valid | Standing::EndsSoon);
            assert_eq!(validity.holds(now), holds, "{now}");
        }
        let list = Validity { from: None, ..validity };
        let standings = [0, 200 * DAY, 200 * DAY + 1].map(|now| list.standing(now));
        assert_eq!(standings, [Standing::Valid, Standing::Valid, Standing::Expired]);
    }
}
