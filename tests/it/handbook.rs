//! What the program says of itself: man pages that render, completion scripts that shells read, a schema, and exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Ended, Program};

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

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = Program::run_in(folder, arguments);
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

#[test]
fn man_pages_render_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(succeeds(folder.path(), &["docs", "man", "--out", "share/man1"]), "");
    let pages = folder.path().join("share/man1");
    let names: Vec<_> =
        fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["xspgate.1", "xspgate-run.1", "xspgate-doctor.1", "xspgate-ctl-drain.1", "xspgate-certs-xsp.1"] {
        assert!(names.iter().any(|page| page == name), "{names:?}");
    }
    for page in &names {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{page} has no {section}");
        }
        for (program, arguments) in [("groff", ["-man", "-ww", "-z"]), ("mandoc", ["-T", "lint", "-Wwarning"])] {
            let said = judge(&pages, program, &[&arguments[..], &[page]].concat()).unwrap_or_default();
            // They have none, so that a version's pages are always the same.
            let said: Vec<_> = said.lines().filter(|line| !line.contains("missing date")).collect();
            assert!(said.is_empty(), "{said:#?}");
        }
    }
    let whole = fs::read_to_string(pages.join("xspgate.1")).unwrap();
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
