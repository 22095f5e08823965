//! From the file to the model: defaults filled in, names resolved, relations checked, all problems together. Separate from
//! reading, because here nothing is wrong by itself, only in relation to something else.

mod drain;
mod farm;
mod listener;
mod security;
mod settings;
mod socket;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use super::error::{Problem, Source};
use super::file::{self, File, Key, List, Sections};
use super::model::{Certificate, Config, Farm, Reloads, Trust};
use super::place::{Places, Spot};
use super::recover::Gaps;
use super::types::choice::nearest;
use super::types::name::SectionName;
use super::types::path::FilePath;
use crate::policy::headers::Via;

/// Compiles what could be read. The model lacks what is broken: it may be used only if there is no error among the
/// problems of both steps.
pub(super) fn compile(file: &File, source: &Source, gaps: &Gaps) -> (Config, Vec<Problem>) {
    let mut check = Check { source, gaps, problems: Vec::new(), places: Places::default(), used: BTreeSet::new() };
    let certificates = settings::certificates(&mut check, file);
    let trusts = settings::trusts(&mut check, file);
    let tcp = settings::tcp(&mut check, file);
    let farms = farm::farms(&mut check, file, tcp, &certificates, &trusts);
    let known = Known { certificates: &certificates, trusts: &trusts, farms: &farms };
    let (https, https_spots) = listener::https(&mut check, file, &known);
    let cti = stream::cti(&mut check, file, &known);
    let passthrough = stream::passthrough(&mut check, file, &known);
    socket::check(&mut check, file, &farms);
    let webex_ranges = settings::webex_ranges(&mut check, file);
    check.nothing_served(file);
    check.unused(file);
    let mut places = std::mem::take(&mut check.places);
    for (spot, span) in https_spots.into_iter().chain(written(file)) {
        places.note(spot, span);
    }
    let config = Config {
        workers: settings::workers(file),
        state_dir: file.state_dir.as_ref().map(|path| check.resolve(path)),
        reloads: or(&file.reload_on_change, |followed| followed.0, Reloads::WhenAsked),
        drain_timeout: or(&file.drain_timeout, |time| time.0, settings::seconds(30)),
        drain_spread: or(&file.drain_spread, |time| time.0, settings::seconds(60)),
        via: or(&file.via, |choice| choice.0, Via::Requests),
        handover_timeout: or(&file.handover_timeout, |time| time.0, settings::seconds(3600)),
        admin: settings::admin(&mut check, file),
        control: settings::control(&mut check, file),
        log: settings::log(&mut check, file),
        traces: settings::traces(&mut check, file),
        dns: settings::dns(&mut check, file),
        limits: settings::limits(file),
        tcp,
        affinity: settings::affinity(&mut check, file, &mut places),
        webex_ranges,
        certificates: present(certificates),
        trusts: present(trusts),
        farms: present(farms),
        https,
        cti,
        passthrough,
        places,
    };
    (config, check.problems)
}

/// Where the places stand that are written to.
fn written(file: &File) -> impl Iterator<Item = (Spot, Range<usize>)> {
    let socket = file.control.as_ref().and_then(|control| control.get_ref().socket.as_ref());
    let log = file.log.as_ref().and_then(|log| log.get_ref().access_file.as_ref());
    let spots = [(Spot::StateDir, file.state_dir.as_ref()), (Spot::ControlSocket, socket), (Spot::AccessFile, log)];
    spots.into_iter().filter_map(|(spot, path)| Some((spot, path?.span())))
}

/// The sections of one kind by name; `None`: there is one, but it is broken, and that has been said.
type Named<T> = BTreeMap<String, Option<Arc<T>>>;

fn present<T>(named: Named<T>) -> BTreeMap<String, Arc<T>> {
    named.into_iter().filter_map(|(name, item)| Some((name, item?))).collect()
}

/// What blocks may refer to.
struct Known<'a> {
    certificates: &'a Named<Certificate>,
    trusts: &'a Named<Trust>,
    farms: &'a Named<Farm>,
}

/// A kind of section that others refer to by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Certificate,
    Trust,
    Farm,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Trust => "trust",
            Self::Farm => "farm",
        })
    }
}

/// The running check: what was found so far, and what is known about what is missing.
struct Check<'a> {
    source: &'a Source,
    gaps: &'a Gaps,
    problems: Vec<Problem>,
    places: Places,
    used: BTreeSet<(Kind, String)>,
}

impl Check<'_> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// `line 12`, for a problem that has two places.
    fn line(&self, span: &Range<usize>) -> String {
        format!("line {}", self.source.position(span.start).0)
    }

    /// Complains that `key` is missing in the table at `table`, unless it was there and is broken.
    fn missing(&mut self, table: &Range<usize>, key: &str, help: &str) {
        if !self.gaps.has_key(table, key) {
            let header = self.source.text.get(table.clone()).unwrap_or_default();
            let name = if header.starts_with('[') { header } else { "this table" };
            self.report(Problem::error(table.clone(), format!("{name} has no `{key}`")).help(help));
        }
    }

    /// The value of a key that must be there.
    fn required<'v, T>(
        &mut self,
        table: &Range<usize>,
        key: &str,
        value: &'v Key<T>,
        help: &str,
    ) -> Option<&'v Spanned<T>> {
        if value.is_none() {
            self.missing(table, key, help);
        }
        value.as_ref()
    }

    /// The elements of a list that must be there and have one.
    fn filled<'v, T>(
        &mut self,
        table: &Range<usize>,
        key: &str,
        list: &'v List<T>,
        help: &str,
    ) -> Option<&'v [Spanned<T>]> {
        let list = self.required(table, key, list, help)?;
        if list.get_ref().is_empty() && !self.gaps.has_element(&list.span()) {
            self.report(Problem::error(list.span(), format!("`{key}` is empty")).help(help));
        }
        (!list.get_ref().is_empty()).then_some(list.get_ref())
    }

    /// Complains about each element that equals an earlier one.
    fn distinct<T, K: Ord>(&mut self, list: &[Spanned<T>], key: impl Fn(&T) -> K, what: &str) {
        let mut seen = BTreeSet::new();
        for element in list {
            if !seen.insert(key(element.get_ref())) {
                self.report(Problem::error(element.span(), format!("{what} is named twice")).help("keep one"));
            }
        }
    }

    /// What a reference names.
    fn find<T>(&mut self, kind: Kind, reference: &Spanned<SectionName>, named: &Named<T>) -> Option<Arc<T>> {
        let name = &reference.get_ref().0;
        self.used.insert((kind, name.clone()));
        match named.get(name) {
            Some(item) => item.clone(),
            None => {
                if let Some(meant) = nearest(name, named.keys().map(String::as_str)) {
                    self.used.insert((kind, meant.to_owned()));
                }
                self.unresolved(kind, reference, named.keys().map(String::as_str));
                None
            }
        }
    }

    fn unresolved<'n>(
        &mut self,
        kind: Kind,
        reference: &Spanned<SectionName>,
        names: impl Iterator<Item = &'n str> + Clone,
    ) {
        let name = &reference.get_ref().0;
        if self.gaps.has_section(&kind.to_string()) {
            return;
        }
        let help = match nearest(name, names.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if names.clone().next().is_none() => format!("add a section [{kind}.{name}]"),
            None => format!(
                "there are {}; or add a section [{kind}.{name}]",
                names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
            ),
        };
        self.report(Problem::error(reference.span(), format!("there is no [{kind}.{name}]")).help(help));
    }

    /// Relative paths start from the configuration file's folder.
    fn resolve(&self, path: &Spanned<FilePath>) -> PathBuf {
        self.source.folder().join(&path.get_ref().0)
    }

    fn nothing_served(&mut self, file: &File) {
        let none = file.https.is_empty() && file.cti.is_empty() && file.passthrough.is_empty();
        let hidden = ["https", "cti", "passthrough"].iter().any(|key| self.gaps.has_key(&(0..0), key));
        if none && !hidden {
            let message = match self.source.text.trim().is_empty() {
                true => "the file is empty",
                false => "nothing is served: there is no [[https]], [[cti]] or [[passthrough]]",
            };
            let problem = Problem::error(None, message).help("`xspgate check --print-defaults` prints a complete file");
            self.report(problem);
        }
    }

    fn unused(&mut self, file: &File) {
        if !self.gaps.is_empty() {
            return;
        }
        self.unused_of(Kind::Certificate, &file.certificate);
        self.unused_of(Kind::Trust, &file.trust);
        self.unused_of(Kind::Farm, &file.farm);
    }

    fn unused_of<T>(&mut self, kind: Kind, sections: &Sections<T>) {
        for name in sections.keys() {
            if !self.used.contains(&(kind, name.get_ref().0.clone())) {
                let message = format!("nothing uses [{kind}.{}]", name.get_ref().0);
                self.report(Problem::warning(name.span(), message));
            }
        }
    }
}

/// A key's value, or its default.
fn or<T, U>(key: &Key<T>, value: impl FnOnce(&T) -> U, default: U) -> U {
    key.as_ref().map_or(default, |found| value(found.get_ref()))
}

/// The table's fields, or none.
fn fields<T: Default + Clone>(table: &Key<T>) -> T {
    table.as_ref().map(|table| table.get_ref().clone()).unwrap_or_default()
}

/// What both a farm and a site may say about where its XSPs are.
struct Whereabouts<'a> {
    a: &'a Key<super::types::name::HostName>,
    srv: &'a Key<super::types::name::ServiceName>,
    addresses: &'a List<super::types::network::XspAddress>,
}

impl<'a> Whereabouts<'a> {
    fn of_farm(farm: &'a file::Farm) -> Self {
        Self { a: &farm.a, srv: &farm.srv, addresses: &farm.addresses }
    }

    fn of_site(site: &'a file::Site) -> Self {
        Self { a: &site.a, srv: &site.srv, addresses: &site.addresses }
    }

    /// The keys that are there, in the order a, srv, addresses.
    fn named(&self) -> Vec<(&'static str, Range<usize>)> {
        let a = self.a.as_ref().map(|key| ("a", key.span()));
        let srv = self.srv.as_ref().map(|key| ("srv", key.span()));
        let addresses = self.addresses.as_ref().map(|key| ("addresses", key.span()));
        [a, srv, addresses].into_iter().flatten().collect()
    }
}
