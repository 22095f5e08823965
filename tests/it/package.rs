//! The Debian package: what is in it, and what it does to a machine that gets it, its next version, and loses it again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use xspgate::sim::pki::Pki;
use xspgate::sim::site::{APP, CLOUD};

use crate::deployment::deployed;
use crate::harness::{Tool, left_out, succeed};

/// Mounts a copy of this machine's files, and leaves it by a shell that does what it is told as if it were the machine: what
/// is changed there is gone with it. It is no machine that has booted, so that no service is started.
pub(crate) const ASIDE: &str = r#"
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
mount -t tmpfs tmpfs "$1/root/run"
mkdir "$1/root/run/given"
cp -r "$2/." "$1/root/run/given"
chroot "$1/root" sh -exc "$3" 2>&1
"#;

/// Version 2 of the package follows version 1. Its certificates are given beside it.
const LIFE: &str = r#"
cd /run/given
export DEBIAN_FRONTEND=noninteractive
dpkg --install 1.deb > said
grep 'made a new affinity key' said
test "$(stat -c '%U:%G %a' /etc/xspgate /etc/xspgate/certs)" = "root:xspgate 750
root:xspgate 750"
test "$(stat -c '%U:%G %a' /etc/xspgate/certs/affinity.key)" = 'root:xspgate 640'
test "$(getent passwd xspgate | cut -d: -f7)" = /usr/sbin/nologin

cp certs/public-* certs/internal-ca.pem /etc/xspgate/certs
chown root:xspgate /etc/xspgate/certs/*
chmod 640 /etc/xspgate/certs/*
runuser -u xspgate -- xspgate check /etc/xspgate/xspgate.toml
xspgate --version

echo '# mine' >> /etc/xspgate/xspgate.toml
cp /etc/xspgate/certs/affinity.key before.key
dpkg --install 2.deb > said
! grep "can't use" said
test "$(dpkg-query -f '${Version}' -W xspgate)" = 2
cmp before.key /etc/xspgate/certs/affinity.key
tail -n 1 /etc/xspgate/xspgate.toml | grep mine
runuser -u xspgate -- xspgate check /etc/xspgate/xspgate.toml

# As a service that runs; what the service manager is asked for is written down.
mkdir --parents /run/systemd/system /run/xspgate /var/lib/xspgate
chown xspgate /run/xspgate /var/lib/xspgate
for program in systemctl deb-systemd-invoke; do
    printf '#!/bin/sh\necho "$@" >> /run/asked\n' > /usr/bin/$program
    chmod +x /usr/bin/$program
done
sed -i -e 's/0.0.0.0:443/127.0.0.1:0/' -e 's/127.0.0.1:9901/127.0.0.1:0/' /etc/xspgate/xspgate.toml
runuser -u xspgate -- xspgate run /etc/xspgate/xspgate.toml > /run/log 2>&1 &
process() { xspgate ctl status --json | grep '"pid"'; }
for try in $(seq 100); do if process; then break; fi; sleep 0.1; done
before=$(process)
dpkg --install 1.deb > said
grep 'has taken over' said
after=$(process)
test "$after" != "$before"
grep daemon-reload /run/asked
! grep restart /run/asked
xspgate ctl stop
for try in $(seq 100); do if ! process; then break; fi; sleep 0.1; done
# Without a gateway to ask, it is the service manager's to restart.
dpkg --install 2.deb
grep 'try-restart xspgate.service' /run/asked
rm -r /run/systemd /var/lib/xspgate

echo 'nonsense' >> /etc/xspgate/xspgate.toml
dpkg --install 2.deb 2>&1 | grep "can't use"

dpkg --remove xspgate
test ! -e /usr/bin/xspgate
cmp before.key /etc/xspgate/certs/affinity.key
dpkg --install 1.deb
cmp before.key /etc/xspgate/certs/affinity.key

mkdir /var/lib/xspgate /var/log/xspgate
dpkg --purge xspgate
test ! -e /var/lib/xspgate
test ! -e /var/log/xspgate
test ! -e /etc/xspgate/certs/affinity.key
test ! -e /etc/xspgate/xspgate.toml
# What was put there by hand is not the package's to take.
test -e /etc/xspgate/certs/public-key.pem
rm -r /etc/xspgate
dpkg --install 1.deb
dpkg --purge xspgate
test ! -e /etc/xspgate
echo done
"#;

/// The package with the gateway that is tested in it, as that version.
pub(crate) fn build(version: &str, folder: &Path) -> PathBuf {
    let package = folder.join(format!("{version}.deb"));
    // Where it looks for what `cargo build --profile dist` makes.
    let target = tempfile::tempdir().unwrap();
    let share = target.path().join("dist/share/man/man8");
    fs::create_dir_all(&share).unwrap();
    fs::write(share.join("xspgate-gone.8.gz"), "of a command that was there once").unwrap();
    fs::copy(env!("CARGO_BIN_EXE_xspgate"), target.path().join("dist/xspgate")).unwrap();
    let mut command = Command::new(deployed("debian/build"));
    command.env("CARGO_TARGET_DIR", target.path()).current_dir(target.path());
    command.args(["--no-build", "--fast", "--strip", "--quiet", "--deb-version", version]);
    succeed(command.args(["--output", package.to_str().unwrap()]));
    package
}

pub(crate) fn has_cargo_deb() -> bool {
    Tool::installed("cargo-deb", "cargo install --locked cargo-deb").is_some()
}

/// What the program itself says.
fn said(arguments: &[&str]) -> String {
    succeed(Command::new(env!("CARGO_BIN_EXE_xspgate")).args(arguments))
}

#[test]
fn the_package_holds_what_it_should_and_no_key() {
    let (true, Some(dpkg)) = (has_cargo_deb(), Tool::find("dpkg-deb", &["dpkg"])) else { return };
    let folder = tempfile::tempdir().unwrap();
    let package = build("1", folder.path());
    let listing = succeed(dpkg.command().arg("--contents").arg(&package));
    let has = |mode: &str, path: &str| listing.lines().any(|line| line.starts_with(mode) && line.ends_with(path));
    assert!(
        has("-rwxr-xr-x root/root", " ./usr/bin/xspgate") || has("-rwxr-xr-x 0/0", " ./usr/bin/xspgate"),
        "{listing}"
    );
    for path in
        ["./usr/lib/systemd/system/xspgate.service", "./etc/xspgate/xspgate.toml", "./usr/share/doc/xspgate/copyright"]
    {
        assert!(has("-rw-r--r--", path), "{path}\n{listing}");
    }
    assert!(!listing.contains(".key") && !listing.contains(".pem"), "{listing}");
    let control = folder.path().join("control");
    succeed(dpkg.command().arg("--control").arg(&package).arg(&control));
    let kept = fs::read_to_string(control.join("conffiles")).unwrap();
    assert_eq!(
        kept.lines().collect::<BTreeSet<_>>(),
        BTreeSet::from(["/etc/logrotate.d/xspgate", "/etc/xspgate/xspgate.toml"])
    );
    for script in ["postinst", "prerm", "postrm"] {
        let mode = fs::metadata(control.join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{script}");
    }
}

#[test]
fn the_package_says_of_the_program_what_the_program_says_of_itself() {
    let (true, Some(dpkg)) = (has_cargo_deb(), Tool::find("dpkg-deb", &["dpkg"])) else { return };
    let folder = tempfile::tempdir().unwrap();
    let package = build("1", folder.path());
    let share = folder.path().join("files/usr/share");
    succeed(dpkg.command().arg("--extract").arg(&package).arg(folder.path().join("files")));
    let pages = folder.path().join("man");
    said(&["docs", "man", "--out", pages.to_str().unwrap()]);
    let names = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<_>>()
    };
    for section in ["man5", "man8"] {
        let (packed, pages) = (share.join("man").join(section), pages.join(section));
        assert_eq!(names(&packed), names(&pages).iter().map(|name| format!("{name}.gz")).collect());
        for name in names(&pages) {
            let page = succeed(Command::new("gzip").arg("-dc").arg(packed.join(format!("{name}.gz"))));
            assert_eq!(page, fs::read_to_string(pages.join(&name)).unwrap(), "{name}");
        }
    }
    for (path, arguments) in [
        ("bash-completion/completions/xspgate", &["docs", "completions", "bash"][..]),
        ("zsh/vendor-completions/_xspgate", &["docs", "completions", "zsh"]),
        ("fish/vendor_completions.d/xspgate.fish", &["docs", "completions", "fish"]),
        ("xspgate/xspgate.schema.json", &["docs", "schema"]),
    ] {
        assert_eq!(fs::read_to_string(share.join(path)).unwrap(), said(arguments), "{path}");
    }
    assert!(said(&["docs", "completions", "zsh"]).starts_with("#compdef xspgate\n"));
}

#[test]
fn the_package_is_installed_upgraded_removed_and_purged() {
    let (true, Some(unshare)) = (has_cargo_deb(), Tool::find("unshare", &["util-linux"])) else { return };
    let aside = tempfile::tempdir().unwrap();
    let mut trial = unshare.command();
    trial.args(["--mount", "mount", "-t", "tmpfs", "tmpfs"]).arg(aside.path());
    if !trial.output().unwrap().status.success() {
        return left_out("right to mount", "the package is installed to a copy of the machine's files, as root");
    }
    let given = tempfile::tempdir().unwrap();
    for version in ["1", "2"] {
        build(version, given.path());
    }
    let certs = given.path().join("certs");
    fs::create_dir(&certs).unwrap();
    Pki::new().write(&certs, &[CLOUD, APP]).unwrap();
    let mut command = unshare.command();
    // dpkg insists on these.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", ASIDE, "sh"]);
    let said = succeed(command.arg(aside.path()).arg(given.path()).arg(LIFE));
    assert!(said.ends_with("done\n"), "{said}");
}
