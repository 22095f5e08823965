//! What is in `deploy`, held against the gateway and against the programs that will read it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xspgate::cli::check;
use xspgate::config::Loaded;
use xspgate::sim::pki::Pki;
use xspgate::sim::site::{APP, CLOUD};

use crate::harness::{Stage, Tool, eventually, succeed};

/// A file below `deploy`.
pub(crate) fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(deployed(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A configuration of `deploy` beside generated certificates; it must have no error.
fn checked(file: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).unwrap();
    Pki::new().write(&certs, &[CLOUD, APP]).unwrap();
    let path = folder.path().join("xspgate.toml");
    fs::write(&path, read(file).replace("/run/secrets/xspgate", certs.to_str().unwrap())).unwrap();
    check::load(&path).unwrap_or_else(|report| panic!("{file}\n{report}")).0
}

/// Seconds that a stop takes at most, from the signal on.
fn stop(loaded: &Loaded) -> u64 {
    let config = &loaded.config;
    // The second before, and the one in which the last client may take its leave.
    1 + config.drain_timeout.as_secs() + config.drain_spread.as_secs() + 1
}

fn ports(addresses: &[SocketAddr]) -> Vec<u64> {
    addresses.iter().map(|address| u64::from(address.port())).collect()
}

/// The value of `KEY=` in the systemd unit.
fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn every_configuration_checks_clean() {
    assert_eq!(checked("debian/xspgate.toml").warnings, []);
    for file in ["container/xspgate.toml", "kubernetes/xspgate.toml"] {
        let loaded = checked(file);
        let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
        // A container has a network of its own, so that it has to be.
        assert!(warnings[0].starts_with("the admin listener can be reached"), "{warnings:?}");
        // Which ranges Webex has today is the operator's to find out.
        let others = warnings[1..].iter().filter(|warning| !warning.starts_with("Webex's addresses as of"));
        assert_eq!(others.count(), 0, "{warnings:?}");
        // The one folder that can be written to there.
        let socket = loaded.config.control.as_deref().and_then(Path::parent);
        assert!(socket.is_some() && socket == loaded.config.state_dir.as_deref(), "{file}: {socket:?}");
    }
}

#[test]
fn systemd_understands_the_unit_and_finds_it_well_shut_in() {
    let Some(analyze) = Tool::find("systemd-analyze", &["systemd", "libsystemd-shared"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("xspgate.service");
    fs::write(&unit, read("systemd/xspgate.service").replace("/usr/bin/xspgate", env!("CARGO_BIN_EXE_xspgate")))
        .unwrap();
    let verified = analyze.command().args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8(verified.stderr).unwrap();
    // It reads the machine's other units too, and may find fault with those.
    assert!(!said.contains("xspgate") && verified.status.success(), "{said}");
    // In tenths.
    succeed(analyze.command().args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(&unit));
}

#[test]
fn the_unit_gives_a_stop_its_time_and_connections_their_files() {
    let (unit, loaded) = (read("systemd/xspgate.service"), checked("debian/xspgate.toml"));
    assert!(setting(&unit, "TimeoutStopSec").parse::<u64>().unwrap() > stop(&loaded));
    assert!(setting(&unit, "LimitNOFILE").parse::<usize>().unwrap() > 2 * loaded.config.limits.connections);
    assert_eq!(setting(&unit, "RestartPreventExitStatus"), check::UNUSABLE.to_string());
    for key in ["After", "Wants"] {
        assert!(setting(&unit, key).split(' ').any(|target| target == "time-sync.target"), "{key}");
    }
    assert_eq!(setting(&unit, "CapabilityBoundingSet"), "CAP_NET_BIND_SERVICE");
    assert_eq!(setting(&unit, "AmbientCapabilities"), "CAP_NET_BIND_SERVICE");
    let state = Path::new("/var/lib").join(setting(&unit, "StateDirectory"));
    assert_eq!(loaded.config.state_dir, Some(state));
    let runtime = Path::new("/run").join(setting(&unit, "RuntimeDirectory"));
    assert_eq!(loaded.config.control, Some(runtime.join("control.sock")));
}

#[test]
fn the_scripts_are_scripts() {
    for script in ["debian/build", "debian/postinst", "debian/prerm", "debian/postrm", "keepalived/xspgate-ready"] {
        let path = deployed(script);
        succeed(Command::new("sh").arg("-n").arg(&path));
        assert!(read(script).starts_with("#!/bin/sh\n"), "{script}");
    }
}

#[test]
fn the_image_is_the_gateway_and_nothing_else_and_not_root() {
    let (file, loaded) = (read("container/Containerfile"), checked("container/xspgate.toml"));
    let (_, image) = file.rsplit_once("\nFROM ").unwrap();
    assert!(image.starts_with("scratch\n"));
    let instruction = |name: &str| image.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let user = instruction("USER").and_then(|user| user.split_once(':')).map(|(user, _)| user.parse::<u32>());
    assert_eq!(user, Some(Ok(65532)));
    let exposed: Vec<u64> = instruction("EXPOSE").unwrap().split(' ').map(|port| port.parse().unwrap()).collect();
    let served = [loaded.config.https[0].listen[0], loaded.config.admin.as_ref().unwrap().listen];
    assert!(ports(&served).iter().all(|port| exposed.contains(port) && *port >= 1024), "{exposed:?}");
    let rust = concat!("FROM rust:", env!("CARGO_PKG_RUST_VERSION"), "-");
    assert!(file.contains(rust), "{rust}");
    let compose = read("container/compose.yaml");
    for line in
        ["\"443:8443\"", "\"127.0.0.1:9901:9901\"", "user: \"65532:65532\"", "read_only: true", "cap_drop: [ALL]"]
    {
        assert!(compose.contains(line), "{line}");
    }
    let (_, patience) = compose.split_once("stop_grace_period: ").unwrap();
    assert!(patience.split_once('s').unwrap().0.parse::<u64>().unwrap() > stop(&loaded));
}

/// The objects that `kubectl apply -k` would send.
fn objects(kubectl: &Tool) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.yaml");
    // Whatever clusters its user has are none of the test's business.
    let kubectl = || {
        let mut command = kubectl.command();
        command.env("KUBECONFIG", "/dev/null");
        command
    };
    let rendered = succeed(kubectl().arg("kustomize").arg(deployed("kubernetes")));
    fs::write(&path, rendered).unwrap();
    // The way to JSON that needs no cluster.
    let label = ["label", "--local", "--output=json", "read=yes", "-f"];
    let json = succeed(kubectl().args(label).arg(&path));
    serde_json::Deserializer::from_str(&json).into_iter().map(Result::unwrap).collect()
}

#[test]
fn the_replicas_share_a_key_are_probed_where_they_listen_and_may_do_nothing_else() {
    let Some(kubectl) = Tool::find("kubectl", &["kubernetes-client"]) else { return };
    let objects = objects(&kubectl);
    let object =
        |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let (map, deployment) = (object("ConfigMap"), object("Deployment"));
    assert_eq!(map["data"]["xspgate.toml"], read("kubernetes/xspgate.toml"), "what is checked is what is deployed");
    let loaded = checked("kubernetes/xspgate.toml");
    let spec = &deployment["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    assert!(deployment["spec"]["replicas"].as_u64() >= Some(2));
    assert_eq!(object("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);

    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].as_u64().unwrap()
    };
    let config = &loaded.config;
    let listening = [config.https[0].listen[0], config.cti[0].listen[0], config.admin.as_ref().unwrap().listen];
    assert_eq!(ports(&listening), [port("https"), port("cti"), port("admin")]);
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let get = &container[probe]["httpGet"];
        assert_eq!((&get["path"], &get["port"]), (&path.into(), &"admin".into()), "{probe}");
    }
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(spec["terminationGracePeriodSeconds"].as_u64().unwrap() > stop(&loaded) + pause);

    let (pod, own) = (&spec["securityContext"], &container["securityContext"]);
    assert_eq!((&pod["runAsNonRoot"], &pod["runAsUser"]), (&true.into(), &65532.into()));
    assert_eq!((&own["readOnlyRootFilesystem"], &own["allowPrivilegeEscalation"]), (&true.into(), &false.into()));
    assert_eq!(own["capabilities"]["drop"][0], "ALL");

    let volumes = spec["volumes"].as_array().unwrap();
    let volume = |name: &str| volumes.iter().find(|volume| volume["name"] == name).unwrap();
    assert_eq!(volume("config")["configMap"]["name"], map["metadata"]["name"]);
    let secrets = &volume("secrets")["projected"];
    assert_eq!(secrets["sources"][0]["secret"]["name"], "xspgate-affinity");
    // Others must not be able to read keys: the gateway refuses them then.
    assert_eq!(secrets["defaultMode"].as_u64().map(|mode| mode & 0o007), Some(0));
    let mounted: Vec<_> =
        container["volumeMounts"].as_array().unwrap().iter().map(|mount| &mount["mountPath"]).collect();
    assert_eq!(mounted, ["/etc/xspgate", "/run/secrets/xspgate", "/var/lib/xspgate"]);

    // Heartbeats without cookies come to the replica that knows their channel.
    assert_eq!(object("Service")["spec"]["sessionAffinity"], "ClientIP");
    let ingress = object("NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
    let open = ingress.iter().filter(|rule| rule["from"].is_null()).flat_map(|rule| rule["ports"].as_array().unwrap());
    assert!(open.into_iter().all(|port| port["port"] != "admin"), "the admin listener is open to everybody");
    for kind in ["Deployment", "PodDisruptionBudget"] {
        assert_eq!(object(kind)["spec"]["selector"]["matchLabels"], object("Service")["spec"]["selector"], "{kind}");
    }
}

#[test]
fn keepalived_understands_the_pair() {
    let libraries = ["libnl-3-200", "libnl-genl-3-200", "libnftnl11", "libsnmp40", "libpci3", "libwrap0"];
    let Some(keepalived) = Tool::find("keepalived", &[&["keepalived"], &libraries[..]].concat()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keepalived.conf");
    let complaints = |text: &str| -> Vec<String> {
        fs::write(&path, text).unwrap();
        let output = keepalived.command().args(["--config-test", "--log-console", "-f"]).arg(&path).output().unwrap();
        // Version 2.2 ends a test by a signal to itself, so that its exit code says nothing.
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        let about = |line: &&str| line.contains(": Line ") && !line.contains(" interface ");
        said.lines().filter(about).map(str::to_owned).collect()
    };
    let text = read("keepalived/keepalived.conf");
    // It has the kernel drop what comes to the shared address.
    assert!(!text.lines().any(|line| line.trim() == "vrrp_strict"));
    assert_eq!(complaints(&text), Vec::<String>::new());
    assert_ne!(complaints(&text.replace("interval", "intervall")), Vec::<String>::new(), "it looks at the file");
}

#[tokio::test]
async fn the_pair_s_check_follows_readyz() {
    // The script finds it by itself.
    let Some(_curl) = Tool::installed("curl", "install curl") else { return };
    let stage = Stage::start().await;
    let admin = stage.gateway.admin_address().to_string();
    let ready = async || {
        let mut command = Command::new(deployed("keepalived/xspgate-ready"));
        command.arg(&admin);
        tokio::task::spawn_blocking(move || command.status().unwrap().success()).await.unwrap()
    };
    assert!(ready().await);
    stage.gateway.lame_duck();
    eventually("not ready", async || !ready().await).await;
}

#[test]
fn the_kernel_knows_every_setting() {
    let text = read("sysctl/60-xspgate.conf");
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(" = ").unwrap_or_else(|| panic!("{line}"));
        assert!(Path::new("/proc/sys").join(key.replace('.', "/")).exists(), "{key}");
        assert!(value.split(' ').all(|number| number.parse::<u32>().is_ok()), "{line}");
        // Where systemd runs, any number lowers the one and may lower the other.
        assert!(!["fs.file-max", "fs.nr_open"].contains(&key), "{line}");
    }
}
