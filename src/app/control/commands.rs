//! What control calls do that takes the farms' or the log's locks. Separate from hearing them, because it is done on the
//! control thread: the one that hears stays able to answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Caller;
use crate::admin::line::{self, Line};
use crate::app::peers;
use crate::config::types::Leaf;
use crate::config::types::amount::shown_time;
use crate::config::types::name::LogFilter;
use crate::config::types::network::DrainedXsp;
use crate::control::{Connections, Reply, Row, Whom, Whose};
use crate::core::Core;
use crate::farm::{Farm, Meant, Operation};
use crate::handover::{Answered, Talk};
use crate::policy::drained::Whom as Meaning;
use crate::policy::endpoint::Presence;
use crate::policy::health::blocklist::Standing;
use crate::policy::streams::StreamKind;
use crate::processes::{Asking, PATIENCE, now, uptime};
use crate::telemetry;

/// What there is to say of a process that does not answer.
const SILENT: &str = "has not answered within a second";
/// The same, if it was to cut something.
const SILENT_AT_CUT: &str = "has not answered within a second: it drops the call when it goes on, unless it had begun, or is of an \
                             earlier version";

/// The most XSPs of a farm that a refusal lists.
const MOST_NAMED: usize = 8;

/// What may be asked of the control thread.
#[derive(Debug)]
pub(in crate::app) enum Command {
    /// That to these XSPs.
    Operate(Whom, Operation),
    /// These streams are to end, in all processes.
    Cut(Whose),
    /// These streams are told of, of all processes.
    Connections(Whose),
    /// All XSPs of this farm are taken off the blocklist; `None`: of every farm.
    UnblockAll(Option<String>),
    /// The log is as loud as that from now on; `None`: as the configuration says.
    Log(Option<String>),
}

/// Carries commands out; the control thread's own.
pub(in crate::app) struct Commands {
    core: Core,
    calls: line::Calls<(Command, Caller), Reply>,
}

impl Commands {
    /// Those for `core`, and the line to them.
    pub(in crate::app) fn new(core: Core) -> (Self, Line<(Command, Caller), Reply>) {
        let (line, calls) = line::line();
        (Self { core, calls }, line)
    }

    /// Does what it is told to, for ever.
    pub(in crate::app) async fn run(mut self) {
        loop {
            let call = self.calls.next().await;
            let (command, caller) = &call.question;
            if !caller.waits() {
                call.answer(Reply::Refused(Caller::GONE.into()));
                continue;
            }
            let reply = match command {
                Command::Cut(whose) => {
                    let (own, asking) = (peers::cut(&self.core, whose), self.ask(whose, Talk::Cut));
                    let nothing = nothing_of(&self.core, whose);
                    // The others may take a moment, and other calls wait for none of them.
                    drop(tokio::spawn(
                        async move { call.answer(cut(nothing, own, asking.answers(SILENT_AT_CUT).await)) },
                    ));
                    continue;
                }
                Command::Connections(whose) => {
                    let (own, asking) = (peers::list(&self.core, whose), self.ask(whose, Talk::List));
                    let (core, nothing) = (self.core.clone(), nothing_of(&self.core, whose));
                    let answer =
                        async move { call.answer(connections(&core, nothing, own, asking.answers(SILENT).await)) };
                    drop(tokio::spawn(answer));
                    continue;
                }
                Command::Operate(whom, what) => self.operate(whom, *what),
                Command::UnblockAll(farm) => self.unblock_all(farm.as_deref()),
                Command::Log(level) => set_level(level.as_deref()),
            };
            call.answer(reply);
        }
    }

    fn ask(&self, whose: &Whose, question: fn(u64, Whose) -> Talk) -> Asking {
        let whose = Whose { until: Some(uptime() + PATIENCE.as_secs_f64()), ..peers::whose_before(&self.core, whose) };
        self.core.processes.ask(|number| question(number, whose))
    }

    fn operate(&self, whom: &Whom, what: Operation) -> Reply {
        let meant = match DrainedXsp::text(&whom.xsp) {
            Ok(meant) => meant.0,
            Err(_) => return Reply::Refused(format!("\"{}\" is no XSP: {}", whom.xsp, DrainedXsp::expected())),
        };
        let farms = self.core.farms_meant(&whom.names());
        if let (Operation::Drain(_), Some(farm)) = (what, farms.iter().find(|farm| farm.is_last(&meant))) {
            return Reply::Refused(format!(
                "no other XSP of farm {} is up: new sessions would get 503; --force drains it anyway",
                farm.name()
            ));
        }
        let is_last = |farm: &Farm| matches!(what, Operation::Block(_)) && farm.is_last(&meant);
        let alone: Vec<&str> = farms.iter().filter(|farm| is_last(farm)).map(|farm| farm.name()).collect();
        let mut is_drained_still = false;
        let done = farms.iter().flat_map(|farm| farm.operate(&meant, what).into_iter().map(move |one| (farm, one)));
        let lines: Vec<_> = done
            .map(|(farm, one)| {
                is_drained_still |= what == Operation::Undrain && one.presence == Presence::Draining;
                format!("{} of farm {}: {}", one.endpoint, farm.name(), outcome(&self.core, what, farm, &one))
            })
            .collect();
        if lines.is_empty() {
            return Reply::Refused(unknown(&self.core, whom, &farms));
        }
        let alone = alone.into_iter().map(|farm| {
            format!(
                "WARNING: no other XSP of farm {farm} is up: as long as all are blocked, requests go to blocked ones"
            )
        });
        let lines = [lines, alone.collect(), self.elsewhere(whom, what, &meant, &farms)].concat();
        if is_drained_still { Reply::Refused(lines.join("\n")) } else { Reply::Done(lines.join("\n")) }
    }

    /// Has the processes before this one do the same, where they have a part in it, and says of whom nothing is known.
    fn elsewhere(&self, whom: &Whom, what: Operation, meant: &Meaning, farms: &[Arc<Farm>]) -> Vec<String> {
        let processes = &self.core.processes;
        match what {
            Operation::Drain(cut_after) | Operation::ForceDrain(cut_after) => {
                let seconds = cut_after.map(|after| after.as_secs_f64());
                processes.tell_before(Talk::Drain(peers::whom_before(&self.core, whom), seconds));
                let unheard = if self.core.is_alone() { None } else { processes.unheard() };
                let told = |unheard| format!("UNKNOWN: what replaced processes hold there: {unheard}");
                unheard.map(told).into_iter().collect()
            }
            Operation::Undrain => {
                processes.tell_before(Talk::Undrain(peers::whom_before(&self.core, whom)));
                let endpoints = farms.iter().flat_map(|farm| farm.meant(meant));
                endpoints.for_each(|endpoint| self.core.shared.registry.spare(&endpoint));
                Vec::new()
            }
            Operation::Block(_) | Operation::Unblock => Vec::new(),
        }
    }

    fn unblock_all(&self, name: Option<&str>) -> Reply {
        let farms = self.core.farms_meant(name.as_slice());
        if let (Some(name), true) = (name, farms.is_empty()) {
            return Reply::Refused(no_farm(&self.core, name));
        }
        let lifted = farms.iter().flat_map(|farm| farm.unblock_all().into_iter().map(move |one| (farm, one)));
        let lines: Vec<_> = lifted.map(|(farm, one)| format!("{one} of farm {}: unblocked", farm.name())).collect();
        Reply::Done(if lines.is_empty() { "nothing was blocked".to_owned() } else { lines.join("\n") })
    }
}

type Others = (Vec<Answered>, Vec<String>);

/// Why there is nothing.
#[derive(Debug)]
enum Nothing {
    /// What was named is known, and has nothing.
    Held(String),
    /// The name is nobody's.
    Unknown(String),
}

impl Nothing {
    /// What there is to say if nothing was found, and `unknown` of those who have not answered.
    fn found(self, unknown: Vec<String>) -> Reply {
        let why = match self {
            Self::Held(why) | Self::Unknown(why) if unknown.is_empty() => why,
            Self::Held(why) => format!("in the processes that have answered, {why}"),
            Self::Unknown(why) => format!("of the processes that have answered, {why}"),
        };
        let unknown = unknown.into_iter().map(|unknown| format!("UNKNOWN: {unknown}"));
        Reply::Refused([why].into_iter().chain(unknown).collect::<Vec<_>>().join("\n"))
    }
}

/// Why nothing of that is open, if it turns out so.
fn nothing_of(core: &Core, whose: &Whose) -> Nothing {
    let farms = core.farms_meant(&whose.names());
    if let (Some(farm), true) = (&whose.farm, farms.is_empty()) {
        return Nothing::Unknown(no_farm(core, farm));
    }
    let Some(what) = &whose.what else {
        return Nothing::Held("no event channel, CTI or pass-through connection is open".to_owned());
    };
    let is_xsp = DrainedXsp::text(what).is_ok_and(|meant| farms.iter().any(|farm| !farm.meant(&meant.0).is_empty()));
    match is_xsp {
        true => Nothing::Held(format!("no event channel, CTI or pass-through connection is open at the XSP {what}")),
        false => Nothing::Unknown(format!(
            "no XSP, and no client with an event channel, CTI or pass-through connection, is called \"{what}\"\n\
             help: a client is known only while it has one of these open. {}",
            xsps(&farms)
        )),
    }
}

fn cut(nothing: Nothing, own: Answered, (others, unknown): Others) -> Reply {
    let all = [vec![own], others].concat();
    let cutting = all.iter().filter_map(|Answered { pid, streams, .. }| {
        Some(format!("process {pid}: cutting {}", StreamKind::in_words(*streams)?))
    });
    let lines: Vec<String> = cutting.collect();
    if lines.is_empty() {
        return nothing.found(unknown);
    }
    let unknown = unknown.into_iter().map(|unknown| format!("UNKNOWN: {unknown}"));
    Reply::Done(lines.into_iter().chain(unknown).collect::<Vec<_>>().join("\n"))
}

fn connections(core: &Core, nothing: Nothing, own: Answered, (others, unknown): Others) -> Reply {
    let all = [vec![own], others].concat();
    let count: u64 = all.iter().flat_map(|answered| answered.streams).sum();
    if count == 0 && (matches!(nothing, Nothing::Unknown(_)) || !unknown.is_empty()) {
        return nothing.found(unknown);
    }
    let mut rows: Vec<Row> = all.into_iter().flat_map(|answered| answered.rows).collect();
    // An earlier process may know a farm by another name.
    for row in &mut rows {
        if let Some(farm) = core.farm_called(&[&row.farm]) {
            row.farm = farm.name().to_owned();
        }
    }
    rows.sort_by(|one, other| one.opened.total_cmp(&other.opened));
    rows.truncate(peers::MOST_ROWS);
    let left_out = count.saturating_sub(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    let told = Connections { time: now(), connections: rows, left_out, unknown };
    match serde_json::to_string(&told) {
        Ok(text) => Reply::Done(text),
        Err(error) => Reply::Refused(error.to_string()),
    }
}

fn set_level(level: Option<&str>) -> Reply {
    if let Some(Err(refusal)) = level.map(LogFilter::text) {
        let (message, help): (String, Option<String>) = refusal.into();
        let near = help.filter(|help| help.starts_with("did you")).map_or_else(String::new, |near| format!("; {near}"));
        return Reply::Refused(format!(
            "{message}{near}\nhelp: levels are off, error, warn, info, debug and trace; a module has its own as in \
             info,xspgate::discover=debug"
        ));
    }
    let set = match telemetry::set_level(level) {
        Ok(set) => set,
        Err(error) => return Reply::Refused(error.to_string()),
    };
    let said = match level {
        Some(_) => format!("the log's level is {set} until the next restart"),
        None => format!("the log's level is {set}, as the configuration says"),
    };
    let rest = (!has_rest(&set)).then(|| "of all other modules, nothing is logged: see \"info,...\"".to_owned());
    let unknown = telemetry::unknown_modules(&set).into_iter().map(|name| {
        format!("WARNING: there is no module {name}; there are {}", telemetry::modules().collect::<Vec<_>>().join(", "))
    });
    Reply::Done([said].into_iter().chain(rest).chain(unknown).collect::<Vec<_>>().join("\n"))
}

/// Whether `level` says something of modules that it does not name.
fn has_rest(level: &str) -> bool {
    level.split(',').any(|part| !part.contains('='))
}

fn outcome(core: &Core, what: Operation, farm: &Farm, one: &Meant) -> String {
    match (what, one.presence) {
        (Operation::Drain(after) | Operation::ForceDrain(after), Presence::Departed) => {
            format!("named by neither DNS nor the configuration any more, and {}", draining(core, farm, one, after))
        }
        (Operation::Drain(after) | Operation::ForceDrain(after), Presence::Present | Presence::Draining) => {
            draining(core, farm, one, after)
        }
        (Operation::Undrain, Presence::Present) if one.was == Presence::Present => "it was not drained".into(),
        (Operation::Undrain, Presence::Present) => "no longer drained".into(),
        (Operation::Undrain, Presence::Draining) => {
            "STILL drained, by `drain` in the configuration or as another name".into()
        }
        (Operation::Undrain, Presence::Departed) => {
            "no longer drained, but named by neither DNS nor the configuration any more".into()
        }
        (Operation::Block(_), _) => blocked(one),
        (Operation::Unblock, _) if one.stood == Standing::Up => "it was not blocked".into(),
        (Operation::Unblock, _) => "unblocked".into(),
    }
}

/// For how long an endpoint is blocked by hand, and what becomes of an earlier block.
fn blocked(one: &Meant) -> String {
    let now = Instant::now();
    let until = |standing| match standing {
        Standing::Blocked { until } => Some(until),
        Standing::Up | Standing::Probation | Standing::OnTrial => None,
    };
    let time = |until: Instant| rounded(until.saturating_duration_since(now));
    let blocked =
        until(one.standing).map_or_else(|| "blocked".to_owned(), |until| format!("blocked for {}", time(until)));
    match until(one.stood).filter(|earlier| *earlier > now) {
        Some(earlier) => format!("{blocked}, instead of {} more", time(earlier)),
        None => blocked,
    }
}

/// As a person would say it: whole seconds, and none too few.
fn rounded(time: Duration) -> String {
    let seconds = Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0));
    shown_time(seconds).trim_matches('"').to_owned()
}

/// What an endpoint that is drained still holds.
fn draining(core: &Core, farm: &Farm, one: &Meant, cut_after: Option<Duration>) -> String {
    let [_, cti, passthrough] = core.held_at(farm, one.address);
    let channels = u64::try_from(one.channels).unwrap_or_default();
    let shown = |after| shown_time(after).trim_matches('"').to_owned();
    match (StreamKind::in_words([channels, cti, passthrough]), cut_after, one.cut_in) {
        (Some(held), Some(after), _) => format!("draining: {held} left, and cut after {}", shown(after)),
        (Some(held), None, Some(left)) => format!(
            "draining: {held} left, and cut in {}, as an earlier --cut-after has it (undrain takes that back)",
            rounded(left)
        ),
        (Some(held), None, None) => format!("draining: {held} left"),
        (None, Some(after), _) => format!("drained: nothing is left there; what is there in {} is cut", shown(after)),
        (None, None, Some(left)) => format!(
            "drained: nothing is left there; what is there in {} is cut, as an earlier --cut-after has it (undrain takes \
             that back)",
            rounded(left)
        ),
        (None, None, None) => "drained: nothing is left there".into(),
    }
}

fn no_farm(core: &Core, name: &str) -> String {
    let farms = core.farms_meant(&[]);
    let names: Vec<_> = farms.iter().map(|farm| farm.name()).collect();
    format!("there is no farm \"{name}\"; there are {}", names.join(", "))
}

/// The XSPs of `farms`, each farm's in a line.
fn xsps(farms: &[Arc<Farm>]) -> String {
    let line = |farm: &Arc<Farm>| {
        let labels = farm.labels();
        let known: Vec<&str> = labels.iter().map(|label| &**label).take(MOST_NAMED).collect();
        let more = labels.len().saturating_sub(MOST_NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more: `ctl status` shows them") };
        let known = if known.is_empty() { "none is known yet".to_owned() } else { known.join(" ") };
        format!("\n  {}: {known}{more}", farm.name())
    };
    format!("The XSPs by farm:{}", farms.iter().map(line).collect::<String>())
}

fn unknown(core: &Core, whom: &Whom, farms: &[Arc<Farm>]) -> String {
    if let (Some(farm), true) = (&whom.farm, farms.is_empty()) {
        return no_farm(core, farm);
    }
    format!("no XSP is called \"{}\"\nhelp: {}", whom.xsp, xsps(farms))
}
