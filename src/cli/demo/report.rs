//! What is made of the story: each step with what was expected of it, and the table at the end. Separate from the story, which
//! says what happens.

use std::collections::BTreeSet;
use std::time::Duration;

use super::say;
use super::tally::Tally;

const RULES: &str = include_str!("../../../docs/rules.md");

/// One step as it went.
pub(super) struct Step {
    pub(super) title: &'static str,
    pub(super) seen: Tally,
    /// What was expected, and whether it came true.
    pub(super) expected: Vec<(String, Held)>,
}

/// Whether an expectation came true.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
}

impl From<bool> for Held {
    fn from(held: bool) -> Self {
        if held { Self::Yes } else { Self::No }
    }
}

impl Step {
    fn held(&self) -> bool {
        self.expected.iter().all(|(_, held)| *held == Held::Yes)
    }

    /// Prints what was seen, and whether it was expected.
    pub(super) fn tell(&self) {
        say(&format!("   seen      {}", self.seen));
        for complaint in &self.seen.complaints {
            say(&format!("             {complaint}"));
        }
        for (what, held) in &self.expected {
            say(&format!("   {}  {what}", if *held == Held::Yes { "ok      " } else { "FAILED  " }));
        }
        say("");
    }
}

/// Prints the table; true if all expectations held.
pub(super) fn conclude(steps: &[Step], took: Duration) -> bool {
    let head = ["requests", "errors", "slowest", "CTI", "reopened", "beats"];
    let row = |title: &str, [requests, errors, slowest, said, lost, beats]: [&str; 6], verdict: &str| {
        say(&format!("{title:<24} {requests:>8} {errors:>7} {slowest:>9} {said:>6} {lost:>9} {beats:>6}   {verdict}"));
    };
    row("step", head, "expectations");
    for step in steps {
        let Tally { requests, errors, slowest, said, lost, heartbeats, .. } = &step.seen;
        let slowest = format!("{} ms", slowest.as_millis());
        let counts = [requests, errors, said, lost, heartbeats].map(u64::to_string);
        let [requests, errors, said, lost, beats] = counts.each_ref().map(String::as_str);
        row(step.title, [requests, errors, &slowest, said, lost, beats], if step.held() { "held" } else { "FAILED" });
    }
    let sum = |count: fn(&Tally) -> u64| -> u64 { steps.iter().map(|step| count(&step.seen)).sum() };
    let (beats, astray) = (sum(|seen| seen.heartbeats), sum(|seen| seen.astray_in_rotation));
    let held = beats > 0 && steps.iter().all(Step::held);
    let verdict = if held { "All expectations held." } else { "Not all expectations held." };
    say("");
    say(&format!(
        "Of {beats} heartbeats without a cookie, round-robin would have sent {astray} ({} %) to a wrong XSP, each of which \
         would have torn its channel down.",
        astray * 100 / beats.max(1)
    ));
    explain(steps);
    say(&format!("{verdict} {} s in all.", took.as_secs()));
    held
}

/// Prints what the rules say that the steps name.
fn explain(steps: &[Step]) {
    let expected = steps.iter().flat_map(|step| &step.expected);
    let named: BTreeSet<&str> = expected.filter_map(|(what, _)| rule(what)).collect();
    say("");
    say("The rules named above are Cisco's for Webex for BroadWorks (docs/rules.md has them all):");
    for id in named {
        say(&format!("  {id:<9} {}", first_sentence(id)));
    }
    say("");
}

/// `R-FAIL-1` of a text that has it in brackets.
fn rule(text: &str) -> Option<&str> {
    let from = text.find("(R-")? + 1;
    text[from..].split(')').next()
}

/// What a rule says first.
fn first_sentence(id: &str) -> String {
    let rest = RULES.split_once(&format!("- **{id}** ")).map_or("", |(_, rest)| rest);
    let words: Vec<_> = rest.split("\n- ").next().unwrap_or_default().split_whitespace().collect();
    let text = words.join(" ").replace('*', "");
    text.split_once(". ").map_or(text.clone(), |(sentence, _)| format!("{sentence}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_says_something_first() {
        assert_eq!(rule("all users are at a2 (R-FAIL-1)"), Some("R-FAIL-1"));
        assert_eq!(rule("no request failed"), None);
        for id in ["R-AFF-1", "R-AFF-2", "R-APP-1", "R-APP-6", "R-DNS-1", "R-DNS-2", "R-FAIL-1", "R-FAIL-6"] {
            let sentence = first_sentence(id);
            assert!(sentence.len() > 20 && sentence.ends_with('.') && !sentence.contains("Code:"), "{id}: {sentence}");
        }
    }
}
