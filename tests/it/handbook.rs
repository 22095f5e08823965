//! What the program says of itself: man pages that render, completion scripts that shells read, a schema, and exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Ended, Program, Serving, Stage, Tool, eventually, left_out};

/// What an interactive bash reads at its start: Ctrl-G notes the line and empties it, Ctrl-T puts all completions on it.
const BASH: &str = r#"
source ./script.bash
probe() { printf '%s\n' "$READLINE_LINE" >>said; READLINE_LINE=; }
bind -x '"\C-g": probe'
bind '"\C-t": insert-completions'
"#;
/// The same for zsh. Tab puts the first of several on the line.
const ZSH: &str = r"
autoload -Uz compinit; compinit -u -D
setopt menu_complete
source ./script.zsh
probe() { print -r -- $BUFFER >>said; BUFFER= }
zle -N probe; bindkey '^G' probe
";
/// What makes a shell find the gateway's program before others.
const PATH: &str = concat!("PATH=$(dirname ", env!("CARGO_BIN_EXE_xspgate"), "):$PATH\n");
/// Debian's functions for completion in bash, which not every machine has.
const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";
/// Puts all completions on the line.
const ALL: &str = "\x14";

/// Runs another program in `folder`, and returns what it has to say; `None`: it is not there, which it must be in CI.
fn judge(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            Some(if output.status.success() || !said.is_empty() { said } else { output.status.to_string() })
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program}: {error}");
            eprintln!("left out: there is no {program}");
            None
        }
    }
}

/// What is on the line of an interactive shell, on a terminal, after each of these was typed; empty where there is no such shell.
async fn typed(folder: &Path, shell: &str, start: &str, keys: &[String]) -> Vec<String> {
    let how = "install it, and util-linux for `script`";
    let (Some(script), Some(_)) = (Tool::installed("script", how), Tool::installed(shell, how)) else {
        return Vec::new();
    };
    let (said, typed) = (folder.join("said"), folder.join("keys"));
    fs::write(folder.join(".zshrc"), PATH.to_owned() + start).unwrap();
    fs::write(folder.join("rc"), PATH.to_owned() + start).unwrap();
    fs::write(&said, "").unwrap();
    fs::write(&typed, keys.join("\x07") + "\x07exit\r").unwrap();
    let interactive = if shell == "bash" { "bash --noprofile --rcfile ./rc -i" } else { "zsh -i" };
    let mut command = script.command();
    command.args(["-qec", interactive, "/dev/null"]).stdin(fs::File::open(&typed).unwrap());
    command.current_dir(folder).env("ZDOTDIR", folder).env("TERM", "xterm").env_remove("XSPGATE_SOCKET");
    let _running = Program::spawn(&mut command);
    let lines = || fs::read_to_string(&said).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually(&format!("{shell} with all that was typed"), async || lines().len() == keys.len()).await;
    lines()
}

/// Starts of an interactive bash: with nothing else, and with Debian's functions for completion.
fn kinds_of_bash() -> Vec<String> {
    let mut kinds = vec![BASH.to_owned()];
    if Path::new(BASH_COMPLETION).exists() {
        kinds.push(format!("source {BASH_COMPLETION}\n{BASH}"));
    } else {
        left_out(BASH_COMPLETION, "install Debian's bash-completion");
    }
    kinds
}

/// Writes the scripts for all shells into `folder`.
fn write_scripts(folder: &Path) {
    for shell in ["bash", "zsh", "fish"] {
        fs::write(folder.join(format!("script.{shell}")), succeeds(folder, &["docs", "completions", shell])).unwrap();
    }
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = Program::run_in(folder, arguments);
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

#[test]
fn man_pages_render_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(succeeds(folder.path(), &["docs", "man", "--out", "share/man"]), "");
    let pages = folder.path().join("share/man");
    let names = |section: &str| {
        let pages = fs::read_dir(pages.join(section)).unwrap();
        pages.map(|page| format!("{section}/{}", page.unwrap().file_name().into_string().unwrap())).collect::<Vec<_>>()
    };
    let (names, configuration) = (names("man8"), names("man5"));
    for command in ["", "-run", "-doctor", "-ctl-drain", "-certs-xsp"] {
        assert!(names.contains(&format!("man8/xspgate{command}.8")), "{names:?}");
    }
    assert_eq!(configuration, ["man5/xspgate.toml.5"]);
    let keys = fs::read_to_string(pages.join(&configuration[0])).unwrap();
    for key in ["advance_after", "drain_spread", "end_streams_after", "allow"] {
        assert!(keys.contains(&format!("\n.TP\n\\fB{key}\\fR\n")), "{key}");
    }
    for page in &names {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{page} has no {section}");
        }
    }
    for page in names.iter().chain(&configuration) {
        for (program, arguments) in [("groff", ["-man", "-ww", "-z"]), ("mandoc", ["-T", "lint", "-Wwarning"])] {
            let said = judge(&pages, program, &[&arguments[..], &[page]].concat()).unwrap_or_default();
            // They have none, so that a version's pages are always the same.
            let said: Vec<_> = said.lines().filter(|line| !line.contains("missing date")).collect();
            assert!(said.is_empty(), "{said:#?}");
        }
    }
    let whole = fs::read_to_string(pages.join("man8/xspgate.8")).unwrap();
    assert_eq!(succeeds(folder.path(), &["docs", "man"]), whole);
    for section in ["SIGNALS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
        assert!(whole.contains(&format!("\n.SH {section}\n")), "{section}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_can_read() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, option) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = succeeds(folder.path(), &["docs", "completions", shell]);
        assert!(script.contains("print-defaults") && script.contains("affinity-key"), "{shell}");
        fs::write(folder.path().join(shell), script).unwrap();
        assert_eq!(judge(folder.path(), shell, &[option, shell]).unwrap_or_default(), "");
    }
}

#[tokio::test]
async fn bash_completes_commands_options_and_files() {
    let folder = tempfile::tempdir().unwrap();
    write_scripts(folder.path());
    fs::write(folder.path().join("site.toml"), "").unwrap();
    let lines = [
        ("xspgate doct\t", "xspgate doctor "),
        ("xspgate ctl undr\t", "xspgate ctl undrain "),
        ("xspgate docs completions f\t", "xspgate docs completions fish "),
        ("xspgate ctl drain --fo\t", "xspgate ctl drain --force "),
        ("xspgate check si\t", "xspgate check site.toml "),
        // No gateway runs, and an XSP is no file.
        ("xspgate ctl drain --socket si\t", "xspgate ctl drain --socket site.toml "),
        ("xspgate ctl drain --socket=si\t", "xspgate ctl drain --socket=site.toml "),
        ("xspgate ctl drain --socket none si\t", "xspgate ctl drain --socket none si"),
    ];
    let (keys, expected): (Vec<_>, Vec<_>) = lines.map(|(keys, line)| (keys.to_owned(), line)).into_iter().unzip();
    for bash in kinds_of_bash() {
        let said = typed(folder.path(), "bash", &bash, &keys).await;
        assert!(said.is_empty() || said == expected, "{said:#?}");
    }
}

/// Lines as they are typed in a shell, each with what is to become of it.
type Expected = Vec<(String, String)>;

#[tokio::test]
async fn shells_complete_the_names_of_xsps_and_farms() {
    let stage = Stage::cti(|_, _| ()).await;
    let folder = stage.sim.folder();
    let socket = folder.join("control.sock");
    let section = format!("\n[control]\nsocket = {socket:?}\n");
    let _serving = Serving::start_changed(&stage, |text| text + &section).await;
    write_scripts(folder);
    let socket = socket.display();
    let xsp = stage.speaker("a1").address();
    let (port, ip) = (xsp.port().to_string(), xsp.ip());
    let start = &port[..port.len() - 1];
    let ctl = format!("xspgate ctl --socket {socket}");
    // Of each shell that has a terminal: an XSP with a port, and the socket wherever it may be given.
    let mut common = Expected::new();
    for command in ["drain", "cut", "connections", "undrain", "block", "unblock"] {
        common.push((format!("{ctl} {command} {ip}:{start}\t"), format!("{ctl} {command} {xsp} ")));
    }
    for command in [format!("drain --socket={socket}"), format!("cut --socket {socket} --farm cti")] {
        common.push((format!("xspgate ctl {command} {ip}:{start}\t"), format!("xspgate ctl {command} {xsp} ")));
    }
    common.push((format!("{ctl} drain --farm=ct\t"), format!("{ctl} drain --farm=cti ")));
    common.push((format!("{ctl} block --farm xs\t"), format!("{ctl} block --farm xsp ")));

    let ports = {
        let mut ports = [xsp.port(), stage.xsp("a1").address().port()].map(|port| port.to_string());
        ports.sort();
        ports.join(" ")
    };
    let bash = Expected::from([
        (format!("{ctl} drain {ip}:{ALL}"), format!("{ctl} drain {ip}:{ports} ")),
        (format!("{ctl} drain \"{ip}:{start}\t"), format!("{ctl} drain \"{xsp}\" ")),
        (format!("{ctl} unblock --all {ALL}"), format!("{ctl} unblock --all cti xsp ")),
        (format!("{ctl} block --for 127\t"), format!("{ctl} block --for 127")),
        (format!("{ctl} reload 127\t"), format!("{ctl} reload 127")),
    ]);
    let bash = [&common[..], &bash].concat();
    let shells = kinds_of_bash().into_iter().map(|start| ("bash", start, &bash));
    for (shell, start, lines) in shells.chain([("zsh", ZSH.to_owned(), &common)]) {
        let (keys, expected): (Vec<_>, Vec<_>) = lines.iter().cloned().unzip();
        let said = typed(folder, shell, &start, &keys).await;
        assert!(said.is_empty() || said == expected, "{shell}: {said:#?} instead of {expected:#?}");
    }

    let binary = Path::new(env!("CARGO_BIN_EXE_xspgate")).parent().unwrap().display();
    for (line, expected) in [
        (format!("xspgate ctl cut --socket={socket} {ip}:"), xsp.to_string()),
        (format!("{ctl} drain {ip}:"), xsp.to_string()),
        (format!("{ctl} drain --farm c"), "cti".to_owned()),
    ] {
        let line = format!("set -x PATH {binary} $PATH; source ./script.fish; complete -C '{line}'");
        let said = judge(folder, "fish", &["--no-config", "-c", &line]);
        assert!(said.as_ref().is_none_or(|said| said.lines().any(|line| line == expected)), "{line}: {said:?}");
    }
}

#[test]
fn the_schema_is_json_that_names_its_draft() {
    let folder = tempfile::tempdir().unwrap();
    let schema: serde_json::Value = serde_json::from_str(&succeeds(folder.path(), &["docs", "schema"])).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn exit_codes_are_those_that_help_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrong.toml"), "x = 1\n").unwrap();
    for (arguments, expected) in [
        (&["check", "--print-defaults"][..], 0),
        (&["docs", "schema"], 0),
        (&["ctl", "status", "--socket", "none.sock"], 1),
        (&["docs", "man", "--out", "wrong.toml"], 1),
        (&["check", "wrong.toml"], 2),
        (&["run", "wrong.toml"], 2),
        (&["run"], 2),
        (&["certs", "inspect", "none.pem"], 2),
        (&["docs", "completions", "tcsh"], 2),
        (&["serve"], 2),
        (&[], 2),
    ] {
        let ended = Program::run_in(folder.path(), arguments);
        assert_eq!(ended.code, expected, "{arguments:?}: {}", ended.stderr);
    }
    let help = succeeds(folder.path(), &["ctl", "drain", "--help"]);
    assert!(help.ends_with("2  the command line can't be used\n"), "{help}");
}
