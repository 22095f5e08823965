//! The book's first chapter, as a reader goes through it: from the package, on a copy of this machine's files without a network,
//! as a user without rights.

use std::fs;

use crate::harness::{Tool, left_out, succeed};
use crate::package::{ASIDE, build, has_cargo_deb};

const CHAPTER: &str = include_str!("../../docs/first-site.md");

/// Installs the package, brings up loopback and does what the chapter says.
const READ: &str = r"
cd /run/given
ip link set lo up
export DEBIAN_FRONTEND=noninteractive
dpkg --install 1.deb > said
install -d -o nobody /run/reader
chmod 755 /run/given
cd /run/reader
set +e
runuser -u nobody -- env HOME=/run/reader PATH=/run/given/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -eu /run/given/chapter > /run/said 2>&1
echo ended with $? >> /run/said
cat /run/said
";

/// The chapter's commands, in order.
fn commands() -> String {
    let parts = CHAPTER.split("\n```sh\n").skip(1);
    parts.filter_map(|part| Some(part.split_once("\n```")?.0)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_first_chapters_commands_bring_up_two_sites_cti_two_gateways_and_prometheus() {
    let tools = [("unshare", "util-linux"), ("ip", "iproute2"), ("openssl", "openssl"), ("curl", "curl")];
    let [Some(unshare), Some(_), Some(_), Some(_)] = tools.map(|(name, package)| Tool::find(name, &[package])) else {
        return;
    };
    let (true, Some(prometheus)) = (has_cargo_deb(), Tool::find("prometheus", &["prometheus"])) else { return };
    let aside = tempfile::tempdir().unwrap();
    let mut trial = unshare.command();
    trial.args(["--mount", "--net", "mount", "-t", "tmpfs", "tmpfs"]).arg(aside.path());
    if !trial.output().unwrap().status.success() {
        return left_out(
            "right to mount",
            "the first chapter's commands are run on a copy of the machine's files, as root",
        );
    }
    let given = tempfile::tempdir().unwrap();
    build("1", given.path());
    fs::create_dir(given.path().join("bin")).unwrap();
    fs::copy(prometheus.path(), given.path().join("bin/prometheus")).unwrap();
    fs::write(given.path().join("chapter"), commands()).unwrap();
    let mut command = unshare.command();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
        "sh",
        "-ec",
        ASIDE,
    ]);
    let said = succeed(command.arg("sh").arg(aside.path()).arg(given.path()).arg(READ));
    let shown = |text: &str| said.lines().filter(|line| line.contains(text)).count();
    assert!(said.ends_with("ended with 0\n"), "{said}");
    // CTI with Webex's certificate, and without one.
    assert_eq!((shown("olleh"), shown("no answer")), (1, 1), "{said}");
    // `check` is content with both configurations, and the doctor finds no fault but names that nobody publishes.
    assert_eq!(said.lines().filter(|line| *line == "ok").count(), 2, "{said}");
    assert_eq!((shown("  fail  "), shown("  warn  ")), (0, shown("  warn  dns ")), "{said}");
    let is_empty = said.lines().any(|line| line == "nothing is left");
    assert!(is_empty && shown("  draining  ") == 2, "{said}");
    assert!(shown(": blocked") + shown("blocked, ") >= 1, "{said}");
    assert_eq!((shown(r#"event="kept""#), shown(r#""2"]"#)), (1, 1), "{said}");
}
