//! The configurations of other proxies that the book shows, as these proxies read them.

use std::fs;
use std::path::{Path, PathBuf};

use xspgate::sim::pki::{Caller, Pki};
use xspgate::sim::site::{APP, CLOUD};

use crate::harness::{Tool, succeed};

const CHAPTERS: [&str; 2] = [include_str!("../../docs/migrating.md"), include_str!("../../docs/high-availability.md")];

/// What stands between fences of that kind.
fn shown(kind: &str) -> Vec<&'static str> {
    let fence = format!("\n```{kind}\n");
    let parts = CHAPTERS.iter().flat_map(|text| text.split(&*fence).skip(1).collect::<Vec<_>>());
    parts.filter_map(|part| Some(part.split_once("\n```")?.0)).collect()
}

/// Certificates by the names that these configurations use.
fn certificates(folder: &Path) {
    let pki = Pki::new();
    pki.write(folder, &[CLOUD, APP]).unwrap();
    pki.caller(Caller::Webex).write(folder, "webex").unwrap();
    fs::copy(folder.join("CombinedCertChain.txt"), folder.join("webex.pem")).unwrap();
    for name in ["public", "cti-client"] {
        let part = |kind: &str| fs::read_to_string(folder.join(format!("{name}-{kind}.pem"))).unwrap();
        fs::write(folder.join(format!("{name}.pem")), part("chain") + &part("key")).unwrap();
    }
}

#[test]
fn haproxy_takes_the_configurations_that_the_book_shows() {
    let packages = ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"];
    let Some(haproxy) = Tool::find("haproxy", &packages) else { return };
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let texts = shown("haproxy");
    assert_eq!(texts.len(), 2);
    for text in texts {
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, text.replace("/etc/haproxy", folder.path().to_str().unwrap()) + "\n").unwrap();
        succeed(haproxy.command().args(["-c", "-q", "-f"]).arg(&path));
    }
}

#[test]
fn nginx_takes_the_configuration_that_the_book_shows() {
    let Some(nginx) = Tool::find("nginx", &["nginx", "libnginx-mod-stream"]) else { return };
    // Beside the program where it was unpacked, too.
    let module = "lib/nginx/modules/ngx_stream_module.so";
    let module = nginx.path().ancestors().map(|folder| folder.join(module)).find(|path| path.is_file());
    let module = module.unwrap_or_else(|| PathBuf::from("/usr/lib/nginx/modules/ngx_stream_module.so"));
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let texts = shown("nginx");
    assert_eq!(texts.len(), 1);
    let (http, stream) = texts[0].split_once("\nstream {").unwrap();
    let pid = folder.path().join("nginx.pid");
    let head = format!("load_module {};\npid {};\nerror_log stderr;\nevents {{}}\n", module.display(), pid.display());
    let path = folder.path().join("nginx.conf");
    fs::write(&path, format!("{head}http {{\naccess_log off;\n{http}\n}}\nstream {{{stream}\n")).unwrap();
    succeed(nginx.command().arg("-t").arg("-p").arg(folder.path()).arg("-c").arg(&path));
}
