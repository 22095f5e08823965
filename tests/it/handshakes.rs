//! What the gateway agrees on with each kind of client, as rustls and as OpenSSL see it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use http::StatusCode;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, HandshakeKind, SupportedCipherSuite};
use xspgate::sim::site::{APP, CLOUD, Simulation};

use crate::harness::{Gateway, PROFILE, RawClient, Serving, Stage, Tool, eventually, succeed, tls_config};

/// A client that likes these suites, the first one best.
fn fond_of(stage: &Stage, suites: &[SupportedCipherSuite]) -> Arc<ClientConfig> {
    let mut provider = default_provider();
    provider.cipher_suites = suites.to_vec();
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(stage.sim.pki.public_roots()).with_no_client_auth())
}

/// What `openssl s_client` writes about its connection with these arguments, when it is given `input` to send; `None`: there is
/// no openssl.
async fn s_client(to: SocketAddr, folder: &Path, arguments: &[&str], input: &'static str) -> Option<String> {
    let openssl = Tool::find("openssl", &["openssl"])?;
    let mut command = openssl.command();
    command.args(["s_client", "-connect", &to.to_string(), "-servername", CLOUD, "-CAfile"]);
    command.arg(folder.join("public-ca.pem")).args(arguments);
    let run = move || {
        use std::io::Write as _;
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may have ended already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    Some(tokio::task::spawn_blocking(run).await.unwrap())
}

/// The suite that `openssl s_client` has agreed on with the gateway, by its name there; `None`: there is no openssl.
async fn agreed(stage: &Stage, arguments: &[&str]) -> Option<String> {
    let said = s_client(stage.gateway.https(), stage.sim.folder(), arguments, "").await?;
    let (_, rest) = said.split_once("Cipher is ").unwrap_or_else(|| panic!("{said}"));
    Some(rest.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn r_tls_3_the_gateway_s_order_of_suites_goes_but_for_clients_that_like_chacha20_best() {
    let stage = Stage::start().await;
    let (aes_128, aes_256, chacha20) =
        (TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256);
    let (old_128, old_256, old_chacha20) = (
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    );
    for (theirs, expected) in [
        (&[aes_128, chacha20, aes_256][..], aes_256),
        (&[aes_128, chacha20], aes_128),
        (&[chacha20, aes_128, aes_256], chacha20),
        (&[old_128, old_chacha20, old_256], old_256),
        (&[old_chacha20, old_128, old_256], old_chacha20),
    ] {
        let client = RawClient::try_connect(stage.gateway.https(), CLOUD, fond_of(&stage, theirs)).await.unwrap();
        assert_eq!(client.tls().negotiated_cipher_suite(), Some(expected), "{theirs:?}");
    }
}

#[tokio::test]
async fn r_tls_3_the_configured_order_is_what_goes() {
    let (stage, ()) = Stage::with(|_, text| {
        let suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
        text.set("[https.tls]", "cipher_suites", suites.map(str::to_owned).to_vec());
    })
    .await;
    for (theirs, expected) in [
        (&[TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256][..], TLS13_AES_128_GCM_SHA256),
        (&[TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384], TLS13_CHACHA20_POLY1305_SHA256),
    ] {
        let client = RawClient::try_connect(stage.gateway.https(), CLOUD, fond_of(&stage, theirs)).await.unwrap();
        assert_eq!(client.tls().negotiated_cipher_suite(), Some(expected), "{theirs:?}");
    }
}

#[tokio::test]
async fn r_tls_3_openssl_sees_the_same_order() {
    let stage = Stage::start().await;
    for (version, list, theirs, expected) in [
        ("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        (
            "-tls1_3",
            "-ciphersuites",
            "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            "-tls1_2",
            "-cipher",
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
        (
            "-tls1_2",
            "-cipher",
            "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
    ] {
        let Some(suite) = agreed(&stage, &[version, list, theirs]).await else { return };
        assert_eq!(suite, expected, "{theirs}");
    }
}

/// The OID of the key's kind in the certificate that a client is shown: RSA or ECDSA.
async fn kind_shown(to: SocketAddr, tls: Arc<ClientConfig>) -> &'static str {
    let client = RawClient::try_connect(to, CLOUD, tls).await.unwrap();
    let leaf = client.tls().peer_certificates().unwrap()[0].clone();
    let holds = |oid: &[u8]| leaf.windows(oid.len()).any(|part| part == oid);
    match (holds(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]), holds(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1])) {
        (true, false) => "RSA",
        (false, true) => "ECDSA",
        both => panic!("{both:?}"),
    }
}

#[tokio::test]
async fn r_tls_2_a_client_gets_the_first_certificate_whose_kind_of_key_it_knows() {
    let (stage, ()) = Stage::with(|sim, text| {
        let folder = sim.folder().display();
        sim.pki.public_rsa(&[CLOUD, APP]).write(sim.folder(), "rsa").unwrap();
        text.set("[certificate.rsa]", "chain", format!("{folder}/rsa-chain.pem"));
        text.set("[certificate.rsa]", "key", format!("{folder}/rsa-key.pem"));
        text.set("[[https]]", "certificate", vec!["public".to_owned(), "rsa".to_owned()]);
    })
    .await;
    let to = stage.gateway.https();
    assert_eq!(kind_shown(to, tls_config(&stage.sim.pki.public_roots())).await, "ECDSA");
    // Of TLS 1.2, the suites say which kind of key a client knows, and of 1.3 its signature schemes.
    let old = fond_of(&stage, &[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]);
    assert_eq!(kind_shown(to, old).await, "RSA");
    for (arguments, expected) in [
        (&["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256"][..], "ECDSA"),
        (&["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"], "RSA-PSS"),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "RSA"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"], "ECDSA"),
    ] {
        let Some(said) = s_client(to, stage.sim.folder(), arguments, "").await else { return };
        let kind = said.lines().find_map(|line| line.strip_prefix("Peer signature type: "));
        assert!(kind.is_some_and(|kind| kind.starts_with(expected)), "{arguments:?}: {said}");
    }
}

/// Writes `NAME-ocsp.der` for the certificate in `NAME-chain.pem`, as a CA's tools do; whether there are any.
fn certify(folder: &Path, name: &str) -> bool {
    let Some(openssl) = Tool::find("openssl", &["openssl"]) else { return false };
    let run = |arguments: &str| succeed(openssl.command().args(arguments.split(' ')).current_dir(folder));
    let serial = run(&format!("x509 -in {name}-chain.pem -noout -serial"));
    let serial = serial.trim().strip_prefix("serial=").unwrap();
    std::fs::write(folder.join("index.txt"), format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=a\n")).unwrap();
    run(&format!("ocsp -issuer issuing.pem -cert {name}-chain.pem -no_nonce -reqout {name}.req"));
    let signed = "-index index.txt -CA issuing.pem -rsigner issuing.pem -rkey issuing-key.pem -ndays 7";
    run(&format!("ocsp {signed} -reqin {name}.req -respout {name}-ocsp.der"));
    true
}

#[tokio::test]
async fn an_ocsp_response_is_stapled_and_read_again() {
    let (stage, has_tools) = Stage::with(|sim, text| {
        let folder = sim.folder();
        sim.pki.write_issuing(folder).unwrap();
        sim.pki.public(&[CLOUD]).write(folder, "other").unwrap();
        let has_tools = certify(folder, "public") && certify(folder, "other");
        if has_tools {
            let file = folder.join("public-ocsp.der").display().to_string();
            text.set("[certificate.public]", "ocsp", file);
        }
        has_tools
    })
    .await;
    if !has_tools {
        return;
    }
    let (to, folder) = (stage.gateway.https(), stage.sim.folder());
    for version in ["-tls1_3", "-tls1_2"] {
        let Some(said) = s_client(to, folder, &[version, "-status"], "").await else { return };
        assert!(said.contains("OCSP Response Status: successful"), "{said}");
        assert!(said.contains("Cert Status: good"), "{said}");
    }
    let shown = async || s_client(to, folder, &["-status"], "").await.unwrap_or_default();
    let before = shown().await;
    std::fs::rename(folder.join("other-ocsp.der"), folder.join("public-ocsp.der")).unwrap();
    stage.gateway.renew();
    eventually("that another certificate's response is refused", async || {
        stage.metrics().await.count("xspgate_renewal_refused", &[]) == 1.0
    })
    .await;
    assert_eq!(produced(&shown().await), produced(&before), "that of before is in use");
    assert!(certify(folder, "public"));
    stage.gateway.renew();
    eventually("a good response", async || stage.metrics().await.count("xspgate_renewal_refused", &[]) == 0.0).await;
    assert!(shown().await.contains("Cert Status: good"));
}

/// When the response was made that `openssl s_client` shows.
fn produced(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.trim().strip_prefix("Produced At: "))
}

/// Whether a session is resumed at `to`, by a request that brings a ticket for the next one.
async fn resumes(to: SocketAddr, tls: &Arc<ClientConfig>) -> bool {
    let mut client = RawClient::try_connect(to, CLOUD, Arc::clone(tls)).await.unwrap();
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(client.until_closed().await.status(), StatusCode::OK.as_u16());
    client.tls().handshake_kind() == Some(HandshakeKind::Resumed)
}

#[tokio::test]
async fn gateways_of_one_key_file_resume_each_other_s_sessions_of_tls_1_3() {
    let stage = Stage::start().await;
    let config = stage.sim.folder().join("xspgate.toml");
    let other = Gateway::start(&config).await;
    other.until_ready().await;
    let both = [stage.gateway.https(), other.https()];
    let tls_13 = tls_config(&stage.sim.pki.public_roots());
    assert!(!resumes(both[0], &tls_13).await);
    for to in [both[1], both[0], both[1]] {
        assert!(resumes(to, &tls_13).await);
    }
    // A ticket of TLS 1.2 could be opened by whoever gets hold of the file.
    let tls_12 = fond_of(&stage, &[TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]);
    assert_eq!((resumes(both[0], &tls_12).await, resumes(both[0], &tls_12).await), (false, true));
    assert!(!resumes(both[1], &tls_12).await);
}

#[tokio::test]
async fn a_gateway_with_other_affinity_keys_resumes_nothing() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let text = std::fs::read_to_string(folder.join("xspgate.toml")).unwrap();
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    std::fs::write(folder.join("other.key"), key).unwrap();
    succeed(std::process::Command::new("chmod").arg("600").arg(folder.join("other.key")));
    std::fs::write(folder.join("other.toml"), text.replace("affinity.key", "other.key")).unwrap();
    let other = Gateway::start(&folder.join("other.toml")).await;
    other.until_ready().await;
    let tls = tls_config(&stage.sim.pki.public_roots());
    assert!(!resumes(stage.gateway.https(), &tls).await);
    assert!(!resumes(other.https(), &tls).await);
}

#[tokio::test]
async fn a_block_resumes_no_session_of_another_block() {
    let (stage, ()) = Stage::with(|sim, text| {
        let folder = sim.folder().display();
        sim.pki.public(&[CLOUD, APP]).write(sim.folder(), "other").unwrap();
        text.set("[certificate.other]", "chain", format!("{folder}/other-chain.pem"));
        text.set("[certificate.other]", "key", format!("{folder}/other-key.pem"));
        Simulation::serve(text);
        text.set("[[https]]", "listen", vec!["127.0.0.2:0".to_owned()]).set("[[https]]", "certificate", "other");
    })
    .await;
    let [first, second] = stage.gateway.all_https() else { panic!("two listeners") };
    let tls = tls_config(&stage.sim.pki.public_roots());
    assert_eq!((resumes(*first, &tls).await, resumes(*first, &tls).await), (false, true));
    assert_eq!((resumes(*second, &tls).await, resumes(*second, &tls).await), (false, true));
    assert!(!resumes(*first, &tls).await);
}

#[tokio::test]
async fn no_environment_has_session_keys_written_to_a_file() {
    let stage = Stage::start().await;
    let (keys, config) = (stage.sim.folder().join("session-keys"), stage.sim.folder().join("xspgate.toml"));
    let serving = Serving::of_in(&[("SSLKEYLOGFILE", keys.to_str().unwrap())], &config).await;
    let tls = tls_config(&stage.sim.pki.public_roots());
    let mut client = RawClient::try_connect(serving.https[0], CLOUD, tls).await.unwrap();
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
    // The gateway has been a server by then, and a client of an XSP.
    assert_eq!(client.until_closed().await.status(), StatusCode::OK.as_u16());
    assert!(!keys.exists(), "session keys are logged");
}

#[tokio::test]
async fn early_data_and_renegotiation_are_declined() {
    let stage = Stage::start().await;
    let (to, folder) = (stage.gateway.https(), stage.sim.folder());
    let request = "HEAD / HTTP/1.1\r\nHost: webex-cloud-xsp.example.com\r\nConnection: close\r\n\r\n";
    // A request keeps it waiting for the tickets, which come with the answer.
    let Some(said) = s_client(to, folder, &["-tls1_3", "-ign_eof"], request).await else { return };
    assert!(said.contains("Max Early Data: 0"), "{said}");
    assert!(!said.contains("Early data was accepted"), "{said}");
    // "R" at the beginning of a line asks for it.
    let Some(said) = s_client(to, folder, &["-tls1_2"], "R\n").await else { return };
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

#[tokio::test]
async fn a_session_without_a_ticket_is_not_kept() {
    let stage = Stage::start().await;
    let (to, folder) = (stage.gateway.https(), stage.sim.folder());
    let Some(said) = s_client(to, folder, &["-tls1_2", "-reconnect"], "").await else { return };
    assert!(said.contains("Reused, TLSv1.2"), "{said}");
    let Some(said) = s_client(to, folder, &["-tls1_2", "-no_ticket", "-reconnect"], "").await else { return };
    assert!(said.contains("New, TLSv1.2") && !said.contains("Reused, "), "{said}");
}
