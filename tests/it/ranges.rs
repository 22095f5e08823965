//! R-FW-1: the file of the ranges that Webex connects from decides in place of what is built in, and is followed.

use std::fs;
use std::path::Path;

use http::StatusCode;
use xspgate::sim::site::{Simulation, Text};

use crate::harness::{Ctl, PROFILE, Program, Stage, eventually, examine};

const NEAR: [u8; 4] = [127, 0, 0, 8];
const FAR: [u8; 4] = [127, 0, 0, 16];

/// The file, and who may connect besides.
fn ranges(text: &str) -> impl FnOnce(&Simulation, &mut Text) {
    move |sim, config| {
        let path = sim.folder().join("ranges.txt");
        fs::write(&path, text).unwrap();
        config.set("[webex]", "ranges", path.display().to_string());
        config.set("[[https]]", "allow", vec!["webex-usa".to_owned(), "webex-emea".to_owned()]);
        config.set("[control]", "socket", sim.folder().join("control.sock").display().to_string());
    }
}

async fn status(stage: &Stage, from: [u8; 4]) -> StatusCode {
    stage.client().from(from).get(PROFILE).await.status
}

fn replace(path: &Path, text: &str) {
    fs::write(path.with_extension("new"), text).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

#[tokio::test]
async fn r_fw_1_a_file_of_ranges_decides_and_is_followed() {
    let (stage, ()) =
        Stage::with(ranges("\u{feff}# date: 2026-05-01\r\n\r\n127.0.0.8/29 # near\r\n2001:db8::/32\r\n")).await;
    let path = stage.sim.folder().join("ranges.txt");
    assert_eq!((status(&stage, NEAR).await, status(&stage, FAR).await), (StatusCode::OK, StatusCode::FORBIDDEN));

    replace(&path, "127.0.0.16\n");
    stage.gateway.renew();
    eventually("the new range", async || status(&stage, FAR).await == StatusCode::OK).await;
    assert_eq!(status(&stage, NEAR).await, StatusCode::FORBIDDEN);

    for broken in ["127.0.0.16\n 127.0.0.9/29\n", "", "# nobody\n", "webex-usa\n"] {
        replace(&path, broken);
        stage.gateway.renew();
        let refused = async || stage.metrics().await.value("xspgate_renewal_refused", &[]) == Some(1.0);
        eventually("a refusal", refused).await;
        assert_eq!((status(&stage, NEAR).await, status(&stage, FAR).await), (StatusCode::FORBIDDEN, StatusCode::OK));
    }
    replace(&path, "127.0.0.8\n");
    stage.gateway.renew();
    eventually("the mended file", async || status(&stage, NEAR).await == StatusCode::OK).await;
    assert_eq!(stage.metrics().await.value("xspgate_renewal_refused", &[]), Some(0.0));
}

#[tokio::test]
async fn r_fw_1_what_is_wrong_with_a_file_of_ranges_has_its_line_and_column() {
    let (stage, ()) = Stage::with(ranges("127.0.0.8/29\n")).await;
    let folder = stage.sim.folder();
    fs::write(folder.join("ranges.txt"), "127.0.0.8/29\n  127.0.0.9/29 # mine\n").unwrap();
    let check = Program::run_in(folder, &["check", "xspgate.toml"]);
    assert_eq!(check.code, 2);
    let file = folder.join("ranges.txt").display().to_string();
    let expected = format!("error: {file}:2:3: \"127.0.0.9/29\" has bits beyond its prefix\n --> xspgate.toml:");
    assert!(check.stderr.contains(&expected), "{}", check.stderr);
    assert!(check.stderr.contains("help: \"127.0.0.8/29\" for the whole range"), "{}", check.stderr);
    let said = Ctl(folder.join("control.sock")).refused(&["reload"]).await;
    assert!(said.contains(&format!("{file}:2:3: ")), "{said}");
    assert_eq!(status(&stage, NEAR).await, StatusCode::OK);
}

#[tokio::test]
async fn r_fw_1_which_list_of_which_date_decides_is_told() {
    let (stage, ()) = Stage::with(ranges("# date: 2024-05-01\n127.0.0.8/29\n")).await;
    let folder = stage.sim.folder();
    let check = Program::run_in(folder, &["check", "xspgate.toml"]);
    assert!(check.stdout.contains("\nwebex 1 ranges of 2024-05-01\n"), "{}", check.stdout);
    assert!(check.stderr.contains("are of 2024-05-01, more than a year ago"), "{}", check.stderr);
    examine(&stage, &["xspgate.toml"]).await.assert_warns("webex", "ranges", "those of 2024-05-01, 1 in all");
    replace(&folder.join("ranges.txt"), "# date: 2999-05-01\n127.0.0.8/29\n");
    let check = Program::run_in(folder, &["check", "xspgate.toml"]);
    assert!(check.stderr.contains("are of 2999-05-01, which is still to come"), "{}", check.stderr);
    replace(&folder.join("ranges.txt"), "127.0.0.8/29\n");
    let check = Program::run_in(folder, &["check", "xspgate.toml"]);
    assert_eq!(check.stderr, "", "the file was written just now");
    assert_eq!(examine(&stage, &["xspgate.toml"]).await.of("webex", "ranges").result, "ok");

    let config = fs::read_to_string(folder.join("xspgate.toml")).unwrap();
    let config: String =
        config.lines().filter(|line| !line.starts_with("ranges = ")).map(|l| format!("{l}\n")).collect();
    fs::write(folder.join("built-in.toml"), config).unwrap();
    let check = Program::run_in(folder, &["check", "built-in.toml"]);
    assert!(check.stdout.contains("\nwebex built-in ranges of 2021\n"), "{}", check.stdout);
    assert!(
        check.stderr.contains("warning: Webex's addresses as of 2021 decide over who may connect\n"),
        "{}",
        check.stderr
    );
    examine(&stage, &["built-in.toml"]).await.assert_warns("webex", "ranges", "published in 2021");
}
