//! What operators build on the metrics: alerts and a dashboard, asked of a real Prometheus that has scraped a gateway with
//! all kinds of traffic.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use xspgate::sim::site::Simulation;
use xspgate::sim::xsp::Behaviour;
use xspgate::telemetry::metrics::TABLE;

use crate::channels::Channel;
use crate::deployment::deployed;
use crate::harness::{
    Blocked, Client, PROFILE, Program, Stage, Tool, assert_bridged, dial, eventually, get_plain, greeting, succeed,
};

fn promtool() -> Option<Tool> {
    Tool::find("promtool", &["prometheus"])
}

/// A gateway that serves everything that it can.
async fn stage() -> Stage {
    let everything = |sim: &Simulation, text: &mut xspgate::sim::site::Text| {
        sim.serve_cti(text);
        sim.serve_passthrough(text);
        text.set("[farm.xsp.failover]", "block_for", "3s");
    };
    let stage = Stage::with(everything).await.0;
    for farm in ["xsp", "cti", "direct"] {
        stage.until_found(farm).await;
    }
    stage
}

/// What goes on at a gateway, once: requests of old and new sessions, a channel, its heartbeats and its end, CTI,
/// pass-through, and clients that are turned away.
async fn traffic(stage: &Stage) {
    let mut client = stage.client();
    for target in [PROFILE, "/dms/x", PROFILE, "/webservice/"] {
        client.get(target).await;
    }
    let channel = Channel::open(stage).await;
    channel.beats(stage).await;
    stage.xsp(&channel.xsp).end_channel(&channel.id);
    let (mut call, _) = stage.greeted().await;
    assert_bridged(&mut call, b"<Request/>").await;
    let mut direct = dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
    greeting(&mut direct).await;
    let mut scanner = TcpStream::connect(stage.gateway.https()).await.unwrap();
    scanner.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
}

/// An XSP goes down, and an application of another one does, until both are blocked.
async fn trouble(stage: &Stage) {
    stage.xsp("b2").kill().await;
    let busy = Behaviour::on("/com.broadsoft.xsi-actions", Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE));
    stage.xsp("b1").behave(busy).await;
    let asked = async || {
        stage.client().get(PROFILE).await;
        let probed = stage.metrics().await.count("xspgate_probes_total", &[]) > 0.0;
        probed && stage.metrics().await.count("xspgate_endpoint_blocked", &[]) >= 2.0
    };
    eventually("trouble", asked).await;
}

/// A Prometheus with the alerts of `deploy`, which scrapes and evaluates each second.
struct Prometheus {
    address: SocketAddr,
    // The program ends before its folder goes.
    _program: Program,
    _folder: TempDir,
}

impl Prometheus {
    async fn start(tool: &Tool, target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = fs::read_to_string(deployed("prometheus/prometheus.yml")).unwrap();
        let config = config.replace("15s", "1s").replace("127.0.0.1:9901", target);
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        fs::copy(deployed("prometheus/xspgate.rules.yml"), folder.path().join("xspgate.rules.yml")).unwrap();
        let mut command = tool.command();
        command.current_dir(folder.path()).args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
        ]);
        let program = Program::spawn(&mut command);
        let address = |line: &str| line.split_once("\"Listening on\" address=")?.1.parse().ok();
        let address = program.line("Prometheus' address", address).await;
        let prometheus = Self { address, _program: program, _folder: folder };
        eventually("Prometheus", async || get_plain(address, "/-/ready").await.0 == 200).await;
        prometheus
    }

    /// What the API says below `data`; it must be a success.
    async fn api(&self, path: &str) -> Value {
        let (status, body) = get_plain(self.address, &format!("/api/v1/{path}")).await;
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
        assert!(status == 200 && answer["status"] == "success", "{path}: {body}");
        answer["data"].take()
    }

    /// The values of an expression, those that are no number left out.
    async fn values(&self, expression: &str) -> Vec<f64> {
        let data = self.api(&format!("query?query={}", encoded(expression))).await;
        assert_eq!(data["resultType"], "vector", "{expression}");
        let samples = data["result"].as_array().unwrap().iter();
        let values = samples.map(|sample| sample["value"][1].as_str().unwrap().parse::<f64>().unwrap());
        values.filter(|value| !value.is_nan()).collect()
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Every `expr` with the title of its panel, the dashboard's variables filled in as for "All".
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut expression = target["expr"].as_str().unwrap().to_owned();
            for variable in ["$instance", "$farm", "$listener"] {
                expression = expression.replace(variable, ".*");
            }
            let expression = expression.replace("$__rate_interval", "1m");
            assert!(!expression.contains('$'), "a variable that the test does not know: {expression}");
            found.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(deployed("grafana/xspgate.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_the_metrics() {
    let Some(promtool) = promtool() else { return };
    let stage = stage().await;
    traffic(&stage).await;
    trouble(&stage).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics");
    fs::write(&path, stage.gateway.admin("/metrics").await.1).unwrap();
    let output = promtool.command().args(["check", "metrics"]).stdin(fs::File::open(&path).unwrap()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_alerts_come_when_they_should_and_not_before() {
    let Some(promtool) = promtool() else { return };
    let run = |arguments: [&str; 3]| succeed(promtool.command().current_dir(deployed("prometheus")).args(arguments));
    run(["check", "config", "prometheus.yml"]);
    run(["check", "rules", "xspgate.rules.yml"]);
    run(["test", "rules", "xspgate.rules.test.yml"]);
}

#[test]
fn every_alert_says_what_to_do_and_has_a_test_in_which_it_comes_and_one_in_which_it_does_not() {
    let rules = fs::read_to_string(deployed("prometheus/xspgate.rules.yml")).unwrap();
    let tests = fs::read_to_string(deployed("prometheus/xspgate.rules.test.yml")).unwrap();
    let mut names = BTreeSet::new();
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        for key in ["for", "severity", "summary", "description", "runbook"] {
            assert_eq!(rule.matches(&format!(" {key}: ")).count(), 1, "{name}: {key}");
        }
        let blocks: Vec<_> = tests.split(&format!("alertname: {name}\n")).skip(1).collect();
        let quiet = |block: &&&str| block.trim_start().starts_with("exp_alerts: []");
        assert_eq!((blocks.len(), blocks.iter().filter(quiet).count()), (2, 1), "tests of {name}");
    }
    assert!(names.len() > 20, "{names:?}");
}

#[test]
fn alerts_and_dashboard_name_metrics_and_labels_that_there_are() {
    let rules = fs::read_to_string(deployed("prometheus/xspgate.rules.yml")).unwrap();
    let mut text: Vec<String> = rules.lines().filter(|line| !line.contains("runbook:")).map(str::to_owned).collect();
    text.extend(expressions(&dashboard()).into_iter().map(|(_, expression)| expression));
    let mut seen = BTreeSet::new();
    for line in &text {
        for (at, _) in line.match_indices("xspgate_") {
            let rest = &line[at..];
            let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let row = TABLE.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("{name}: {line}"));
            seen.insert(name.to_owned());
            let Some((selectors, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { continue };
            for selector in selectors.split(", ") {
                let label = selector.split(['=', '!']).next().unwrap();
                assert!(
                    label == "instance" || row.2.split(", ").any(|known| known == label),
                    "{label} of {name}: {line}"
                );
            }
        }
    }
    let unseen: Vec<_> = TABLE.iter().map(|row| row.0).filter(|name| !seen.contains(*name)).collect();
    assert!(unseen.is_empty(), "metrics of which nothing is made: {unseen:?}");
}

/// The lists that stand behind these words in an expression, or behind a `$labels.`.
fn labels_of(rule: &str) -> BTreeSet<&str> {
    let lists = [" by (", " on (", " without (", " ignoring ("].into_iter().flat_map(|word| rule.split(word).skip(1));
    let grouped = lists.flat_map(|rest| rest.split(')').next().unwrap().split(", "));
    let shown = rule.split("$labels.").skip(1).map(|rest| {
        let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    grouped.chain(shown).collect()
}

#[test]
fn alerts_group_by_labels_and_show_labels_that_there_are() {
    let rules = fs::read_to_string(deployed("prometheus/xspgate.rules.yml")).unwrap();
    for rule in rules.split("- alert: ").skip(1) {
        let (expression, _) = rule.split_once("for: ").unwrap();
        let metrics = TABLE.iter().filter(|row| expression.contains(row.0));
        let mut known: BTreeSet<_> = metrics.flat_map(|row| row.2.split(", ")).collect();
        known.extend(["job", "instance", "le"]);
        let unknown: Vec<_> = labels_of(rule).into_iter().filter(|label| !known.contains(label)).collect();
        assert!(unknown.is_empty(), "{unknown:?}: {rule}");
    }
}

#[tokio::test]
async fn a_real_prometheus_answers_every_query_of_the_dashboard_and_of_the_alerts() {
    let Some(tool) = Tool::find("prometheus", &["prometheus"]) else { return };
    let stage = stage().await;
    // One client stays connected, with a channel that lives on and a call that goes on.
    let (mut client, channel, _call): (Client, _, _) =
        (stage.client(), Channel::open(&stage).await, stage.call().await);
    traffic(&stage).await;
    trouble(&stage).await;
    let prometheus = Prometheus::start(&tool, &stage.gateway.admin_address().to_string()).await;
    let goes_on = async {
        loop {
            client.get(PROFILE).await;
            channel.beats(&stage).await;
            traffic(&stage).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = goes_on => {}
        () = questions(&prometheus) => {}
    }
    stage.until_blocked("b2", Blocked::Yes).await;
}

async fn questions(prometheus: &Prometheus) {
    let scraped = async || prometheus.values("count_over_time(up[1m])").await.first() >= Some(&4.0);
    eventually("four scrapes", scraped).await;
    let mut faults = Vec::new();
    for (panel, expression) in expressions(&dashboard()) {
        if prometheus.values(&expression).await.is_empty() {
            faults.push(format!("nothing to show in {panel}: {expression}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    for variable in dashboard()["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        let (metric, label) = definition.strip_prefix("label_values(").unwrap().split_once(", ").unwrap();
        let label = label.trim_end_matches(')');
        let values = prometheus.api(&format!("label/{label}/values?match[]={metric}")).await;
        assert!(!values.as_array().unwrap().is_empty(), "{definition}");
    }
    let states = async || {
        let data = prometheus.api("rules").await;
        let groups = data["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    eventually("the evaluation of all rules", async || states().await.iter().all(|rule| rule["health"] != "unknown"))
        .await;
    let rules = states().await;
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        prometheus.values(rule["query"].as_str().unwrap()).await;
    }
    let state = |name: &str| rules.iter().find(|rule| rule["name"] == name).unwrap()["state"].clone();
    assert_eq!((state("XspgateXspBlocked"), state("XspgateDown")), ("pending".into(), "inactive".into()));
}

/// `metric{matchers}` of each `increase(...)` in the alerts.
fn increases() -> BTreeSet<(String, String)> {
    let rules = fs::read_to_string(deployed("prometheus/xspgate.rules.yml")).unwrap();
    let selector = |rest: &str| {
        let (selector, _) = rest.split_once('[')?;
        let (metric, matchers) = selector.split_once('{').unwrap_or((selector, "}"));
        Some((metric.to_owned(), matchers.trim_end_matches('}').to_owned()))
    };
    rules.split("increase(").skip(1).filter_map(selector).collect()
}

#[tokio::test]
async fn what_alerts_count_begins_at_zero() {
    let stage = stage().await;
    let (_, scrape) = stage.gateway.admin("/metrics").await;
    let increases = increases();
    assert!(increases.len() > 10, "{increases:?}");
    for (metric, matchers) in increases {
        let series: Vec<&str> = scrape.lines().filter(|line| line.starts_with(&format!("{metric}{{"))).collect();
        assert!(!series.is_empty(), "no series of {metric} at the start");
        // Each of the values that the alert names, one by one.
        for (label, values) in matchers.split(", ").filter_map(|one| one.split_once("=~\"").or(one.split_once("=\""))) {
            for value in values.trim_end_matches('"').split('|') {
                let expected = match value.strip_suffix(".*") {
                    Some(start) => format!("{label}=\"{start}"),
                    None => format!("{label}=\"{value}\""),
                };
                assert!(series.iter().any(|line| line.contains(&expected)), "no {metric} with {expected}");
            }
        }
    }
}
