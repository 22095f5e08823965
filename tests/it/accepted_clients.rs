//! How clients of the field call the gateway, and what certificates they show: `docs/reference/accepted.md` has one row for each kind.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xspgate::proxy_protocol::{Header, v2};
use xspgate::sim::cti::Ending;
use xspgate::sim::pki::{CTI_CLIENT, Caller, Pki};
use xspgate::sim::site::{APP, CLOUD, DIRECT, Simulation, Text};
use xspgate::tls::peer::facts;

use crate::client_certificates::{Impostor, TOKEN, VERSIONS, demanded_by_the_interface, failed, get, shows};
use crate::cti_doors::turned_away_as;
use crate::harness::{
    Client, PROFILE, RawClient, Received, Serving, Stage, body, dial, eventually, greeting, hello, refusal, request,
    tls_config, within,
};

/// A handshake message of the server's.
const HANDSHAKE: u8 = 22;
/// The alert for a name that is not served, whole.
const UNRECOGNIZED: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a client without a name in its handshake speaks.
fn nameless(stage: &Stage) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(tls_config(&stage.sim.pki.public_roots()));
    config.enable_sni = false;
    Arc::new(config)
}

/// The answer to `GET target` with these fields, on a connection of its own.
async fn ask(stage: &Stage, tls: &Arc<ClientConfig>, sni: &str, target: &str, fields: &str) -> Received {
    let mut client = RawClient::try_connect(stage.gateway.https(), sni, Arc::clone(tls)).await.unwrap();
    client.send(format!("GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")).await;
    client.until_closed().await
}

/// What Host and X-Forwarded-Host of the latest request that any XSP has got say.
fn hosts_passed_on(stage: &Stage) -> (String, String) {
    let mut seen = stage.sim.xsps.iter().flat_map(|xsp| {
        let seen = xsp.requests();
        xsp.forget_requests();
        seen
    });
    let latest = seen.find(|request| !request.header("user-agent").starts_with("xspgate/")).unwrap();
    (latest.header("host").to_owned(), latest.header("x-forwarded-host").to_owned())
}

/// A ClientHello for `name`, which a real client would not send.
fn odd_hello(name: &str) -> Vec<u8> {
    let likely = "x".repeat(name.len() - 2) + ".y";
    let mut bytes = hello(&likely);
    let at = bytes.windows(likely.len()).position(|window| window == likely.as_bytes()).unwrap();
    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// The first bytes that come back for a ClientHello.
async fn answer(to: SocketAddr, hello: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut tcp = TcpStream::connect(to).await.unwrap();
        tcp.write_all(hello).await.unwrap();
        let mut first = vec![0; 7];
        let length = tcp.read(&mut first).await.unwrap();
        first.truncate(length);
        first
    };
    within("an answer to a ClientHello", exchange).await
}

#[tokio::test]
async fn a_host_is_the_same_with_a_dot_a_port_or_in_capitals() {
    let stage = Stage::start().await;
    let (tls, capitals) = (tls_config(&stage.sim.pki.public_roots()), CLOUD.to_ascii_uppercase());
    for (end, clean) in [
        ("", ""),
        (".", ""),
        (":", ""),
        (".:", ""),
        (":443", ":443"),
        (".:443", ":443"),
        (":8443", ":8443"),
        (":0", ":0"),
    ] {
        for name in [CLOUD, &capitals] {
            let host = format!("Host: {name}{end}\r\n");
            assert_eq!(ask(&stage, &tls, CLOUD, PROFILE, &host).await.status(), 200, "{host}");
            let clean = format!("{name}{clean}");
            assert_eq!(hosts_passed_on(&stage), (clean.clone(), clean), "what an XSP gets of {host}");
        }
    }
    for end in ["..", ":443:443", ":65536", ":x", ". "] {
        let refused = ask(&stage, &tls, CLOUD, PROFILE, &format!("Host: {CLOUD}{end}x\r\n")).await;
        assert!([400, 421].contains(&refused.status()), "{end}: {}", refused.text());
    }
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn an_absolute_form_may_leave_out_the_default_port_or_name_it() {
    let stage = Stage::start().await;
    let tls = tls_config(&stage.sim.pki.public_roots());
    let capitals = CLOUD.to_ascii_uppercase();
    for place in [CLOUD, &capitals, &format!("{CLOUD}."), &format!("{CLOUD}:"), &format!("{CLOUD}.:443")] {
        for host in [CLOUD.to_owned(), format!("{CLOUD}:443"), format!("{CLOUD}.")] {
            let target = format!("https://{place}{PROFILE}");
            let answer = ask(&stage, &tls, CLOUD, &target, &format!("Host: {host}\r\n")).await;
            assert_eq!(answer.status(), 200, "{target}, {host}");
        }
    }
    assert_eq!(stage.asked(), 15);
}

#[tokio::test]
async fn hosts_that_differ_are_refused() {
    let stage = Stage::start().await;
    let tls = tls_config(&stage.sim.pki.public_roots());
    for (target, host) in [
        (format!("https://{APP}{PROFILE}"), CLOUD.to_owned()),
        (format!("https://{CLOUD}:8443{PROFILE}"), CLOUD.to_owned()),
        (format!("https://{CLOUD}{PROFILE}"), format!("{CLOUD}:80")),
        (format!("http://{CLOUD}:443{PROFILE}"), CLOUD.to_owned()),
    ] {
        let answer = ask(&stage, &tls, CLOUD, &target, &format!("Host: {host}\r\n")).await;
        assert_eq!(answer.status(), 400, "{target}, {host}");
        assert!(answer.text().ends_with("the request target contradicts the Host field\n"), "{}", answer.text());
    }
    let answer = ask(&stage, &tls, CLOUD, PROFILE, &format!("Host: {CLOUD}\r\nHost: {CLOUD}.\r\n")).await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().ends_with("several Host fields\n"), "{}", answer.text());
    let answer = ask(&stage, &tls, CLOUD, PROFILE, "Host: 127.0.0.1\r\n").await;
    assert_eq!(answer.status(), 421, "a client that has asked for a name");
    assert!(answer.text().ends_with("this host is not served on this connection\n"), "{}", answer.text());
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn a_server_name_may_end_with_a_dot_and_have_capitals() {
    let stage = Stage::passthrough(|_, _| ()).await;
    let to = stage.gateway.https();
    for name in [CLOUD, DIRECT] {
        for name in [format!("{name}."), name.to_ascii_uppercase(), format!("{}.", name.to_ascii_uppercase())] {
            assert_eq!(answer(to, &odd_hello(&name)).await[0], HANDSHAKE, "{name}");
        }
    }
    assert_eq!(answer(to, &odd_hello("other.example.com.")).await, UNRECOGNIZED);
    stage.until_failed("unknown-name", 1.0).await;
    for (count, name) in ["a..b", "xsp.example.com:443", "[::1]", "*.example.com", "a b"].into_iter().enumerate() {
        assert_eq!(answer(to, &odd_hello(name)).await, [21, 3, 3, 0, 2, 2, 47], "{name}");
        stage.until_failed("malformed-name", count as f64 + 1.0).await;
    }
}

#[tokio::test]
async fn a_client_without_a_name_is_served_by_the_only_block() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[[https]]", "trusted_proxies", vec!["127.0.0.1".to_owned()]);
    })
    .await;
    let (tls, to) = (nameless(&stage), stage.gateway.https());
    for host in ["127.0.0.1".to_owned(), to.to_string(), "127.0.0.1:443".into(), CLOUD.into(), format!("{APP}.")] {
        let fields = format!("Host: {host}\r\n");
        assert_eq!(ask(&stage, &tls, CLOUD, PROFILE, &fields).await.status(), 200, "{host}");
        assert_eq!(hosts_passed_on(&stage).0, host.trim_end_matches('.'), "what an XSP gets");
    }
    for host in ["127.0.0.2", "10.0.0.1", "[::1]", "localhost", "other.example.com"] {
        let answer = ask(&stage, &tls, CLOUD, PROFILE, &format!("Host: {host}\r\n")).await;
        assert_eq!(answer.status(), 421, "{host}");
        assert!(answer.text().ends_with("this host is not served on this connection\n"), "{}", answer.text());
    }
    for name in ["127.0.0.1", "10.1.2.3", "::1"] {
        assert_eq!(answer(to, &odd_hello(name)).await[0], HANDSHAKE, "an address for a name: {name}");
    }
    // A name that nobody here has is no missing name.
    assert_eq!(answer(to, &hello("other.example.com")).await, UNRECOGNIZED);
    stage.until_failed("unknown-name", 1.0).await;
    // Behind a proxy, the address is the one that it tells of.
    let destination: SocketAddr = "203.0.113.7:443".parse().unwrap();
    let told = Header::Proxied { source: "192.0.2.7:40000".parse().unwrap(), destination };
    for (host, status) in [("203.0.113.7", "200"), ("127.0.0.1", "421")] {
        let webex = stage.webex().anonymous().nameless().asking_for(CLOUD).behind(v2(&told));
        let mut call = dial(&webex, to).await.unwrap();
        let request = format!("GET {PROFILE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        within("the request", call.send(request)).await.unwrap();
        let (answer, _) = within("the answer", call.rest()).await;
        assert!(answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{host}");
    }
}

/// A block for the cloud and one for the app, on one address; the app's says what `default` says.
fn two_blocks(text: &mut Text, default: Option<bool>) {
    text.set("[[https]]", "hosts", vec![CLOUD.to_owned()]);
    Simulation::serve(text);
    text.set("[[https]]", "hosts", vec![APP.to_owned()]);
    text.set("[[https]]", "interfaces", vec!["xsi-actions".to_owned()]);
    if let Some(default) = default {
        text.set("[[https]]", "default", default);
    }
}

#[tokio::test]
async fn a_client_without_a_name_is_served_by_the_default_block() {
    let (stage, ()) = Stage::with(|_, text| two_blocks(text, Some(true))).await;
    let tls = nameless(&stage);
    for host in ["127.0.0.1", APP] {
        let fields = format!("Host: {host}\r\n");
        assert_eq!(ask(&stage, &tls, CLOUD, PROFILE, &fields).await.status(), 200, "{host}");
        assert_eq!(ask(&stage, &tls, CLOUD, TOKEN, &fields).await.status(), 404, "{host}: the other block's interface");
    }
    let answer = ask(&stage, &tls, CLOUD, PROFILE, &format!("Host: {CLOUD}\r\n")).await;
    assert_eq!(answer.status(), 421, "the other block's name");
    assert_eq!(stage.client().get(TOKEN).await.status, StatusCode::OK, "by its name, the other block serves");
}

#[tokio::test]
async fn a_client_without_a_name_is_turned_away_where_no_block_is_the_default() {
    for default in [None, Some(false)] {
        let (stage, ()) = Stage::with(|_, text| two_blocks(text, default)).await;
        let to = stage.gateway.https();
        assert!(RawClient::try_connect(to, CLOUD, nameless(&stage)).await.is_err());
        stage.until_failed("no-name", 1.0).await;
        assert_eq!(answer(to, &odd_hello("127.0.0.1")).await, UNRECOGNIZED);
        stage.until_failed("no-name", 2.0).await;
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_pass_through_block_takes_clients_without_a_name_where_it_is_the_default() {
    let stage = Stage::passthrough(|_, text| {
        text.set("[[passthrough]]", "default", true);
    })
    .await;
    let mut call = dial(&stage.direct().nameless(), stage.gateway.https()).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a1");
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(answer(stage.gateway.https(), &odd_hello("127.0.0.1")).await[0], HANDSHAKE);
    // And where it is the only one; the log then knows of no host.
    let stage = Stage::passthrough(|_, text| {
        text.remove_section("[[https]]");
    })
    .await;
    let serving = Serving::start(&stage).await;
    let mut call = dial(&stage.direct().nameless(), serving.passthrough[0]).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a1");
    drop(call);
    let event = serving.event("connection").await;
    assert_eq!((&event["kind"], &event["server.address"]), (&Value::from("passthrough"), &Value::Null));
    let refused = refusal(&stage.direct().asking_for("other.example.com"), serving.passthrough[0]).await;
    assert!(matches!(refused, Ending::Alert(_)), "{refused:?}");
}

#[tokio::test]
async fn a_reload_decides_anew_who_serves_clients_without_a_name() {
    let (stage, ()) = Stage::with(|_, text| two_blocks(text, Some(true))).await;
    let path = stage.sim.folder().join("logged.toml");
    let serving = Serving::start(&stage).await;
    let to = serving.https[0];
    let mut client = RawClient::try_connect(to, CLOUD, nameless(&stage)).await.unwrap();
    let asked = format!("GET {PROFILE} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    client.send(&asked).await;
    assert_eq!(client.until_tail("</Profile>").await.status(), 200);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("default = true", "default = false")).unwrap();
    serving.program.signal("HUP");
    eventually("the reload", async || RawClient::try_connect(to, CLOUD, nameless(&stage)).await.is_err()).await;
    // The connection from before gets a last answer at most.
    client.send(&asked).await;
    assert!(matches!(client.until_closed().await, Received::Closed(_)));
}

#[tokio::test]
async fn a_strange_certificate_is_as_good_as_none_where_one_interface_demands_one() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    let mut refused = 0.0;
    for version in VERSIONS {
        for caller in Caller::UNWELCOME.into_iter().chain([Caller::Revoked]) {
            let (reason, words) = (turned_away_as(caller), words(caller));
            let tls = Arc::new(shows(&stage.sim.pki, version, Some(&stage.sim.pki.caller(caller))));
            let mut client = stage.client().tls(tls);
            assert_eq!(client.get(PROFILE).await.status, StatusCode::OK, "{version:?} {caller:?}");
            let asked = stage.asked();
            for method in [Method::GET, Method::POST] {
                let before = stage.metrics().await.count("xspgate_refused_total", &[("reason", reason)]);
                let answer = client.send(request(method, TOKEN, body(""))).await;
                let text = "this interface is for clients with another certificate than the one that was shown";
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{version:?} {caller:?}");
                assert_eq!(answer.text(), format!("{text}: {words}\n"), "{version:?} {caller:?}");
                eventually("the count", async || {
                    stage.metrics().await.count("xspgate_refused_total", &[("reason", reason)]) == before + 1.0
                })
                .await;
                refused += 1.0;
            }
            assert_eq!(stage.asked(), asked, "{version:?} {caller:?}: an XSP was asked");
            assert_eq!(failed(&stage, reason).await, 0.0, "{version:?} {caller:?}: its handshake is through");
            assert_eq!(client.get(PROFILE).await.status, StatusCode::OK, "the other interfaces go on");
        }
    }
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_refused_total", &[]), refused);
    assert_eq!(metrics.count("xspgate_refused_total", &[("reason", "no-client-certificate")]), 0.0);
}

fn words(caller: Caller) -> &'static str {
    match turned_away_as(caller) {
        "client-certificate-issuer" => "no CA that is trusted here has signed it",
        "client-certificate-name" => "it is another client's",
        "client-certificate-expired" => "it has expired",
        "client-certificate-not-yet-valid" => "it is not valid yet",
        "client-certificate-purpose" => "it is not meant for TLS clients",
        "client-certificate-depth" => "it is too far from a CA that is trusted here",
        "client-certificate-revoked" => "its CA has revoked it",
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_strange_certificate_makes_its_owner_nobody() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    let serving = Serving::start(&stage).await;
    let tls = Arc::new(shows(&stage.sim.pki, VERSIONS[1], Some(&stage.sim.pki.caller(Caller::Expired))));
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots()).tls(tls);
    for (target, tracking_id, status) in [(PROFILE, "STRANGE_1", 200), (TOKEN, "STRANGE_2", 403)] {
        let mut request = get(target);
        request.headers_mut().insert("trackingid", tracking_id.parse().unwrap());
        assert_eq!(client.send(request).await.status, status);
        let event = serving.event_of("access", |event| event["tracking_id"] == tracking_id).await;
        assert_eq!(
            (&event["tls.client.subject"], &event["http.response.status_code"]),
            (&Value::Null, &Value::from(status)),
            "{event}"
        );
        let reason = if status == 403 { Value::from("client-certificate-expired") } else { Value::Null };
        assert_eq!(event["reason"], reason);
    }
    let seen: Vec<_> = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).collect();
    let told = seen.iter().find(|request| request.header("trackingid") == "STRANGE_1").unwrap();
    assert!(!format!("{told:?}").contains(CTI_CLIENT), "{told:?}");
    // Told once in 10 s, in words.
    let said = |line: &str| line.contains("client certificate not trusted: it has expired").then_some(());
    serving.program.line("why, in words", said).await;
    client.disconnect();
    assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(serving.program.output().iter().filter(|line| said(line).is_some()).count(), 1);
}

#[tokio::test]
async fn r_auth_2_a_reload_has_clients_that_are_there_judged_anew() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    let serving = Serving::start(&stage).await;
    let tls = Arc::new(shows(&stage.sim.pki, VERSIONS[1], Some(&stage.sim.pki.caller(Caller::Webex))));
    let new = || Client::new(serving.https[0], stage.sim.pki.public_roots()).tls(Arc::clone(&tls));
    let mut client = new();
    assert_eq!(client.send(get(TOKEN)).await.status, StatusCode::OK);
    let path = stage.sim.folder().join("logged.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&format!("[\"{CTI_CLIENT}\"]"), "[\"other.example.com\"]")).unwrap();
    serving.program.signal("HUP");
    eventually("the reload", async || new().send(get(TOKEN)).await.status == StatusCode::FORBIDDEN).await;
    assert_eq!(client.send(get(TOKEN)).await.status, StatusCode::FORBIDDEN, "its connection is older than that");
    assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    std::fs::write(&path, text).unwrap();
    serving.program.signal("HUP");
    eventually("the way back", async || client.send(get(TOKEN)).await.status == StatusCode::OK).await;
}

/// A certificate with a key, as old or odd tools make it: signed by its own key, with an extension that nobody knows and that
/// must not be passed over; and what the first version of X.509 makes of that, which has no extensions.
fn odd_certificates() -> [(CertificateDer<'static>, rcgen::KeyPair); 2] {
    let made = || {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, CTI_CLIENT);
        let mut odd = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        odd.set_criticality(true);
        params.custom_extensions.push(odd);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().der().clone(), key)
    };
    let (first, key) = made();
    [made(), (of_version_1(&first), key)]
}

/// The same without its version and its extensions. The signature no longer fits, which is no matter here.
fn of_version_1(certificate: &[u8]) -> CertificateDer<'static> {
    let value = |bytes: &[u8]| -> (Vec<u8>, Vec<u8>) {
        let (header, length) = match bytes[1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(bytes[2])),
            _ => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        };
        (bytes[header..header + length].to_vec(), bytes[header + length..].to_vec())
    };
    let wrap = |content: Vec<u8>| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82][..], &length, &content].concat()
    };
    let whole = value(certificate).0;
    let (signed, rest) = value(&whole);
    let mut fields = Vec::new();
    let mut left = signed;
    while !left.is_empty() {
        let next = value(&left).1;
        let field = left[..left.len() - next.len()].to_vec();
        // The version is [0], extensions are [3].
        if ![0xa0, 0xa3].contains(&field[0]) {
            fields.extend(field);
        }
        left = next;
    }
    wrap([wrap(fields), rest].concat()).into()
}

#[tokio::test]
async fn a_certificate_that_nobody_can_read_is_as_good_as_none() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    let text = "this interface is for clients with another certificate than the one that was shown: it can't be read\n";
    for (certificate, key) in odd_certificates() {
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let own = any_supported_type(&key).unwrap();
        let other = any_supported_type(&stage.sim.pki.stranger_client(CTI_CLIENT).key()).unwrap();
        for version in VERSIONS {
            let shown = |key| {
                let mut tls = shows(&stage.sim.pki, version, None);
                let shown = CertifiedKey::new(vec![certificate.clone()], key);
                tls.client_auth_cert_resolver = Arc::new(Impostor(Arc::new(shown)));
                stage.client().tls(Arc::new(tls))
            };
            let mut client = shown(Arc::clone(&own));
            assert_eq!(client.get(PROFILE).await.status, StatusCode::OK, "{version:?}");
            let answer = client.get(TOKEN).await;
            assert_eq!((answer.status, answer.text().as_str()), (StatusCode::FORBIDDEN, text), "{version:?}");
            // Another key than the certificate's is refused in the handshake, as ever.
            let before = failed(&stage, "client-certificate-signature").await;
            assert!(shown(Arc::clone(&other)).try_send(get(PROFILE)).await.is_err(), "{version:?}");
            eventually("the count", async || failed(&stage, "client-certificate-signature").await == before + 1.0)
                .await;
        }
    }
}

/// Remembers whose certificates are asked for, and shows none.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, names: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.0.lock().unwrap() = names.iter().map(|name| name.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_client_is_told_of_every_ca_once() {
    let old = Pki::new();
    let (stage, ()) = Stage::with(|sim, text| {
        demanded_by_the_interface(sim, text);
        text.remove("[trust.webex]", "crl");
        // CAs of the same names with other keys, one file after the other, and one of them twice.
        let (theirs, others) = (sim.pki.webex_chain(), sim.pki.internal_ca());
        let bundle = format!("{theirs}{}{others}{theirs}", old.webex_chain());
        std::fs::write(sim.folder().join("CombinedCertChain.txt"), bundle).unwrap();
    })
    .await;
    let subjects = |pem: &str| -> Vec<Vec<u8>> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap);
        certificates.map(|der| facts(&der).unwrap().subject).collect()
    };
    let mut expected = subjects(&(stage.sim.pki.webex_chain() + &stage.sim.pki.internal_ca()));
    expected.sort();
    expected.dedup();
    for version in VERSIONS {
        let asked = Arc::new(Asked::default());
        let mut tls = shows(&stage.sim.pki, version, None);
        tls.client_auth_cert_resolver = Arc::clone(&asked) as Arc<dyn ResolvesClientCert>;
        let mut client = stage.client().tls(Arc::new(tls));
        assert_eq!(client.get(TOKEN).await.status, StatusCode::FORBIDDEN);
        let mut names = asked.0.lock().unwrap().clone();
        names.sort();
        assert_eq!(names, expected, "{version:?}");
    }
    // Of two with one name, both are believed.
    for pki in [&stage.sim.pki, &old] {
        let tls = Arc::new(shows(&stage.sim.pki, VERSIONS[1], Some(&pki.caller(Caller::Webex))));
        assert_eq!(stage.client().tls(tls).get(TOKEN).await.status, StatusCode::OK);
    }
}
