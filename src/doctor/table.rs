//! A report as text: a table by subject, in a hundred columns. Separate from the report, whose JSON has no columns.

use std::fmt::{self, Write as _};

use super::finding::{Finding, Report, Standing};

/// No line is longer than this, in characters, unless one word is.
const WIDTH: usize = 100;
/// Where what was found begins.
const MARGIN: usize = 23;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for subject in &self.subjects {
            writeln!(f, "{}", subject.name)?;
            for finding in &subject.findings {
                row(f, finding)?;
            }
            writeln!(f)?;
        }
        writeln!(f, "{} in {:.1} s", counts(self), self.took.as_secs_f64())
    }
}

fn row(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let mut lines = wrapped(&finding.found, WIDTH - MARGIN).into_iter();
    let first = lines.next().unwrap_or_default();
    let line = format!("  {:<5} {:<14} {first}", finding.standing.word(), finding.check);
    writeln!(f, "{}", line.trim_end())?;
    for line in lines {
        writeln!(f, "{:MARGIN$}{line}", "")?;
    }
    for (index, line) in wrapped(finding.help.as_deref().unwrap_or_default(), WIDTH - MARGIN - 6).iter().enumerate() {
        let label = if index == 0 { "help:" } else { "" };
        writeln!(f, "{:MARGIN$}{label:<6}{line}", "")?;
    }
    Ok(())
}

/// `12 ok, 1 warn`: what there is none of is left out, except for what is well.
fn counts(report: &Report) -> String {
    let mut text = format!("{} ok", report.count(Standing::Ok));
    for standing in Standing::ALL.into_iter().skip(1) {
        let count = report.count(standing);
        if count > 0 {
            let _ = write!(text, ", {count} {}", standing.word());
        }
    }
    text
}

/// Lines of at most so many characters, broken between words; none of an empty text.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::Subject;

    #[test]
    fn it_reads_well_in_a_hundred_columns() {
        let long = "ä word ".repeat(30);
        let subject = Subject::new("farm xsp").with([
            Finding::ok("dns", "A xsp.example.com: 192.0.2.1"),
            Finding::fail("certificate", &long, &long),
            Finding::skip("clock", ""),
        ]);
        let text = Report::new(vec![subject], Duration::from_millis(1250)).to_string();
        assert!(
            text.starts_with("farm xsp\n  ok    dns            A xsp.example.com: 192.0.2.1\n  fail  certificate    ä")
        );
        assert!(text.contains("\n  skip  clock\n\n"), "{text}");
        assert!(text.ends_with("\n1 ok, 1 fail, 1 skip in 1.2 s\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH && line == line.trim_end()), "{text}");
        assert!(text.contains(&format!("\n{:MARGIN$}help: ä word", "")), "{text}");
    }
}
