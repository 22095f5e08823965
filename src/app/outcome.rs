//! What comes of reading everything again, in words. Separate from the reading, since it is for the caller.

use std::fmt;

use crate::config::error::Report;

/// What came of reading everything again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in use, but for what takes a restart: the keys and sections whose values differ from those at the start.
    Applied {
        /// In the order of the file.
        needs_restart: Vec<&'static str>,
        /// What is lost by it, in words.
        lost: Vec<String>,
        /// What is odd about what was read, as `check` shows it.
        warnings: Option<String>,
    },
    /// It is what was in use already, but for what has been waiting for a restart.
    Unchanged {
        /// As above.
        needs_restart: Vec<&'static str>,
    },
    /// It can't be used, and nothing has changed: each problem, as `check` shows it.
    Refused(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { needs_restart, lost, warnings } => {
                f.write_str("reloaded")?;
                if !needs_restart.is_empty() {
                    write!(f, "; takes a restart (xspgate ctl restart): {}", needs_restart.join(", "))?;
                }
                warn(f, lost)?;
                warnings.iter().try_for_each(|warnings| write!(f, "\n{warnings}"))
            }
            Self::Unchanged { needs_restart } if needs_restart.is_empty() => f.write_str("nothing has changed"),
            Self::Unchanged { needs_restart } => {
                write!(
                    f,
                    "nothing has changed; still takes a restart (xspgate ctl restart): {}",
                    needs_restart.join(", ")
                )
            }
            Self::Refused(why) => write!(f, "refused, nothing has changed:\n{why}"),
        }
    }
}

impl Outcome {
    /// The same, of a configuration of which that has been waiting for a restart.
    pub(super) fn reminding(self, waiting: Vec<&'static str>) -> Self {
        match self {
            Self::Applied { lost, warnings, .. } => Self::Applied { needs_restart: waiting, lost, warnings },
            Self::Unchanged { .. } => Self::Unchanged { needs_restart: waiting },
            Self::Refused(why) => Self::Refused(why),
        }
    }

    /// The same, of something with these problems, none of which is an error.
    pub(super) fn warning(self, report: &Report) -> Self {
        match self {
            Self::Applied { needs_restart, lost, .. } if !report.problems.is_empty() => {
                Self::Applied { needs_restart, lost, warnings: Some(report.to_string()) }
            }
            Self::Applied { .. } | Self::Unchanged { .. } | Self::Refused(_) => self,
        }
    }
}

/// The process that has taken this one's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taker {
    /// Its id.
    pub(super) pid: u32,
    /// What is lost by it, in words.
    pub(super) warnings: Vec<String>,
}

impl fmt::Display for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} has taken over; the old one drains", self.pid)?;
        warn(f, &self.warnings)
    }
}

fn warn(f: &mut fmt::Formatter<'_>, warnings: &[String]) -> fmt::Result {
    warnings.iter().try_for_each(|warning| write!(f, "\nWARNING: {warning}"))
}
