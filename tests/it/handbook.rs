//! What the program says of itself: man pages that render, completion scripts that shells read, a schema, and exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Ended, Program, Serving, Stage};

/// Runs another program in `folder`, and returns what it has to say; `None`: it is not there, which it must be in CI.
fn judge(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    judge_in(folder, &[], program, arguments)
}

/// As [`judge`], with these variables in its environment.
fn judge_in(folder: &Path, environment: &[(&str, &str)], program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    match command.args(arguments).envs(environment.iter().copied()).current_dir(folder).output() {
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

#[test]
fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("script"), succeeds(folder.path(), &["docs", "completions", "bash"])).unwrap();
    let complete = |words: &str| {
        let line = format!(
            "source ./script; COMP_WORDS=({words} ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _xspgate xspgate '' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        judge(folder.path(), "bash", &["-c", &line])
    };
    for (words, expected) in [("xspgate", "doctor"), ("xspgate ctl", "undrain"), ("xspgate docs completions", "fish")] {
        let completed = complete(words).is_none_or(|said| said.split_whitespace().any(|word| word == expected));
        assert!(completed, "{words}: {:?}", complete(words));
    }
}

#[tokio::test]
async fn shells_complete_the_names_of_xsps_and_farms() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let socket = folder.join("control.sock");
    let section = format!("\n[control]\nsocket = {socket:?}\n");
    let _serving = Serving::start_changed(&stage, |text| text + &section).await;
    let xsp = stage.xsp("a1").address().ip().to_string();
    for shell in ["bash", "zsh", "fish"] {
        fs::write(folder.join(format!("script.{shell}")), succeeds(folder, &["docs", "completions", shell])).unwrap();
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_xspgate")).parent().unwrap().display();
    let path = format!("PATH={binary}:$PATH");
    let environment = [("XSPGATE_SOCKET", socket.to_str().unwrap())];
    // By bash as it would: the words, then the function.
    let bash = |words: &str| {
        let line = format!(
            "{path}; source ./script.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _xspgate xspgate \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        judge_in(folder, &environment, "bash", &["-c", &line])
    };
    for (words, expected) in [
        ("xspgate ctl drain ''", &*xsp),
        ("xspgate ctl drain 127", &xsp),
        ("xspgate ctl drain --wait ''", &xsp),
        ("xspgate ctl unblock ''", &xsp),
        ("xspgate ctl block --farm ''", "xsp"),
        ("xspgate ctl unblock --all ''", "xsp"),
        ("xspgate ctl ''", "undrain"),
        ("xspgate ctl drain -", "--force"),
    ] {
        let said = bash(words);
        assert!(
            said.as_ref().is_none_or(|said| said.split_whitespace().any(|word| word == expected)),
            "{words}: {said:?}"
        );
    }
    for (words, unexpected) in
        [("xspgate ctl block --for ''", &*xsp), ("xspgate ctl reload ''", &xsp), ("xspgate check ''", &xsp)]
    {
        let said = bash(words);
        assert!(said.as_ref().is_none_or(|said| !said.contains(unexpected)), "{words}: {said:?}");
    }
    let line = format!("set -x {path}; source ./script.fish; complete -C 'xspgate ctl drain '")
        .replace("PATH=", "PATH ")
        .replace(":$PATH", " $PATH");
    let said = judge_in(folder, &environment, "fish", &["--no-config", "-c", &line]);
    assert!(said.as_ref().is_none_or(|said| said.lines().any(|line| line.starts_with(&xsp))), "{said:?}");
    // Without a terminal zsh completes nothing: the function is asked for what it would offer.
    let line = format!(
        "{path}; compdef() {{ }}; compadd() {{ shift; print -l $@ }}; source ./script.zsh; _xspgate_xsps; _xspgate_farms"
    );
    let said = judge_in(folder, &environment, "zsh", &["-f", "-c", &line]);
    let offers = |said: &String| [&*xsp, "xsp"].iter().all(|name| said.lines().any(|line| line == *name));
    assert!(said.as_ref().is_none_or(offers), "{said:?}");
    let script = fs::read_to_string(folder.join("script.zsh")).unwrap();
    for action in [":_xspgate_xsps'", ":FARM:_xspgate_farms'"] {
        assert!(script.contains(action), "{action}");
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
