//! What was found, check by check, and what to do about it. Separate from the checks, so that whatever a peer said is made
//! harmless in one place, and that text and JSON tell the same.

use std::time::Duration;

use serde::Serialize;

use crate::config::error::printable;

/// The longest text of a finding that is kept, in characters: a peer has written part of it.
const LONGEST: usize = 400;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it should be.
    Ok,
    /// It works, and should be another way.
    Warn,
    /// It does not work.
    Fail,
    /// It was not tried, and this says why.
    Skip,
}

impl Standing {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warn, Self::Fail, Self::Skip];

    /// The word for it, in text as in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One check, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried: a word that stays the same from version to version.
    pub check: &'static str,
    /// What it came to.
    pub standing: Standing,
    /// What was found. Nothing in it steers a terminal.
    pub found: String,
    /// What to do, where something is wrong.
    pub help: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, found: impl AsRef<str>) -> Self {
        Self::new(check, Standing::Ok, found.as_ref(), None)
    }

    /// It works, and `help` says what would be better.
    pub fn warn(check: &'static str, found: impl AsRef<str>, help: impl AsRef<str>) -> Self {
        Self::new(check, Standing::Warn, found.as_ref(), Some(help.as_ref()))
    }

    /// It does not work, and `help` says what to do.
    pub fn fail(check: &'static str, found: impl AsRef<str>, help: impl AsRef<str>) -> Self {
        Self::new(check, Standing::Fail, found.as_ref(), Some(help.as_ref()))
    }

    /// It was not tried.
    pub fn skip(check: &'static str, why: impl AsRef<str>) -> Self {
        Self::new(check, Standing::Skip, why.as_ref(), None)
    }

    fn new(check: &'static str, standing: Standing, found: &str, help: Option<&str>) -> Self {
        Self { check, standing, found: harmless(found), help: help.map(harmless) }
    }
}

/// On one line, not too long, and without what steers a terminal.
fn harmless(text: &str) -> String {
    let text = printable(text).replace('\t', " ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What is looked at, with all that was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Such as `farm xsp, 192.0.2.10:443 of site-a`. Nothing in it steers a terminal.
    pub name: String,
    /// In the order in which things were tried.
    pub findings: Vec<Finding>,
}

impl Subject {
    /// Something to look at, with nothing found yet.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self { name: harmless(name.as_ref()), findings: Vec::new() }
    }

    /// Adds what was found.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds all that was found.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// With these findings.
    #[must_use]
    pub fn with(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.extend(findings);
        self
    }
}

/// All that was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order in which they are shown; none is empty.
    pub subjects: Vec<Subject>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Leaves out subjects of which there is nothing to say.
    pub fn new(subjects: Vec<Subject>, took: Duration) -> Self {
        Self { subjects: subjects.into_iter().filter(|subject| !subject.findings.is_empty()).collect(), took }
    }

    /// How many checks came to this.
    pub fn count(&self, standing: Standing) -> usize {
        self.subjects
            .iter()
            .flat_map(|subject| &subject.findings)
            .filter(|finding| finding.standing == standing)
            .count()
    }

    /// One JSON object on one line, as the book describes it; ends with a newline.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Row<'a> {
            subject: &'a str,
            check: &'static str,
            result: Standing,
            found: &'a str,
            help: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Document<'a> {
            schema: u32,
            version: &'static str,
            verdict: Standing,
            ok: usize,
            warn: usize,
            fail: usize,
            skip: usize,
            ms: u128,
            findings: Vec<Row<'a>>,
        }
        let rows = self.subjects.iter().flat_map(|subject| {
            subject.findings.iter().map(|finding| Row {
                subject: &subject.name,
                check: finding.check,
                result: finding.standing,
                found: &finding.found,
                help: finding.help.as_deref(),
            })
        });
        let document = Document {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            verdict: self.verdict(),
            ok: self.count(Standing::Ok),
            warn: self.count(Standing::Warn),
            fail: self.count(Standing::Fail),
            skip: self.count(Standing::Skip),
            ms: self.took.as_millis(),
            findings: rows.collect(),
        };
        let text = serde_json::to_string(&document).expect("text and numbers are always JSON");
        format!("{text}\n")
    }

    /// The worst that was found: never [`Standing::Skip`].
    pub fn verdict(&self) -> Standing {
        let worst = [Standing::Fail, Standing::Warn].into_iter().find(|standing| self.count(*standing) > 0);
        worst.unwrap_or(Standing::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_verdict() {
        let (ok, skip) = (Finding::ok("a", ""), Finding::skip("b", ""));
        let (warn, fail) = (Finding::warn("c", "", ""), Finding::fail("d", "", ""));
        let verdict = |findings: &[&Finding]| {
            let subject = Subject::new("x").with(findings.iter().copied().cloned());
            Report::new(vec![subject, Subject::new("nothing")], Duration::ZERO).verdict()
        };
        assert_eq!(verdict(&[]), Standing::Ok);
        assert_eq!(verdict(&[&ok, &skip]), Standing::Ok);
        assert_eq!(verdict(&[&ok, &warn, &skip]), Standing::Warn);
        assert_eq!(verdict(&[&fail, &warn, &ok]), Standing::Fail);
    }

    #[test]
    fn what_a_peer_says_steers_no_terminal_and_is_not_endless() {
        let finding = Finding::fail("a", "\u{1b}[31m\r\n\tx\u{202e}", "y".repeat(1000));
        assert_eq!(finding.found, "\u{fffd}[31m\u{fffd}\u{fffd} x\u{fffd}");
        assert_eq!(finding.help.unwrap().chars().count(), LONGEST + 3);
    }

    #[test]
    fn json_is_one_object_on_one_line() {
        let subject = Subject::new("s\"").with([Finding::warn("dns", "f", "h"), Finding::ok("tcp", "g")]);
        let json = Report::new(vec![subject], Duration::from_millis(7)).json();
        assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((value["schema"].as_u64(), value["verdict"].as_str()), (Some(1), Some("warn")));
        assert_eq!((value["warn"].as_u64(), value["ok"].as_u64(), value["ms"].as_u64()), (Some(1), Some(1), Some(7)));
        assert_eq!(value["findings"][0]["subject"], "s\"");
        assert_eq!(
            (&value["findings"][0]["help"], &value["findings"][1]["help"]),
            (&"h".into(), &serde_json::Value::Null)
        );
    }
}
