//! `xspgate certs`: what it makes is what the gateway, XSPs and OpenSSL take, and nothing is lost on the way.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::StatusCode;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use xspgate::sim::pki::Pki;
use xspgate::sim::site::DOMAIN;

use crate::harness::{Ended, PROFILE, Program, Stage, tiers};

const GUIDE: &str = include_str!("../../docs/certificates.md");
const HOSTS: [&str; 2] = ["webex-cloud-xsp.example.com", "webex-app-xsp.example.com"];
/// How a CA is named on the command line.
const BY_CA: [&str; 4] = ["--ca", "internal-ca.pem", "--ca-key", "internal-ca-key.pem"];

/// A folder in which the tools are used.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with an internal CA in it.
    fn with_ca() -> Self {
        let bench = Self::new();
        bench.succeeds(&["ca"]);
        bench
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn certs(&self, arguments: &[&str]) -> Ended {
        Program::run_in(self.path(), &[&["certs"], arguments].concat())
    }

    /// What is said about it.
    fn succeeds(&self, arguments: &[&str]) -> String {
        let ended = self.certs(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}");
        ended.stdout
    }

    /// The exit code is 2; what is said about it.
    fn fails(&self, arguments: &[&str]) -> String {
        let ended = self.certs(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {}", ended.stderr);
        ended.stderr
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path().join(name)).unwrap().permissions().mode() & 0o777
    }

    /// Runs OpenSSL, if there is one; whether it was content.
    fn openssl(&self, arguments: &[&str]) -> Option<bool> {
        let run = Command::new("openssl").args(arguments).current_dir(self.path()).output();
        if run.is_err() {
            eprintln!("left out: there is no openssl to hold this against");
        }
        run.ok().map(|output| output.status.success())
    }
}

#[test]
fn r_cti_3_what_is_made_is_what_the_gateway_demands() {
    for kind in ["p256", "rsa-2048"] {
        let bench = Bench::new();
        let certs = bench.path().join("certs");
        fs::create_dir(&certs).unwrap();
        Pki::new().write(&certs, &HOSTS).unwrap();
        let by = ["--ca", "certs/internal-ca.pem", "--ca-key", "certs/internal-ca-key.pem"];
        let made = ["--out", "certs", "--force", "--key-type", kind];
        let ca = bench.succeeds(&[&["ca"], &made[..]].concat());
        assert!(ca.starts_with("certs/internal-ca.pem\n  CN=xspgate internal CA, valid until "), "{ca}");
        assert!(ca.contains("\ncerts/internal-ca-key.pem\n  its private key") && ca.contains("\nnext: "), "{ca}");
        bench.succeeds(&[&["cti-client"], &by[..], &made].concat());
        bench.succeeds(&["affinity-key", "--out", "certs/affinity.key", "--force"]);
        fs::write(bench.path().join("xspgate.toml"), xspgate::config::COMPLETE).unwrap();
        let checked = Program::run_in(bench.path(), &["check", "xspgate.toml"]);
        assert_eq!(checked.code, 0, "{}", checked.stderr);
        assert!(checked.stdout.ends_with("\nok\n"), "{}", checked.stdout);
    }
}

#[test]
fn openssl_agrees() {
    for kind in ["p256", "rsa-3072"] {
        let bench = Bench::new();
        bench.succeeds(&["ca", "--key-type", kind]);
        bench.succeeds(&[&["cti-client", "--key-type", kind], &BY_CA[..]].concat());
        let names = ["xsp", "--domain", DOMAIN, "--fqdn", "xsp1.internal.example.com", "--key-type", kind];
        bench.succeeds(&[&names[..], &BY_CA].concat());
        let verify = ["verify", "-x509_strict", "-CAfile", "internal-ca.pem", "-purpose"];
        let xsp = "xsp1.internal.example.com-chain.pem";
        for (purpose, chain, good) in
            [("sslclient", "cti-client-chain.pem", true), ("sslserver", xsp, true), ("sslclient", xsp, false)]
        {
            let verified = bench.openssl(&[&verify[..], &[purpose, chain]].concat());
            assert!(verified.is_none_or(|verified| verified == good), "{purpose} {chain}");
        }
        let hosts = ["-verify_hostname", DOMAIN, xsp];
        let named = bench.openssl(&[&verify[..4], &hosts].concat());
        assert!(named.unwrap_or(true));
    }
}

#[test]
fn cas_of_openssl_s_making_sign_too() {
    let subject = "/DC=com/DC=example/O=Example/OU=one/OU=two/CN=Root";
    for (algorithm, traditional) in
        [(&["rsa:2048"][..], true), (&["rsa:2048"], false), (&["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], true)]
    {
        let bench = Bench::new();
        let made = [
            &[
                "req", "-x509", "-nodes", "-subj", subject, "-days", "30", "-keyout", "key.pem", "-out", "ca.pem",
                "-newkey",
            ],
            algorithm,
        ];
        if bench.openssl(&made.concat()).is_none() {
            return;
        }
        if traditional {
            let kind = if algorithm[0] == "ec" { "ec" } else { "rsa" };
            let rewritten = [kind, "-in", "key.pem", "-out", "key.pem"];
            let old_form = if kind == "rsa" { &["-traditional"][..] } else { &[] };
            assert_eq!(bench.openssl(&[&rewritten[..], old_form].concat()), Some(true));
            let label = format!("{} PRIVATE KEY", kind.to_uppercase());
            assert!(bench.read("key.pem").contains(&label));
        }
        let said = bench.succeeds(&["cti-client", "--ca", "ca.pem", "--ca-key", "key.pem"]);
        assert!(said.contains("note: it ends with its CA on "), "{said}");
        let verified = bench.openssl(&["verify", "-CAfile", "ca.pem", "-purpose", "sslclient", "cti-client-chain.pem"]);
        assert_eq!(verified, Some(true));
        let inspected = bench.succeeds(&["inspect", "cti-client-chain.pem", "--key", "cti-client-key.pem"]);
        assert!(inspected.contains("    chain      [1] [2]: complete, in order\n"), "{inspected}");
    }
}

#[test]
fn a_key_that_belongs_to_nothing_is_a_failure() {
    let bench = Bench::with_ca();
    bench.succeeds(&["ca", "--out", "other"]);
    let wrong = bench.certs(&["inspect", "internal-ca.pem", "--key", "other/internal-ca-key.pem"]);
    assert_eq!(wrong.code, 1, "{}", wrong.stderr);
    assert!(wrong.stdout.contains("belongs to none of them"), "{}", wrong.stdout);
    assert_eq!(wrong.stderr, "error: the key in other/internal-ca-key.pem belongs to nothing that was named\n");
    let both = ["inspect", "internal-ca.pem", "other/internal-ca.pem", "--key", "other/internal-ca-key.pem"];
    bench.succeeds(&both);
}

#[test]
fn a_request_keeps_its_usages_when_openssl_is_told_to() {
    let bench = Bench::with_ca();
    let said = bench.succeeds(&["cti-client", "--csr"]);
    let command = said.lines().map(str::trim).find(|line| line.starts_with("openssl x509 -req")).unwrap();
    let command = command.replace("ca.pem", "internal-ca.pem").replace("ca-key.pem", "internal-ca-key.pem");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let Some(signed) = bench.openssl(&arguments) else { return };
    assert!(signed);
    let chain = bench.read("cti-client.pem") + &bench.read("internal-ca.pem");
    fs::write(bench.path().join("cti-client-chain.pem"), chain).unwrap();
    let inspected = bench.succeeds(&["inspect", "cti-client-chain.pem", "--key", "cti-client-key.pem"]);
    for expected in [
        "    may be     the gateway's client certificate towards the XSPs' CTI\n    wrong      nothing\n",
        "    chain      [1] [2]: complete, in order\n",
        "belongs to [1]\n",
    ] {
        assert!(inspected.contains(expected), "{inspected}");
    }
}

#[test]
fn keys_are_for_their_owner_alone() {
    let bench = Bench::with_ca();
    bench.succeeds(&[&["cti-client"], &BY_CA[..]].concat());
    bench.succeeds(&["cti-client", "--csr", "--out", "request"]);
    bench.succeeds(&["affinity-key", "--out", "affinity.key"]);
    for key in ["internal-ca-key.pem", "cti-client-key.pem", "request/cti-client-key.pem", "affinity.key"] {
        assert_eq!(bench.mode(key), 0o600, "{key}");
    }
    bench.succeeds(&["affinity-key", "--out", "affinity.key", "--force"]);
    assert_eq!(bench.mode("affinity.key"), 0o600);
}

#[test]
fn nothing_is_written_over_what_is_there() {
    let bench = Bench::with_ca();
    let before = (bench.read("internal-ca.pem"), bench.read("internal-ca-key.pem"));
    let said = bench.fails(&["ca"]);
    assert_eq!(
        said,
        "error: ./internal-ca-key.pem is there already, and nothing was written\n\
         help: --force replaces it; --out names another place\n"
    );
    assert_eq!((bench.read("internal-ca.pem"), bench.read("internal-ca-key.pem")), before);
    // One of the two is enough.
    fs::write(bench.path().join("cti-client-chain.pem"), "mine").unwrap();
    bench.fails(&[&["cti-client"], &BY_CA[..]].concat());
    assert!(!bench.path().join("cti-client-key.pem").exists());
    assert_eq!(bench.read("cti-client-chain.pem"), "mine");
    bench.succeeds(&[&["cti-client", "--force"], &BY_CA[..]].concat());
    assert_ne!(bench.read("cti-client-chain.pem"), "mine");
}

#[test]
fn what_can_not_be_used_is_told() {
    let bench = Bench::with_ca();
    bench.succeeds(&["ca", "--out", "other"]);
    bench.succeeds(&[&["cti-client"], &BY_CA[..]].concat());
    let mixed = ["cti-client", "--ca", "internal-ca.pem", "--ca-key", "other/internal-ca-key.pem", "--out", "new"];
    let said = bench.fails(&mixed);
    assert!(
        said.starts_with("error: the key in other/internal-ca-key.pem does not belong to any certificate in"),
        "{said}"
    );
    let leaf = ["cti-client", "--ca", "cti-client-chain.pem", "--ca-key", "cti-client-key.pem", "--out", "new"];
    let said = bench.fails(&leaf);
    assert!(said.contains("CN=bwcticlient.webex.com in cti-client-chain.pem is no CA"), "{said}");
    assert!(!bench.path().join("new").exists());
    for arguments in [
        &["cti-client"][..],
        &["cti-client", "--ca", "internal-ca.pem"],
        &[&["cti-client", "--csr"], &BY_CA[..]].concat(),
        &["cti-client", "--csr", "--days", "3"],
        &["ca", "--days", "0"],
        &["ca", "--days", "7301"],
        &["ca", "--name", ""],
        &["ca", "--key-type", "rsa-1024"],
        &["affinity-key", "--force"],
        &["inspect"],
        &[&["xsp", "--domain", "*.example.com", "--fqdn", "xsp1.example.com"], &BY_CA[..]].concat(),
    ] {
        bench.fails(arguments);
    }
}

#[test]
fn r_cti_1_a_download_is_inspected_as_it_is() {
    let bench = Bench::new();
    let chain = Pki::new().webex_chain();
    let junk = format!("Dear partner,\r\n\r\n{}\r\nRegards\r\n", chain.replace('\n', "\r\n"));
    fs::write(bench.path().join("CombinedCertChain.txt"), junk).unwrap();
    let said = bench.succeeds(&["inspect", "CombinedCertChain.txt"]);
    assert!(said.starts_with("CombinedCertChain.txt: 2 blocks\n"), "{said}");
    assert_eq!(said.matches("    may be     a CA in [trust.NAME]\n    wrong      nothing\n").count(), 2, "{said}");
    // What can be read is shown, whatever else can't.
    fs::write(bench.path().join("der"), b"\x30\x82\x01\x00").unwrap();
    let ended = bench.certs(&["inspect", "der", "CombinedCertChain.txt", "missing"]);
    // A day may have passed in between.
    let shown = |text: &str| text.lines().filter(|line| !line.contains(" days left")).count();
    assert_eq!((ended.code, shown(&ended.stdout)), (2, shown(&said)));
    assert!(ended.stdout.starts_with("CombinedCertChain.txt: 2 blocks\n"), "{}", ended.stdout);
    assert!(ended.stderr.contains("error: der is not PEM\nhelp: it looks like DER"), "{}", ended.stderr);
    assert!(ended.stderr.contains("error: missing can't be read"), "{}", ended.stderr);
}

#[test]
fn no_private_key_is_ever_shown() {
    let bench = Bench::with_ca();
    let key = bench.read("internal-ca-key.pem");
    let said = bench.succeeds(&["inspect", "internal-ca-key.pem", "internal-ca.pem", "--key", "internal-ca-key.pem"]);
    assert!(said.contains("the key in internal-ca-key.pem (ECDSA P-256) belongs to [1]"), "{said}");
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!said.contains(line), "{said}");
    }
}

#[test]
fn r_aff_1_affinity_keys_are_made_for_one_line() {
    let bench = Bench::new();
    let [first, second] = [bench.succeeds(&["affinity-key"]), bench.succeeds(&["affinity-key"])];
    assert_eq!((first.len(), first.lines().count()), (45, 1));
    assert_ne!(first, second);
}

/// A server that shows `chain` and `key`, demands a client certificate of `ca`, and answers every request with 200.
fn serve(bench: &Bench, fqdn: &str, address: SocketAddr) {
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(bench.read(name).as_bytes()).map(Result::unwrap).collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("internal-ca.pem"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let key = PrivateKeyDer::from_pem_slice(bench.read(&format!("{fqdn}-key.pem")).as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier);
    let config = config.with_single_cert(certificates(&format!("{fqdn}-chain.pem")), key).unwrap();
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (listener, acceptor) = (TcpListener::from_std(listener).unwrap(), TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") && stream.read_buf(&mut received).await.is_ok_and(|count| count > 0)
            {
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmade";
            if stream.write_all(answer).await.is_ok() {
                // The client may have gone.
                let _ = stream.shutdown().await;
            }
        }
    });
}

#[tokio::test]
async fn r_tls_4_gateway_and_xsp_believe_one_another_by_what_was_made() {
    for kind in ["p256", "rsa-2048"] {
        let bench = Bench::new();
        let fqdn = "xsp1.internal.example.com";
        bench.succeeds(&["ca", "--key-type", kind]);
        bench.succeeds(&[&["cti-client", "--key-type", kind], &BY_CA[..]].concat());
        bench.succeeds(&[&["xsp", "--domain", DOMAIN, "--fqdn", fqdn, "--key-type", kind], &BY_CA[..]].concat());
        let stage = Stage::with(|sim, text| {
            let address = sim.address(31);
            serve(&bench, fqdn, address);
            let path = |name: &str| bench.path().join(name).display().to_string();
            text.set("[trust.internal]", "ca", path("internal-ca.pem"));
            text.push("[certificate.made]").set("[certificate.made]", "chain", path("cti-client-chain.pem"));
            text.set("[certificate.made]", "key", path("cti-client-key.pem"));
            tiers(text, &[address]);
            text.set("[farm.xsp]", "certificate", "made");
        });
        let (stage, ()) = stage.await;
        let answer = stage.client().get(PROFILE).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"made"[..]));
    }
}

/// The guide's commands in order: its indented lines.
fn commands() -> impl Iterator<Item = &'static str> {
    GUIDE.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.starts_with(' '))
}

#[test]
fn the_commands_of_the_readme_work_in_their_order() {
    let bench = Bench::new();
    let certs = bench.path().join("certs");
    fs::create_dir(&certs).unwrap();
    // What comes from Partner Hub and from a public CA.
    let pki = Pki::new();
    fs::write(certs.join("CombinedCertChain.txt"), pki.webex_chain()).unwrap();
    pki.public(&HOSTS).write(&certs, "public").unwrap();
    fs::write(bench.path().join("xspgate.toml"), xspgate::config::COMPLETE).unwrap();
    let openssl = bench.openssl(&["version"]).is_some();
    let program = Path::new(env!("CARGO_BIN_EXE_xspgate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let (mut run, mut tools) = (0, Vec::new());
    for command in commands() {
        let needs_openssl =
            command.contains("request/cti-client.pem") || command.contains("request/cti-client-chain.pem");
        if needs_openssl && !openssl {
            continue;
        }
        let ended = Command::new("sh").args(["-c", command]).env("PATH", &path).current_dir(bench.path()).output();
        let ended = ended.unwrap();
        assert!(ended.status.success(), "{command}\n{}", String::from_utf8_lossy(&ended.stderr));
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(!command.contains(" inspect ") || !said.lines().any(faulty), "{command}\n{said}");
        assert!(!command.contains(" check ") || said.ends_with("\nok\n"), "{said}");
        tools.extend(command.split_whitespace().nth(2));
        run += 1;
    }
    assert!(run >= 10, "{run}");
    for tool in ["ca", "cti-client", "xsp", "inspect", "affinity-key"] {
        assert!(tools.contains(&tool), "{tool}");
    }
}

/// Whether a line of `inspect` says that something is wrong.
fn faulty(line: &str) -> bool {
    line.trim_start().starts_with("wrong") && !line.ends_with("nothing")
}
