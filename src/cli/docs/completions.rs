//! Completion scripts: commands, options and files, as the library makes them, and the names of XSPs and farms, which the gateway
//! that runs here is asked for. Separate from the other documents, because each shell has a way of its own.

use clap_complete::Shell;

use crate::cli::command;

/// What follows the script for bash: its own function is called first.
const BASH: &str = r#"
# XSPs and farms of the gateway that runs here.
_xspgate() {
    _xspgate_words "$@"
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} kind word names
    # An address may have colons, at which bash breaks words.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n : cur prev
    fi
    [[ ${COMP_WORDS[1]} == ctl && $cur != -* ]] || return 0
    case $prev in
        --farm | --all) kind=farms ;;
        VALUED) return 0 ;;
        *) kind=xsps ;;
    esac
    for word in "${COMP_WORDS[@]:2:COMP_CWORD - 2}"; do
        case $word in
            COMMANDS) names=$(xspgate ctl names $kind 2>/dev/null) && break ;;
        esac
    done
    if [[ -n $names ]]; then
        COMPREPLY=($(compgen -W "$names" -- "$cur"))
        if declare -F __ltrim_colon_completions >/dev/null; then
            __ltrim_colon_completions "$cur"
        fi
    fi
}
"#;

/// What stands before the end of the script for zsh.
const ZSH: &str = r#"
_xspgate_xsps() {
    local -a names=(${(f)"$(xspgate ctl names xsps 2>/dev/null)"})
    compadd -- $names
}
_xspgate_farms() {
    local -a names=(${(f)"$(xspgate ctl names farms 2>/dev/null)"})
    compadd -- $names
}

"#;

/// Where a script for zsh is run.
const ZSH_END: &str = "if [ \"$funcstack[1]\" = \"_xspgate\" ]; then";

/// The script for `shell`.
pub(super) fn of(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "xspgate", &mut script);
    let script = String::from_utf8(script).expect("scripts are made of text");
    // `docs completions` knows no other shell.
    if shell == Shell::Bash {
        bash(&script)
    } else if shell == Shell::Zsh {
        zsh(&script)
    } else {
        fish(script)
    }
}

/// The commands of `ctl` that take an XSP.
fn commands() -> Vec<String> {
    let command = command();
    let ctl = command.find_subcommand("ctl").expect("there is one");
    let takes_xsp = |command: &&clap::Command| {
        let mut names = command.get_positionals().filter_map(|argument| argument.get_value_names()?.first());
        names.any(|name| name.starts_with("XSP"))
    };
    ctl.get_subcommands().filter(takes_xsp).map(|command| command.get_name().to_owned()).collect()
}

/// The options of `ctl` whose value is no farm.
fn valued() -> Vec<String> {
    let command = command();
    let ctl = command.find_subcommand("ctl").expect("there is one");
    let of_all = [ctl].into_iter().chain(ctl.get_subcommands()).flat_map(clap::Command::get_arguments);
    let takes_value = of_all.filter(|argument| argument.get_action().takes_values());
    let mut options: Vec<_> =
        takes_value.filter_map(|argument| argument.get_long()).map(|name| format!("--{name}")).collect();
    options.retain(|name| name != "--farm" && name != "--all");
    options.sort();
    options.dedup();
    options
}

fn bash(script: &str) -> String {
    let own = BASH.replace("VALUED", &valued().join(" | ")).replace("COMMANDS", &commands().join(" | "));
    script.replacen("_xspgate() {", "_xspgate_words() {", 1) + &own
}

fn zsh(script: &str) -> String {
    let completed = |line: &str| {
        let is_xsp = line.contains(":xsp -- ");
        let action = if is_xsp { "_xspgate_xsps" } else { "_xspgate_farms" };
        match line.rsplit_once(":_default'") {
            Some((start, end)) if is_xsp || start.ends_with(":FARM") => format!("{start}:{action}'{end}\n"),
            Some(_) | None => format!("{line}\n"),
        }
    };
    let script: String = script.lines().map(completed).collect();
    script.replacen(ZSH_END, &format!("{ZSH}{ZSH_END}"), 1)
}

fn fish(mut script: String) -> String {
    for command in commands() {
        let line = format!(
            "complete -c xspgate -n \"__fish_xspgate_using_subcommand ctl; and __fish_seen_subcommand_from {command}\" -f"
        );
        let asked = |kind: &str| format!("-a '(xspgate ctl names {kind} 2>/dev/null)'");
        script += &format!("{line} {}\n{line} -l farm -x {}\n", asked("xsps"), asked("farms"));
    }
    script
}
