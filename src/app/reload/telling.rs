//! What the log says of a reload and of a renewal. Separate from both, which word the same things.

use tracing::{info, warn};

use crate::config::error::{Problem, Source};
use crate::config::model::Config;
use crate::tls::certs::files::{AFFINITY, Files, WEBEX};
use crate::tls::certs::{self, Material};
use crate::tls::peer::day;

/// Tells of a problem by its place in the configuration, and what follows from it.
pub(super) fn tell(source: &Source, problem: &Problem, consequence: &'static str) {
    let place = match &problem.span {
        Some(span) => {
            let (line, column) = source.position(span.start);
            format!("{}:{line}:{column}", source.path.display())
        }
        None => source.path.display().to_string(),
    };
    warn!(place, problem = problem.message, help = problem.help, "{consequence}");
}

/// What has become of files that a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// They are in use, though something is odd about them.
    Renewed,
    /// The previous ones are.
    Refused,
}

/// Tells of a problem by the section and the file that it is about, and what follows from it.
pub(super) fn tell_of_file(config: &Config, files: &Files, problem: &Problem, told: Told) {
    let (section, file) = files.origin(config, problem).unzip();
    let (what, file) = (section.map_or("files", called), file.map(|file| file.display().to_string()));
    let (problem, help) = (&*problem.message, problem.help.as_deref());
    match told {
        Told::Renewed => warn!(section, file.path = file, problem, help, "{what} renewed, with a warning"),
        Told::Refused => {
            warn!(section, file.path = file, problem, help, "{what} not renewed, the previous ones stay in use");
        }
    }
}

/// What a section's files hold.
fn called(section: &str) -> &'static str {
    match section.split('.').next() {
        Some("certificate") => "certificates",
        Some("trust") => "CAs",
        _ if section == AFFINITY => "affinity keys",
        _ => "Webex's ranges",
    }
}

/// Tells of the sections whose files have changed.
pub(super) fn tell_renewed(old: &Material, new: &Material) {
    let now = certs::now();
    for section in new.read.changed(&old.read) {
        if let Some(webex) = new.webex_ranges.as_ref().filter(|_| section == WEBEX) {
            info!(section, ranges = webex.ranges.len(), date = webex.day(), "{} renewed", called(section));
            continue;
        }
        // What is over already has been told of by a warning.
        let expiries = new.expiries.iter().filter(|expiry| expiry.section == section && expiry.validity.to >= now);
        let ends = expiries.map(|expiry| expiry.validity.to).min().map(day);
        info!(section, ends, "{} renewed", called(section));
    }
}
