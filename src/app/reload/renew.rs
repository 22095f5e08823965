//! Files that the configuration names are read again while it stays as it is. Kept on its own because it happens by itself, too,
//! when a file changes on disk.

use std::sync::Arc;

use tracing::{info, warn};

use super::super::outcome::Outcome;
use super::super::running::Running;
use super::telling::{Told, tell_of_file, tell_renewed};
use crate::config::error::{Problem, Report, Severity};
use crate::telemetry::metrics::Renewal;
use crate::telemetry::timeline::{Event, Kind};
use crate::tls::certs;
use crate::tls::certs::files::Files;

/// Uses the files on disk that the configuration names, if they hold something else and are good.
pub(super) fn renew(running: &mut Running) -> Outcome {
    let old = Arc::clone(&running.material);
    if old.read.is_current() {
        info!("configuration unchanged, and the files that it names");
        if running.core.metrics.is_renewal_refused() {
            let text = "the files on disk are those in use again";
            running.core.timeline.add(Event::now(Kind::Renewed, text));
        }
        running.core.metrics.renewal(Renewal::Unchanged);
        return Outcome::Unchanged { needs_restart: Vec::new() };
    }
    let config = running.config.clone();
    let (material, problems) = certs::renew(&config, &old);
    let files = Files::of(&config);
    let Some(material) = material else {
        let fatal: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        fatal.iter().for_each(|problem| tell_of_file(&config, &files, problem, Told::Refused));
        let summary = fatal.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("\n");
        let report = Report::new(running.source.clone(), fatal.into_iter().cloned().collect());
        return not_renewed(running, summary, report.to_string());
    };
    if let Err(error) = running.take_over(config, material) {
        let problem = format!("{error:#}");
        warn!(problem, "files not renewed, the previous ones stay in use");
        return not_renewed(running, problem.clone(), problem);
    }
    let is_new = |problem: &Problem| {
        let unchanged = |(section, _): (&str, _)| running.material.read.agrees(&old.read, section);
        !files.origin(&running.config, problem).is_some_and(unchanged)
    };
    let odd: Vec<_> = problems.into_iter().filter(is_new).collect();
    odd.iter().for_each(|problem| tell_of_file(&running.config, &files, problem, Told::Renewed));
    tell_renewed(&old, &running.material);
    running.core.metrics.renewal(Renewal::Renewed);
    let sections: Vec<_> = running.material.read.changed(&old.read).collect();
    running.core.timeline.add(Event::now(Kind::Renewed, sections.join(", ")));
    let applied = Outcome::Applied { needs_restart: Vec::new(), lost: Vec::new(), warnings: None };
    applied.warning(&Report::new(running.source.clone(), odd))
}

/// `summary` is for the page, and `problems` for the caller.
fn not_renewed(running: &Running, summary: String, problems: String) -> Outcome {
    running.core.metrics.renewal(Renewal::Refused);
    running.core.timeline.add(Event::now(Kind::RenewalRefused, summary));
    Outcome::Refused(problems)
}
