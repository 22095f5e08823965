//! The connections that live long: event channels, CTI, and what passes through. An operator may see them, and end them.
//! Separate from those who serve them, because all of them are told apart, counted and ended in the same way.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::drain::{CutTurn, Cuts};
use crate::farm::Endpoint;
use crate::lock::Locked;
use crate::policy::streams::StreamKind;

/// So many are looked at while the lock is held.
const AT_ONCE: usize = 1024;

/// All of them, of one process.
#[derive(Debug)]
pub struct Registry {
    slots: Locked<Slots>,
    cuts: Arc<Cuts>,
    /// Times of cuts are told from here.
    base: Instant,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Arc<Entry>>>,
    /// Indices into `entries` that hold none.
    free: Vec<u32>,
}

/// One of them, for as long as it lives. There may be a hundred thousand, so that it is small.
#[derive(Debug)]
pub struct Entry {
    /// Where it is; changed under the registry's lock only.
    endpoint: ArcSwap<Endpoint>,
    /// The subject of its client's certificate, if that was verified.
    pub peer: Option<Arc<str>>,
    /// When it was opened, in milliseconds since 1970.
    opened: u64,
    received: AtomicU64,
    sent: AtomicU64,
    /// When it is to end, in milliseconds since the registry's base, and why, in the last two bits; 0: it is not.
    cut: AtomicU64,
    /// Its client's address.
    pub client: IpAddr,
    /// What it is.
    pub kind: StreamKind,
    index: u32,
}

/// Holds a place there; given back when dropped.
#[derive(Debug)]
pub struct Registered {
    registry: Arc<Registry>,
    entry: Arc<Entry>,
}

/// Why one is to end before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// An operator has said so.
    Operator,
    /// Its XSP is drained, and the time that it had is over.
    Drained,
    /// Its XSP is given up.
    GivenUp,
}

impl Why {
    const fn code(self) -> u64 {
        match self {
            Self::Operator => 1,
            Self::Drained => 2,
            Self::GivenUp => 3,
        }
    }

    const fn of(code: u64) -> Option<Self> {
        match code & 3 {
            1 => Some(Self::Operator),
            2 => Some(Self::Drained),
            3 => Some(Self::GivenUp),
            _ => None,
        }
    }

    /// Whether a later reason takes the place of that in `code`.
    fn gives_way(code: u64) -> bool {
        match Self::of(code) {
            Some(Self::Operator) => false,
            Some(Self::Drained | Self::GivenUp) | None => true,
        }
    }
}

impl Registry {
    /// Nobody yet; `cuts` says how far apart those end that are to end together.
    pub fn new(cuts: Arc<Cuts>) -> Arc<Self> {
        Arc::new(Self { slots: Locked::default(), cuts, base: Instant::now() })
    }

    /// A connection of `client`, whose certificate's subject is `peer`, has reached `endpoint`.
    pub fn register(
        self: &Arc<Self>,
        kind: StreamKind,
        client: IpAddr,
        peer: Option<Arc<str>>,
        endpoint: &Arc<Endpoint>,
    ) -> Registered {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let opened = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let entry = |index| Entry {
            endpoint: ArcSwap::new(Arc::clone(endpoint)),
            peer,
            opened,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            client,
            kind,
            index,
        };
        let entry = self.slots.with(|slots| {
            let index = slots.free.pop().unwrap_or_else(|| {
                slots.entries.push(None);
                u32::try_from(slots.entries.len() - 1).unwrap_or(u32::MAX)
            });
            let entry = Arc::new(entry(index));
            slots.entries[index as usize] = Some(Arc::clone(&entry));
            endpoint.holds(kind);
            entry
        });
        // Its farm may have got another name since it was picked, or in this very moment.
        let present = endpoint.present();
        if !Arc::ptr_eq(&present, endpoint) {
            self.slots.with(|_| entry.go_on(endpoint, &present));
        }
        Registered { registry: Arc::clone(self), entry }
    }

    /// Whatever is at `old` is at `new` from now on, which is its heir already.
    pub fn go_on(&self, old: &Arc<Endpoint>, new: &Arc<Endpoint>) {
        for entry in self.find(|entry| entry.is_at(old)) {
            self.slots.with(|slots| {
                // It may have ended meanwhile.
                let is_there = slots.entries[entry.index as usize].as_ref().is_some_and(|one| Arc::ptr_eq(one, &entry));
                if is_there {
                    entry.go_on(old, new);
                }
            });
        }
    }

    /// Those of which `wanted` is true, which takes no lock. More than a few at a time are taken note of one part after the
    /// other.
    pub fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let is_all = self.slots.with(|slots| {
                let part = slots.entries.iter().skip(from).take(AT_ONCE).flatten();
                found.extend(part.filter(|entry| wanted(entry)).map(Arc::clone));
                slots.entries.len() <= from + AT_ONCE
            });
            if is_all {
                return found;
            }
            from += AT_ONCE;
        }
    }

    /// Has `entries` end, one after the other.
    pub fn cut(&self, entries: &[Arc<Entry>], why: Why) {
        if entries.is_empty() {
            return;
        }
        let interval = self.cuts.interval(entries.len());
        let mut at = self.base.elapsed();
        for entry in entries {
            let milliseconds = u64::try_from(at.as_millis()).unwrap_or(u64::MAX >> 2);
            entry.cut_at(milliseconds, why);
            at += interval;
        }
        self.cuts.call();
    }

    /// A stream was cut short at the process' end.
    pub fn cut_short(&self) {
        self.cuts.cut_short();
    }

    /// Those at `endpoint` that were to end since it is drained stay.
    pub fn spare(&self, endpoint: &Arc<Endpoint>) {
        for entry in self.find(|entry| entry.is_at(endpoint)) {
            entry.spare(Why::Drained);
        }
    }
}

impl Entry {
    /// Where it is.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.load_full()
    }

    /// Whether it is there.
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.load().key() == endpoint.key()
    }

    /// Something has come from there.
    pub fn heard(&self) {
        self.endpoint.load().heard();
    }

    /// If it is at `old`, it is at `new` from now on. To be called under the registry's lock.
    fn go_on(&self, old: &Arc<Endpoint>, new: &Arc<Endpoint>) {
        if self.is_at(old) {
            old.lets_go(self.kind);
            new.holds(self.kind);
            self.endpoint.store(Arc::clone(new));
        }
    }

    /// When it was opened, in seconds since 1970.
    pub fn opened(&self) -> f64 {
        self.opened as f64 / 1000.0
    }

    /// Bytes from the client.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes to the client.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// It is to end then, unless an operator has said so already: that holds whatever becomes of its XSP.
    fn cut_at(&self, milliseconds: u64, why: Why) {
        let cut = |old| Why::gives_way(old).then_some(milliseconds << 2 | why.code());
        // The error says that it ends as it was to.
        self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut).ok();
    }

    /// It stays, if it was to end for that reason.
    fn spare(&self, why: Why) {
        let spared = |old| (Why::of(old) == Some(why)).then_some(0);
        // The error says that it was not.
        self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spared).ok();
    }

    /// Whether it ends for that reason still.
    fn is_to_end(&self, why: Why) -> bool {
        match why {
            Why::Operator => true,
            Why::Drained => self.endpoint.load().is_leaving(),
            Why::GivenUp => self.endpoint.load().gives_up_streams(),
        }
    }
}

impl Registered {
    /// What it is, and where.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Takes note of how many bytes have gone by so far, either way.
    pub fn moved(&self, received: u64, sent: u64) {
        self.entry.received.store(received, Ordering::Relaxed);
        self.entry.sent.store(sent, Ordering::Relaxed);
    }

    /// Ready when it is to end; `turn` is its own. Nobody is woken when that is decided: it finds out by looking.
    pub fn poll_cut(&self, cx: &mut Context<'_>, turn: &mut CutTurn) -> Poll<Why> {
        let cut = self.entry.cut.load(Ordering::Relaxed);
        match Why::of(cut).filter(|why| self.entry.is_to_end(*why)) {
            Some(why) => {
                ready!(turn.poll_at(cx, self.registry.base + Duration::from_millis(cut >> 2)));
                Poll::Ready(why)
            }
            None => {
                turn.give_back();
                Poll::Pending
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let index = self.entry.index;
        let left = self.registry.slots.with(|slots| {
            slots.free.push(index);
            self.entry.endpoint.load().lets_go(self.entry.kind);
            slots.entries[index as usize].take()
        });
        // Not under the lock: an endpoint that nobody else holds takes its metrics with it, which have one of their own.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are as many as idle connections, whose memory is the gateway's.
    #[test]
    fn an_entry_takes_little() {
        let size = size_of::<Entry>() + 2 * size_of::<usize>() + size_of::<Option<Arc<Entry>>>();
        assert!(size <= 120, "{size} bytes");
        assert!(size_of::<Registered>() <= 16);
    }

    #[test]
    fn a_reason_is_what_its_code_says() {
        for why in [Why::Operator, Why::Drained, Why::GivenUp] {
            assert_eq!(Why::of(7 << 2 | why.code()), Some(why));
        }
        assert_eq!(Why::of(0), None);
    }

    #[test]
    fn what_an_operator_cuts_is_not_spared_with_an_xsp_that_is_drained_no_more() {
        let gives_way = |why: Why| Why::gives_way(7 << 2 | why.code());
        assert!(!gives_way(Why::Operator) && gives_way(Why::Drained) && gives_way(Why::GivenUp) && Why::gives_way(0));
    }
}
