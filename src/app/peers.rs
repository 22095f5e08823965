//! What processes that share a place do on each other's word, and what this one says of itself. Separate from the link between
//! them, because both ends of it come here, and a control call does the same in this process first.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use crate::config::types::Leaf;
use crate::config::types::network::DrainedXsp;
use crate::control::{Row, Whom, Whose};
use crate::core::Core;
use crate::farm::{Endpoint, Farm, Operation};
use crate::handover::{Answered, Process, Talk};
use crate::policy::streams::StreamKind;
use crate::processes::{own, uptime};
use crate::registry::{Entry, Why};
use crate::telemetry::access;

/// So many streams of one process are told of.
pub(super) const MOST_ROWS: usize = 1000;
/// How often it is looked whether something is due, or has changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Even if nothing has changed, it is said again after so many looks.
const SAID_AGAIN: u32 = 4;

/// Does what is due in this process, and says what it holds to the one that has taken its place. For ever.
pub(super) async fn run(core: &Core) {
    let (mut said, mut looks) = (Vec::new(), 0);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        cut_what_is_due(core);
        looks += 1;
        if looks >= SAID_AGAIN {
            access::file::follow();
        }
        if !core.processes.has_listener() {
            looks %= SAID_AGAIN;
            continue;
        }
        let all = core.all_processes();
        let timeless: Vec<_> = all.iter().map(|process| Process { heard: 0.0, ..process.clone() }).collect();
        if timeless != said || looks >= SAID_AGAIN {
            core.processes.tell_after(Talk::Holds(all));
            (said, looks) = (timeless, 0);
        }
    }
}

/// Does what another process has said.
pub(super) fn take(core: &Core, talk: Talk) {
    match talk {
        Talk::Holds(said) => hear(core, said),
        Talk::Answered(number, answered) => {
            core.processes.answered(number, answered.clone());
            core.processes.tell_after(Talk::Answered(number, answered));
        }
        Talk::Drain(ref whom, seconds) => {
            drain(core, whom, seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()));
            core.processes.tell_before(Talk::Drain(whom_before(core, whom), seconds));
        }
        Talk::Undrain(ref whom) => {
            undrain(core, whom);
            core.processes.tell_before(Talk::Undrain(whom_before(core, whom)));
        }
        Talk::Cut(number, ref whose) => {
            if whose.until.is_some_and(|until| until < uptime()) {
                info!(named = whose.what, farm = whose.farm, "a cut is dropped, since nobody waits for it any more");
                return;
            }
            let answered = cut(core, whose);
            core.processes.tell_before(Talk::Cut(number, whose_before(core, whose)));
            core.processes.tell_after(Talk::Answered(number, answered));
        }
        Talk::List(number, ref whose) => {
            let answered = list(core, whose);
            core.processes.tell_before(Talk::List(number, whose_before(core, whose)));
            core.processes.tell_after(Talk::Answered(number, answered));
        }
        Talk::Stop => {
            core.processes.stop.notify_one();
            core.processes.tell_before(Talk::Stop);
        }
        // For those who wait for its end.
        Talk::Farewell => {}
    }
}

/// Takes note of what those before this one hold. Their farms are told of by the names that they have here.
fn hear(core: &Core, mut said: Vec<Process>) {
    for held in said.iter_mut().flat_map(|process| &mut process.held) {
        if let Some(farm) = core.farm_called(&[&held.farm]) {
            held.farm = farm.name().to_owned();
        }
    }
    core.processes.hear(said, |held| core.farm_called(&[&held.farm])?.at(held.endpoint));
}

/// Whatever is held under the name `old` is held by `farm` from now on, which goes on for it.
pub(super) fn go_on(core: &Core, farm: &Arc<Farm>, old: &Farm) {
    for (old, new) in farm.go_on_for(old) {
        core.shared.registry.go_on(&old, &new);
        core.shared.channels.go_on(&old, farm, &new);
    }
}

/// What those before this one have said counts for the farms as they are called now.
pub(super) fn hear_again(core: &Core) {
    hear(core, core.processes.heard());
}

/// The same XSP, for a process that may know its farm by another name.
pub(super) fn whom_before(core: &Core, whom: &Whom) -> Whom {
    Whom { formerly: other_names(core, &whom.names(), whom.farm.as_deref()), ..whom.clone() }
}

/// As [`whom_before`].
pub(super) fn whose_before(core: &Core, whose: &Whose) -> Whose {
    Whose { formerly: other_names(core, &whose.names(), whose.farm.as_deref()), ..whose.clone() }
}

fn other_names(core: &Core, names: &[&str], name: Option<&str>) -> Vec<String> {
    core.names_of(names).into_iter().filter(|other| Some(other.as_str()) != name).collect()
}

fn drain(core: &Core, whom: &Whom, cut_after: Option<Duration>) {
    let Ok(DrainedXsp(meant)) = DrainedXsp::text(&whom.xsp) else { return };
    for farm in core.farms_meant(&whom.names()) {
        drop(farm.operate(&meant, Operation::ForceDrain(cut_after)));
    }
}

fn undrain(core: &Core, whom: &Whom) {
    let Ok(DrainedXsp(meant)) = DrainedXsp::text(&whom.xsp) else { return };
    for farm in core.farms_meant(&whom.names()) {
        drop(farm.operate(&meant, Operation::Undrain));
        farm.meant(&meant).iter().for_each(|endpoint| core.shared.registry.spare(endpoint));
    }
}

/// Ends streams of this process: how many.
pub(super) fn cut(core: &Core, whose: &Whose) -> Answered {
    let entries: Vec<_> = found(core, whose).into_iter().map(|(_, entry)| entry).collect();
    core.shared.registry.cut(&entries, Why::Operator);
    if !entries.is_empty() {
        info!(named = whose.what, farm = whose.farm, streams = entries.len(), "streams cut by hand");
    }
    Answered { pid: own(), streams: counted(&entries), rows: Vec::new() }
}

/// The oldest streams of this process, and how many there are.
pub(super) fn list(core: &Core, whose: &Whose) -> Answered {
    let mut found = found(core, whose);
    let streams = counted(found.iter().map(|(_, entry)| entry));
    found.sort_by(|(_, one), (_, other)| one.opened().total_cmp(&other.opened()));
    let row = |(farm, entry): &(Arc<Farm>, Arc<Entry>)| Row {
        pid: own(),
        kind: entry.kind,
        client: entry.client,
        peer: entry.peer.as_deref().map(str::to_owned),
        farm: farm.name().to_owned(),
        endpoint: entry.endpoint().address(),
        opened: entry.opened(),
        received: entry.received(),
        sent: entry.sent(),
    };
    Answered { pid: own(), streams, rows: found.iter().take(MOST_ROWS).map(row).collect() }
}

fn counted<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry>>) -> [u64; StreamKind::ALL.len()] {
    let mut streams = [0; StreamKind::ALL.len()];
    entries.into_iter().for_each(|entry| streams[entry.kind as usize] += 1);
    streams
}

/// The streams of an XSP, or if none is meant, of a client.
fn found(core: &Core, whose: &Whose) -> Vec<(Arc<Farm>, Arc<Entry>)> {
    let farms = core.farms_meant(&whose.names());
    let endpoints = farms.iter().flat_map(|farm| farm.endpoints().into_iter().map(|one| (one.key(), Arc::clone(farm))));
    let endpoints: std::collections::HashMap<u64, Arc<Farm>> = endpoints.collect();
    let meant: Option<Vec<u64>> = whose.what.as_deref().map(|what| {
        let xsp = DrainedXsp::text(what).ok();
        let meant = xsp.iter().flat_map(|DrainedXsp(xsp)| farms.iter().flat_map(move |farm| farm.meant(xsp)));
        meant.map(|endpoint: Arc<Endpoint>| endpoint.key()).collect()
    });
    let is_meant = |entry: &Entry| match (&meant, whose.what.as_deref()) {
        (Some(meant), Some(what)) if meant.is_empty() => is_client(entry, what),
        (Some(meant), _) => meant.contains(&entry.endpoint().key()),
        (None, _) => true,
    };
    let entries = core.shared.registry.find(|entry| endpoints.contains_key(&entry.endpoint().key()) && is_meant(entry));
    let with_farm = |entry: Arc<Entry>| Some((Arc::clone(endpoints.get(&entry.endpoint().key())?), entry));
    entries.into_iter().filter_map(with_farm).collect()
}

/// Whether a client is called so: by its address, the subject of its certificate, or a part of that.
fn is_client(entry: &Entry, what: &str) -> bool {
    let is_name = |part: &str| part == what || part.split_once('=').is_some_and(|(_, name)| name == what);
    entry.client.to_string() == what
        || entry.peer.as_deref().is_some_and(|peer| peer == what || peer.split(',').map(str::trim).any(is_name))
}

/// The streams that have had their time at XSPs that are drained.
fn cut_what_is_due(core: &Core) {
    for farm in core.farms().iter() {
        for endpoint in farm.due_cuts(std::time::Instant::now()) {
            let entries = core.shared.registry.find(|entry| entry.is_at(&endpoint));
            let [channels, cti, passthrough] = counted(&entries);
            let (farm, label) = (farm.name(), &**endpoint.label());
            info!(
                farm,
                endpoint = label,
                channels,
                cti,
                passthrough,
                "cutting the remaining connections of a drained endpoint"
            );
            core.shared.registry.cut(&entries, Why::Drained);
            // Somebody may have undrained it in this very moment, and spared what was not to be cut yet.
            if !endpoint.is_leaving() {
                core.shared.registry.spare(&endpoint);
            }
        }
    }
}
