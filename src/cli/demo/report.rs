//! What is made of the story: each step with what was expected of it, and the table at the end. Apart from the story, which
//! says what happens.

use std::time::Duration;

use super::say;
use super::tally::Tally;

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
    let head = ["requests", "errors", "slowest", "CTI", "reopened"];
    let row = |title: &str, [requests, errors, slowest, said, lost]: [&str; 5], verdict: &str| {
        say(&format!("{title:<24} {requests:>8} {errors:>7} {slowest:>9} {said:>6} {lost:>9}   {verdict}"));
    };
    row("step", head, "expectations");
    for step in steps {
        let Tally { requests, errors, slowest, said, lost, .. } = &step.seen;
        let slowest = format!("{} ms", slowest.as_millis());
        let cells = [&requests.to_string(), &errors.to_string(), &slowest, &said.to_string(), &lost.to_string()];
        row(step.title, cells.map(String::as_str), if step.held() { "held" } else { "FAILED" });
    }
    let held = steps.iter().all(Step::held);
    let verdict = if held { "All expectations held." } else { "Not all expectations held." };
    say("");
    say(&format!("{verdict} {} s in all.", took.as_secs()));
    held
}
