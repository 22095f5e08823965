//! What `xspgate doctor` says of a stage, check by check.

use std::path::PathBuf;

use serde_json::Value;
use xspgate::sim::site::{APP, CLOUD, Simulation};

use super::{Ended, Program, Stage};

/// What one run has said.
pub(crate) struct Said {
    pub(crate) ended: Ended,
    pub(crate) findings: Vec<Finding>,
}

/// One check, as the JSON has it.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) subject: String,
    pub(crate) check: String,
    pub(crate) result: String,
    pub(crate) found: String,
    pub(crate) help: Option<String>,
}

impl Said {
    /// The only finding of that check whose subject holds `subject`.
    pub(crate) fn of(&self, subject: &str, check: &str) -> &Finding {
        let fits = |finding: &&Finding| finding.subject.contains(subject) && finding.check == check;
        let mut all = self.findings.iter().filter(fits);
        let finding = all.next().unwrap_or_else(|| panic!("nothing of {subject:?} {check:?}: {:#?}", self.findings));
        assert!(all.next().is_none(), "several of {subject:?} {check:?}: {:#?}", self.findings);
        finding
    }

    /// The findings that came to `result`.
    pub(crate) fn with(&self, result: &str) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.result == result).collect()
    }

    /// Asserts that this check alone fails, and what is said of it.
    pub(crate) fn assert_fails(&self, subject: &str, check: &str, found: &str) {
        let finding = self.of(subject, check);
        assert_eq!(finding.result, "fail", "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?}");
        assert!(finding.help.as_deref().is_some_and(|help| !help.is_empty()), "{finding:?}");
        let stray: Vec<_> = self.with("fail").into_iter().filter(|other| !other.subject.contains(subject)).collect();
        assert!(stray.is_empty(), "{stray:#?}");
        assert_eq!(self.ended.code, 1);
    }

    pub(crate) fn assert_warns(&self, subject: &str, check: &str, found: &str) {
        let fits = |finding: &&Finding| {
            finding.subject.contains(subject) && finding.check == check && finding.result == "warn"
        };
        let finding = self.findings.iter().find(fits).unwrap_or_else(|| panic!("{:#?}", self.findings));
        assert!(finding.found.contains(found), "{finding:?}");
        assert!(finding.help.is_some(), "{finding:?}");
    }
}

/// Runs the doctor in the stage's folder.
pub(crate) async fn consult(stage: &Stage, arguments: &[&str]) -> Ended {
    let folder: PathBuf = stage.sim.folder().to_owned();
    let arguments: Vec<String> = ["doctor"].iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Program::run_in(&folder, &arguments)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Believes the public CA.
pub(crate) async fn examine(stage: &Stage, arguments: &[&str]) -> Said {
    examine_believing(stage, "public-ca.pem", arguments).await
}

pub(crate) async fn examine_believing(stage: &Stage, ca: &str, arguments: &[&str]) -> Said {
    let ended = consult(stage, &[&["--json", "--timeout", "2s", "--ca", ca], arguments].concat()).await;
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let finding = |row: &Value| Finding {
        subject: text(&row["subject"]).unwrap(),
        check: text(&row["check"]).unwrap(),
        result: text(&row["result"]).unwrap(),
        found: text(&row["found"]).unwrap(),
        help: text(&row["help"]),
    };
    let findings: Vec<Finding> = report["findings"].as_array().unwrap().iter().map(finding).collect();
    let said = Said { ended, findings };
    for result in ["ok", "warn", "fail", "skip"] {
        assert_eq!(report[result], said.with(result).len(), "{result}");
    }
    assert_eq!(said.ended.code == 1, report["verdict"] == "fail");
    said
}

/// Puts the gateway's names into DNS.
pub(crate) fn publish(sim: &Simulation) {
    for name in [CLOUD, APP] {
        sim.zones().set_a(name, 0, [std::net::Ipv4Addr::LOCALHOST]);
    }
}

/// A stage with CTI whose names are public.
pub(crate) async fn published_stage() -> Stage {
    Stage::with(|sim, text| {
        publish(sim);
        sim.serve_cti(text);
    })
    .await
    .0
}
