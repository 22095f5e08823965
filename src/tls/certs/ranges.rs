//! The file of the ranges that Webex connects from: one a line, in CIDR notation. Separate from certificates, because it only
//! shares their way to be read, watched and renewed.

use std::ops::Range;
use std::path::Path;
use std::time::UNIX_EPOCH;

use ipnet::IpNet;
use time::{Date, Month};

use super::pem;
use crate::config::error::Problem;
use crate::config::types::{network, quoted};
use crate::tls::peer::day;

/// A file that is older is worth a look at what Cisco publishes now, in seconds.
const OLD: i64 = 365 * DAY;
/// In seconds.
const DAY: i64 = 24 * 3600;
const HELP: &str = "each line is one range, such as 192.0.2.0/24, and what follows a '#' is a comment";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebexRanges {
    /// One at least, each once.
    pub ranges: Vec<IpNet>,
    /// When they were published, in seconds since 1970: by a line `# date: 2026-05-01`, or else when the file was written.
    pub date: i64,
}

impl WebexRanges {
    /// The day, such as `2026-05-01`.
    pub fn day(&self) -> String {
        day(self.date)
    }

    /// Whether they are older than a year.
    pub const fn is_old(&self, now: i64) -> bool {
        now - self.date > OLD
    }
}

/// Reads the file; `None` after an error.
pub(super) fn load(
    path: &Path,
    span: &Option<Range<usize>>,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<WebexRanges> {
    let bytes = pem::public(path, span).map_err(|problem| problems.push(problem)).ok()?;
    let read = parse(path, &bytes, span);
    let is_good = read.problems.iter().all(|problem| problem.severity != crate::config::error::Severity::Error);
    problems.extend(read.problems);
    if !is_good {
        return None;
    }
    let written = || path.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok();
    let written = || written().map_or(now, |since| i64::try_from(since.as_secs()).unwrap_or(now));
    let found = WebexRanges { ranges: read.ranges, date: read.date.unwrap_or_else(written) };
    // Time zones differ by less than two days.
    if read.date.is_some_and(|date| date > now + 2 * DAY) {
        let message = format!("the ranges in {} are of {}, which is still to come", path.display(), found.day());
        let help = "correct the line `# date: YYYY-MM-DD`, or this machine's clock";
        problems.push(Problem::warning(span.clone(), message).help(help));
    }
    if found.is_old(now) {
        let message = format!("the ranges in {} are of {}, more than a year ago", path.display(), found.day());
        let help = "compare them with what Cisco publishes, and write the day into the file as `# date: YYYY-MM-DD`";
        problems.push(Problem::warning(span.clone(), message).help(help));
    }
    Some(found)
}

#[derive(Default)]
struct Read {
    ranges: Vec<IpNet>,
    date: Option<i64>,
    problems: Vec<Problem>,
}

fn parse(path: &Path, bytes: &[u8], span: &Option<Range<usize>>) -> Read {
    let mut read = Read::default();
    let shown = path.display();
    let Ok(text) = std::str::from_utf8(bytes) else {
        let problem = Problem::error(span.clone(), format!("{shown} is no text in UTF-8"));
        read.problems.push(problem.help("save it as plain text"));
        return read;
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.lines().zip(1..) {
        let (entry, comment) = line.split_once('#').unwrap_or((line, ""));
        let column = entry.chars().take_while(|c| c.is_whitespace()).count() + 1;
        if let Some(date) = dated(comment).filter(|_| read.date.is_none()) {
            match unix(date) {
                Some(date) => read.date = Some(date),
                None => {
                    let column = line.chars().count() - comment.trim_end().chars().count().min(line.len()) + 1;
                    let message = format!("{shown}:{number}:{column}: {} is not a date", quoted(date));
                    read.problems.push(Problem::error(span.clone(), message).help("write it as `# date: 2026-05-01`"));
                }
            }
        }
        let entry = entry.trim();
        if entry.is_empty() {
            continue;
        }
        let place = format!("{shown}:{number}:{column}");
        match network::cidr(entry) {
            Ok(range) if read.ranges.contains(&range) => {
                let message = format!("{place}: {range} is there already");
                read.problems.push(Problem::warning(span.clone(), message).help("keep one"));
            }
            Ok(range) => {
                if range.prefix_len() == 0 {
                    let message = format!("{place}: {range} lets everybody connect");
                    read.problems.push(Problem::warning(span.clone(), message).help("name what Webex connects from"));
                }
                read.ranges.push(range);
            }
            Err(refusal) => {
                let problem = Problem::refused(span.clone().unwrap_or_default(), refusal);
                let message = format!("{place}: {}", problem.message);
                let help = problem.help.unwrap_or_else(|| HELP.to_owned());
                read.problems.push(Problem::error(span.clone(), message).help(help));
            }
        }
    }
    if read.ranges.is_empty() && read.problems.is_empty() {
        let problem = Problem::error(span.clone(), format!("{shown} holds no range: no client could connect"));
        read.problems.push(problem.help(HELP));
    }
    read
}

/// What a comment says of the date: `date: 2026-05-01`.
fn dated(comment: &str) -> Option<&str> {
    let (word, date) = comment.trim().split_once(':')?;
    word.trim().eq_ignore_ascii_case("date").then(|| date.trim())
}

fn unix(date: &str) -> Option<i64> {
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    Some(date.midnight().assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Severity;

    fn read(text: &str) -> (Vec<String>, Option<String>, Vec<(Severity, String)>) {
        let read = parse(Path::new("r.txt"), text.as_bytes(), &None);
        let problems = read.problems.into_iter().map(|problem| (problem.severity, problem.message)).collect();
        (read.ranges.iter().map(ToString::to_string).collect(), read.date.map(day), problems)
    }

    #[test]
    fn r_fw_1_a_file_of_ranges_is_read_as_people_write_it() {
        let text =
            "\u{feff}# Webex\r\n# Date: 2026-05-01\r\n\r\n  69.26.160.0/19\t# San Jose\r\n44.232.54.0\r\n2001:db8::/32";
        let (ranges, date, problems) = read(text);
        assert_eq!(ranges, ["69.26.160.0/19", "44.232.54.0/32", "2001:db8::/32"]);
        assert_eq!((date.as_deref(), problems.as_slice()), (Some("2026-05-01"), &[][..]));
    }

    #[test]
    fn what_is_no_range_is_told_with_line_and_column() {
        let table = [
            ("192.0.2.0/24\n 192.0.2.7/24", "r.txt:2:2: \"192.0.2.7/24\" has bits beyond its prefix"),
            ("192.0.2.0/33", "r.txt:1:1: \"192.0.2.0/33\" is not a range"),
            ("192.0.2.0/24, 198.51.100.0/24", "r.txt:1:1: \"192.0.2.0/24, 198.51.100.0/24\" is not a range"),
            ("webex-usa", "r.txt:1:1: \"webex-usa\" is not a range"),
            ("# date: May\n192.0.2.1", "\"May\" is not a date"),
            ("# date: 2026-02-30\n192.0.2.1", "\"2026-02-30\" is not a date"),
            ("", "r.txt holds no range: no client could connect"),
            ("# nothing\n\n", "r.txt holds no range: no client could connect"),
        ];
        for (text, expected) in table {
            let (_, _, problems) = read(text);
            assert!(problems[0].1.ends_with(expected), "{text:?}: {problems:?}");
            assert_eq!((problems[0].0, problems.len()), (Severity::Error, 1), "{text:?}");
        }
        assert_eq!(parse(Path::new("r.txt"), &[0xff, 0xfe, 0], &None).problems[0].message, "r.txt is no text in UTF-8");
    }

    #[test]
    fn a_range_twice_and_one_that_is_all_are_worth_a_word() {
        let (ranges, _, problems) = read("192.0.2.1\n192.0.2.1/32\n0.0.0.0/0\n");
        assert_eq!(ranges, ["192.0.2.1/32", "0.0.0.0/0"]);
        let said = |text: &str| (Severity::Warning, text.to_owned());
        let twice = said("r.txt:2:1: 192.0.2.1/32 is there already");
        assert_eq!(problems, [twice, said("r.txt:3:1: 0.0.0.0/0 lets everybody connect")]);
    }

    #[test]
    fn a_year_makes_ranges_old() {
        let ranges = WebexRanges { ranges: Vec::new(), date: unix("2026-05-01").unwrap() };
        assert!(!ranges.is_old(unix("2027-05-01").unwrap()) && ranges.is_old(unix("2027-05-02").unwrap()));
    }
}
