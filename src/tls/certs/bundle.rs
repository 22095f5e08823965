//! The order in a bundle of CAs: which are believed by themselves, and which only because of another one in it (R-CTI-1).
//! Separate from the file, because it is decided by who has signed whom and by nothing else: not by the order of the blocks,
//! nor by the calendar, or a root that expires would make its intermediates believed for good.

use super::chain::Link;
use crate::tls::signature::Verdict;

/// The CAs of one bundle.
#[derive(Default)]
pub(super) struct Sorted {
    /// They signed themselves, or anyone who signed them is not in the bundle.
    pub(super) anchors: Vec<Link>,
    /// Others of the bundle have signed them, up to an anchor.
    pub(super) intermediates: Vec<Link>,
}

impl Sorted {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.anchors.iter().chain(&self.intermediates)
    }
}

/// Finds out what each of `authorities` is; one that is there twice counts once.
pub(super) fn sort(authorities: Vec<Link>) -> Sorted {
    let mut left: Vec<Link> = Vec::new();
    for authority in authorities {
        if !left.iter().any(|known| known.der == authority.der) {
            left.push(authority);
        }
    }
    let (anchors, mut left) = left.into_iter().partition(|authority| authority.facts.is_self_issued());
    let mut sorted = Sorted { anchors, intermediates: Vec::new() };
    while !left.is_empty() {
        let led = extract(&mut left, |authority, _| sorted.iter().any(|issuer| signed(authority, issuer)));
        if !led.is_empty() {
            sorted.intermediates.extend(led);
            continue;
        }
        // What is left leads nowhere: those on top are anchors, and the search goes on below them.
        let on_top = extract(&mut left, |authority, others| !others.iter().any(|issuer| signed(authority, issuer)));
        // Without any, they have signed one another.
        sorted.anchors.extend(if on_top.is_empty() { std::mem::take(&mut left) } else { on_top });
    }
    sorted
}

/// Takes those out that `wanted` is true of, given all of them.
fn extract(left: &mut Vec<Link>, wanted: impl Fn(&Link, &[Link]) -> bool) -> Vec<Link> {
    let verdicts: Vec<bool> = left.iter().map(|authority| wanted(authority, left)).collect();
    let mut verdicts = verdicts.into_iter();
    left.extract_if(.., |_| verdicts.next().unwrap_or_default()).collect()
}

/// What nobody here can tell is not believed.
fn signed(authority: &Link, issuer: &Link) -> bool {
    issuer.verdict(authority) == Some(Verdict::Fits)
}
