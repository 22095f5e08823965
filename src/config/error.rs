//! What is wrong with a configuration, and the way it is shown: place, line, caret, and what would be right. Separate from
//! the checks, so that all of them speak in one voice.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::types::Refusal;

/// Longest part of a source line that is shown, in characters.
const WIDTH: usize = 160;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// Time alone has made a file bad. A gateway starts with it anyway, and keeps what it has in use; a file that
    /// comes new to a gateway that runs can't be used.
    Lapsed,
    /// It can be used, but hardly is what was meant.
    Warning,
}

/// One thing that is wrong, with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The bytes of [`Source::text`] that it is about; `None`: the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong: one line, lower case, no full stop. Never holds key material.
    pub message: String,
    /// What would be right, if that can be said.
    pub help: Option<String>,
}

impl Problem {
    /// An error at `span`.
    pub fn error(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span: span.into(), message: message.into(), help: None }
    }

    /// A warning at `span`.
    pub fn warning(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// Something at `span` that time alone has made bad.
    pub fn lapsed(span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Lapsed, ..Self::error(span, message) }
    }

    /// An error at `span`, where a value is refused.
    pub fn refused(span: Range<usize>, refusal: Refusal) -> Self {
        let (message, help) = refusal.into();
        Self { help, ..Self::error(span, message) }
    }

    /// Says what would be right.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// A configuration file's text, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it was given on the command line.
    pub path: PathBuf,
    /// The whole text; bytes that are no UTF-8 are replaced.
    pub text: String,
}

impl Source {
    /// The folder that relative paths in the file start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let start = self.line_start(byte);
        let line = self.text[..start].matches('\n').count() + 1;
        (line, self.text[start..self.floor(byte)].chars().count() + 1)
    }

    fn line_start(&self, byte: usize) -> usize {
        self.text[..self.floor(byte)].rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn floor(&self, byte: usize) -> usize {
        self.text.floor_char_boundary(byte)
    }

    /// Writes one problem the way `xspgate check` shows it; ends with a newline.
    pub fn render(&self, problem: &Problem, out: &mut impl fmt::Write) -> fmt::Result {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Lapsed | Severity::Warning => "warning",
        };
        writeln!(out, "{severity}: {}", printable(&problem.message))?;
        match &problem.span {
            Some(span) => self.render_place(span, out)?,
            None => writeln!(out, " --> {}", printable(&self.path.display().to_string()))?,
        }
        match &problem.help {
            Some(help) => writeln!(out, "help: {}", printable(help)),
            None => Ok(()),
        }
    }

    fn render_place(&self, span: &Range<usize>, out: &mut impl fmt::Write) -> fmt::Result {
        let (line, column) = self.position(span.start);
        writeln!(out, " --> {}:{line}:{column}", printable(&self.path.display().to_string()))?;
        let (start, at) = (self.line_start(span.start), self.floor(span.start));
        let rest = &self.text[at..];
        let end = at + rest.find('\n').unwrap_or(rest.len());
        let marked = self.text[at..self.floor(span.end).clamp(at, end)].trim_end_matches('\r').chars().count();
        // A long line is shown from shortly before the place.
        let skipped = if column > WIDTH / 2 { column - WIDTH / 4 } else { 0 };
        let shown: String = self.text[start..end].trim_end_matches('\r').chars().skip(skipped).take(WIDTH).collect();
        let padding: String =
            shown.chars().take(column - 1 - skipped).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let carets = marked.min(WIDTH.saturating_sub(column - 1 - skipped)).max(1);
        writeln!(out, "  | {}", printable(&shown))?;
        writeln!(out, "  | {padding}{}", "^".repeat(carets))
    }
}

/// Why a file can't be read, without the operating system's number for it.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// Nothing in a file may steer the terminal: one character for one character.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| {
        let turns_around = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() && c != '\t' || turns_around
    };
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Every problem of one file, in the order of their places. Displayed as `xspgate check` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub source: Source,
    /// What is wrong with it; never empty when a report is an error.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Puts the problems in the order of their places, those without a place first.
    pub fn new(source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        Self { source, problems }
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// The number of problems that are no errors.
    pub fn warnings(&self) -> usize {
        self.problems.len() - self.errors()
    }

    /// Whether the configuration can't be used.
    pub fn is_fatal(&self) -> bool {
        self.errors() > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.source.render(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, problem: Problem) -> String {
        let source = Source { path: "x.toml".into(), text: text.into() };
        let mut out = String::new();
        source.render(&problem, &mut out).unwrap();
        out
    }

    #[test]
    fn a_problem_shows_its_place() {
        let table = [
            ("a = 1\nbb = 22\n", 11..13, "error: m\n --> x.toml:2:6\n  | bb = 22\n  |      ^^\n"),
            ("a = 1\r\nbb = 22\r\n", 12..15, "error: m\n --> x.toml:2:6\n  | bb = 22\n  |      ^^\n"),
            ("\tä = 1", 6..7, "error: m\n --> x.toml:1:6\n  | \tä = 1\n  | \t    ^\n"),
            ("a = [\n1,\n2]", 4..11, "error: m\n --> x.toml:1:5\n  | a = [\n  |     ^\n"),
            ("", 0..0, "error: m\n --> x.toml:1:1\n  | \n  | ^\n"),
            ("a", 1..1, "error: m\n --> x.toml:1:2\n  | a\n  |  ^\n"),
            ("a\n", 9..12, "error: m\n --> x.toml:2:1\n  | \n  | ^\n"),
            ("\u{1b}[31m = 1", 0..1, "error: m\n --> x.toml:1:1\n  | \u{fffd}[31m = 1\n  | ^\n"),
        ];
        for (text, span, expected) in table {
            assert_eq!(rendered(text, Problem::error(span, "m")), expected, "{text:?}");
        }
    }

    #[test]
    fn a_problem_without_a_place_names_the_file_and_help_comes_last() {
        let problem = Problem::warning(None, "m").help("h");
        assert_eq!(rendered("", problem), "warning: m\n --> x.toml\nhelp: h\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("a = \"{}\" # {}", "x".repeat(1000), "y".repeat(1000));
        let out = rendered(&text, Problem::error(1007..1008, "m"));
        let mut lines = out.lines().skip(1);
        assert_eq!(lines.next(), Some(" --> x.toml:1:1008"));
        let shown = lines.next().unwrap();
        let carets = lines.next().unwrap();
        assert!(shown.chars().count() <= WIDTH + 4);
        assert_eq!(shown.chars().nth(carets.find('^').unwrap()), Some('#'));
    }
}
