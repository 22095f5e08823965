//! Completion scripts: commands, options and files, as the library makes them, and the names of XSPs and farms, which the gateway
//! that runs here is asked for. Separate from the other documents, because each shell has a way of its own.

use std::collections::BTreeSet;

use clap_complete::Shell;

use crate::cli::command;

/// What follows the script for bash: its own function is called first.
///
/// An XSP may have colons and an option's value follows `=`, at both of which bash breaks words: they are read from the line
/// itself. The names are compared here, because `compgen -W` would run a command that is part of one.
const BASH: &str = r#"
# XSPs and farms of the gateway that runs here, or that --socket names.
_xspgate() {
    _xspgate_words "$@"
    local line=${COMP_LINE:0:COMP_POINT} words word option kind takes name i asked=(xspgate ctl names)
    read -d '' -a words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    [[ ${words[1]} == ctl ]] || return 0
    word=${words[${#words[@]} - 1]#[\"\']}
    # What bash leaves as it is on the line.
    local kept=${word%"$2"}
    case $word in
        --farm=* | --all=*) option=${word%%=*}= ;;
        -*) return 0 ;;
    esac
    case ${option:-${words[${#words[@]} - 2]}} in
        --farm | --farm= | --all | --all=) kind=farms ;;
        VALUED) return 0 ;;
        *) kind=xsps ;;
    esac
    for ((i = 2; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
            --socket) asked+=(--socket "$(_xspgate_path "${words[++i]}")") ;;
            --socket=*) asked+=(--socket "$(_xspgate_path "${words[i]#*=}")") ;;
            COMMANDS) takes=xsp ;;
        esac
    done
    [[ -n $takes ]] || return 0
    # An XSP is no file.
    compopt +o bashdefault +o default 2>/dev/null
    COMPREPLY=()
    while read -r name; do
        # Some come from DNS: one that is more than a word to bash is not put on its line.
        [[ $option$name == "$word"* && $name != *[^][:alnum:]._:%[-]* ]] && COMPREPLY+=("$option$name")
    done < <("${asked[@]}" $kind 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}

# A path as it is typed, without its quotes.
_xspgate_path() {
    local path=${1#[\"\']}
    path=${path%[\"\']}
    printf %s "${path/#~\//$HOME/}"
}
"#;

/// What stands before the end of the script for zsh.
const ZSH: &str = r#"
# XSPs and farms of the gateway that runs here, or that --socket names.
_xspgate_names() {
    local -a socket=(${${(M)given:#--socket=*}#*=})
    local -i at=${given[(I)--socket]}
    (( at )) && socket=($given[at+1])
    socket=(${${(Q)socket}/#\~\//$HOME/})
    local -a names=(${(f)"$(xspgate ctl names $1 ${socket:+--socket=$socket[-1]} 2>/dev/null)"})
    compadd -- $names
}
_xspgate_xsps() { _xspgate_names xsps }
_xspgate_farms() { _xspgate_names farms }

"#;

/// Where a function for zsh begins, and what it keeps: each command takes words away from `words`.
const ZSH_START: &str = "_xspgate() {\n";
const ZSH_WORDS: &str = "    local -a given=(\"${words[@]}\")\n";

/// What stands before what fish is told of `ctl`.
const FISH: &str = r#"
# XSPs and farms of the gateway that runs here, or that --socket names.
function __xspgate_names
    set -l given (commandline -opc)
    set -l socket (string match -- '--socket=*' $given)
    if set -l at (contains -i -- --socket $given)
        set socket --socket=$given[(math $at + 1)]
    end
    xspgate ctl names $argv $socket 2>/dev/null
end
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
    let takes_xsp = |command: &&clap::Command| command.get_positionals().any(is_xsp);
    ctl.get_subcommands().filter(takes_xsp).map(|command| command.get_name().to_owned()).collect()
}

/// Whether an XSP can be given there.
fn is_xsp(argument: &clap::Arg) -> bool {
    argument.get_value_names().and_then(<[_]>::first).is_some_and(|name| name.starts_with("XSP"))
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
    let command = command();
    let ctl = command.find_subcommand("ctl").expect("there is one");
    let arguments = ctl.get_subcommands().flat_map(clap::Command::get_positionals).filter(|argument| is_xsp(argument));
    let starts: BTreeSet<_> = arguments.map(|argument| format!(":{} -- ", argument.get_id())).collect();
    let completed = |line: &str| {
        let is_xsp = starts.iter().any(|start| line.contains(start));
        let action = if is_xsp { "_xspgate_xsps" } else { "_xspgate_farms" };
        match line.rsplit_once(":_default'") {
            Some((start, end)) if is_xsp || start.ends_with(":FARM") => format!("{start}:{action}'{end}\n"),
            Some(_) | None => format!("{line}\n"),
        }
    };
    let script: String = script.lines().map(completed).collect();
    let script = script.replacen(ZSH_START, &format!("{ZSH_START}{ZSH_WORDS}"), 1);
    script.replacen(ZSH_END, &format!("{ZSH}{ZSH_END}"), 1)
}

fn fish(mut script: String) -> String {
    script += FISH;
    for command in commands() {
        let line = format!(
            "complete -c xspgate -n \"__fish_xspgate_using_subcommand ctl; and __fish_seen_subcommand_from {command}\" -f"
        );
        let asked = |kind: &str| format!("-a '(__xspgate_names {kind})'");
        script += &format!("{line} {}\n{line} -l farm -x {}\n", asked("xsps"), asked("farms"));
    }
    script
}
