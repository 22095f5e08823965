//! Session tickets that every gateway with the same affinity keys can open. Separate from rustls' own tickets, whose keys are
//! random and never leave a process.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use rustls::server::ProducesTickets;

use super::certs::{self, Identity};
use crate::config::model::Https;

/// How long a key seals tickets, in seconds, by a clock that all gateways have. The keys of the windows before and after open
/// them as well, since clocks differ.
const WINDOW: u64 = 6 * 3600;
/// What clients are told of a ticket's life, in seconds: none is good for longer.
const LIFETIME: u32 = 12 * 3600;
/// Sets these keys apart from all else that affinity keys are used for.
const PURPOSE: &[u8] = b"xspgate session tickets";
const NAME_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// The affinity keys, as the secrets that tickets are sealed by; none: the gateway shares nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(Vec<[u8; 32]>);

impl Secrets {
    /// The first seals, all open.
    pub fn new(keys: &[[u8; 32]]) -> Self {
        Self(keys.to_vec())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// What a ticket is good for: the same names, ports, certificates and TLS settings, whichever gateway has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Realm([u8; 32]);

impl Realm {
    pub(super) fn of(https: &Https, identities: &[Arc<Identity>]) -> Self {
        let mut hosts: Vec<_> = https.hosts.iter().map(|host| host.as_bytes().to_vec()).collect();
        let mut ports: Vec<_> = https.listen.iter().map(|address| address.port().to_be_bytes().to_vec()).collect();
        for list in [&mut hosts, &mut ports] {
            list.sort_unstable();
            list.dedup();
        }
        let shown = identities.iter().filter_map(|identity| identity.key.cert.first()).map(|leaf| leaf.to_vec());
        let tls = &https.tls;
        let versions = [vec![tls.min_version as u8, tls.max_version as u8]];
        let suites = tls.cipher_suites.iter().map(|suite| u16::from(*suite).to_be_bytes().to_vec());
        let groups = tls.groups.iter().map(|group| u16::from(*group).to_be_bytes().to_vec());
        let lists = [hosts, ports, shown.collect(), versions.to_vec(), suites.collect(), groups.collect()];
        let mut context = Context::new(&SHA256);
        // Lengths in front, so that no two realms have the same bytes.
        for list in lists {
            context.update(&(list.len() as u64).to_be_bytes());
            for item in list {
                context.update(&(item.len() as u64).to_be_bytes());
                context.update(&item);
            }
        }
        Self(context.finish().as_ref().try_into().expect("SHA-256 is 32 bytes"))
    }
}

/// Tickets of one realm.
pub(super) struct SharedTickets {
    secrets: Vec<Prk>,
    realm: Realm,
    keys: ArcSwap<Keys>,
}

impl SharedTickets {
    /// `None`: there is no secret to share.
    pub(super) fn new(secrets: &Secrets, realm: Realm) -> Option<Self> {
        let salt = Salt::new(HKDF_SHA256, PURPOSE);
        let secrets: Vec<_> = secrets.0.iter().map(|secret| salt.extract(secret)).collect();
        let keys = ArcSwap::from_pointee(Keys::of(&secrets, realm, window(now()))?);
        Some(Self { secrets, realm, keys })
    }

    /// Those of the time `now`, in seconds since 1970.
    fn keys(&self, now: u64) -> Option<Arc<Keys>> {
        let keys = self.keys.load_full();
        if keys.window == window(now) {
            return Some(keys);
        }
        // Two threads may both do so, and come to the same.
        let keys = Arc::new(Keys::of(&self.secrets, self.realm, window(now))?);
        self.keys.store(Arc::clone(&keys));
        Some(keys)
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let keys = self.keys(now)?;
        let mut sealed = plain.to_vec();
        let nonce = keys.seals.key.seal_in_place_append_tag(Aad::from(keys.seals.name), &mut sealed).ok()?;
        Some([&keys.seals.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys(now)?;
        let key = std::iter::once(&keys.seals).chain(&keys.open).find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let length = key.key.open_in_place(nonce, Aad::from(key.name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now())
    }
}

impl fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedTickets(..)")
    }
}

/// The keys of a window and its neighbours.
struct Keys {
    window: u64,
    seals: TicketKey,
    open: Vec<TicketKey>,
}

struct TicketKey {
    /// Stands in front of each ticket and names its key for the gateway that opens it.
    name: [u8; NAME_LEN],
    key: RandomizedNonceKey,
}

impl Keys {
    fn of(secrets: &[Prk], realm: Realm, window: u64) -> Option<Self> {
        let seals = TicketKey::of(secrets.first()?, realm, window)?;
        let windows = window.saturating_sub(1)..=window.saturating_add(1);
        let open = secrets.iter().flat_map(|secret| windows.clone().map(move |window| (secret, window)));
        let open = open.filter_map(|(secret, window)| TicketKey::of(secret, realm, window)).collect();
        Some(Self { window, seals, open })
    }
}

impl TicketKey {
    fn of(secret: &Prk, realm: Realm, window: u64) -> Option<Self> {
        let mut bytes = [0; NAME_LEN + KEY_LEN];
        secret.expand(&[&realm.0, &window.to_be_bytes()], Length).ok()?.fill(&mut bytes).ok()?;
        let (name, key) = bytes.split_at(NAME_LEN);
        Some(Self { name: name.try_into().ok()?, key: RandomizedNonceKey::new(&AES_256_GCM_SIV, key).ok()? })
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        NAME_LEN + KEY_LEN
    }
}

const fn window(now: u64) -> u64 {
    now / WINDOW
}

fn now() -> u64 {
    u64::try_from(certs::now()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn tickets(secrets: &[[u8; 32]], realm: u8) -> SharedTickets {
        SharedTickets::new(&Secrets::new(secrets), Realm([realm; 32])).unwrap()
    }

    #[test]
    fn a_ticket_is_opened_by_all_that_share_a_secret_and_by_nobody_else() {
        let (one, other) = (tickets(&[[1; 32]], 1), tickets(&[[1; 32]], 1));
        let ticket = one.seal(b"session", NOW).unwrap();
        assert_eq!(other.open(&ticket, NOW).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets(&[[1; 32]], 2).open(&ticket, NOW), None, "another realm");
        assert_eq!(tickets(&[[2; 32]], 1).open(&ticket, NOW), None, "another secret");
        assert!(SharedTickets::new(&Secrets::new(&[]), Realm([1; 32])).is_none());
    }

    #[test]
    fn secrets_are_replaced_as_affinity_keys_are() {
        let (old, new) = ([1; 32], [2; 32]);
        let stages = [tickets(&[old], 1), tickets(&[old, new], 1), tickets(&[new, old], 1), tickets(&[new], 1)];
        for pair in stages.windows(2) {
            for (from, to) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let ticket = from.seal(b"session", NOW).unwrap();
                assert_eq!(to.open(&ticket, NOW).as_deref(), Some(&b"session"[..]));
            }
        }
    }

    #[test]
    fn a_ticket_is_good_for_no_longer_than_clients_are_told() {
        let tickets = tickets(&[[1; 32]], 1);
        for sealed in [NOW, NOW - NOW % WINDOW, NOW - NOW % WINDOW + WINDOW - 1] {
            let ticket = tickets.seal(b"session", sealed).unwrap();
            assert!(tickets.open(&ticket, sealed + WINDOW).is_some());
            assert!(tickets.open(&ticket, sealed - 60).is_some(), "of a clock that is a minute ahead");
            assert!(tickets.open(&ticket, sealed + u64::from(LIFETIME)).is_none());
        }
    }

    #[test]
    fn a_ticket_that_was_changed_is_none() {
        let tickets = tickets(&[[1; 32]], 1);
        let ticket = tickets.seal(b"session", NOW).unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.open(&changed, NOW), None, "byte {index}");
            assert_eq!(tickets.open(&ticket[..index], NOW), None, "{index} bytes");
        }
        assert_ne!(tickets.seal(b"session", NOW).unwrap(), ticket, "no two are alike");
    }
}
