//! Which endpoint a session belongs to, as a cookie tells it. Separate from the plan, because what travels to clients must
//! say nothing about the inside, must not be forgeable, and must mean the same to every gateway that shares the keys.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::http1::head::Fields;

/// Bytes of the HMAC that a tag keeps.
const TAG_BYTES: usize = 16;
/// What a fingerprint is the HMAC of. No tag is one of anything like it: a farm's name holds no space.
const FINGERPRINT: &[u8] = b"xspgate affinity key, fingerprint";
/// Characters of a tag.
const TAG_LENGTH: usize = 22;

/// A secret that gateways share. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// From 32 random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret, as it is read from text; for nobody but another process of the same gateway.
    pub fn reveal(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// By which an operator tells whether two gateways have the same key: 8 hexadecimal digits of an HMAC of a constant, from which
/// nothing of the key, nor of a tag, can be learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPrint([u8; 4]);

impl fmt::Display for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// New sessions get tags of this one.
    Signs,
    /// Tags that were made with it are known.
    Accepted,
}

impl KeyUse {
    /// A word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signs => "signs",
            Self::Accepted => "accepted",
        }
    }
}

/// Standard base64, with padding, as `openssl rand -base64 32` writes it.
impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = STANDARD.decode(text).map_err(|_| BadKey::Base64)?;
        let length = bytes.len();
        bytes.try_into().map(Self).map_err(|_| BadKey::Length(length))
    }
}

/// Why a text is no [`Key`]. Holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It is not base64.
    #[error("a key is standard base64 with padding, as `openssl rand -base64 32` writes it")]
    Base64,
    /// It stands for another number of bytes.
    #[error("a key has 32 bytes, not {0}")]
    Length(usize),
}

/// The keys of a gateway: the first one signs, all are accepted, so that keys can be changed one gateway after the other.
#[derive(Clone)]
pub struct Keyring {
    signing: hmac::Key,
    accepted: Vec<hmac::Key>,
}

impl Keyring {
    /// `signing` is accepted too, and `older` are accepted only.
    pub fn new(signing: Key, older: impl IntoIterator<Item = Key>) -> Self {
        let prepare = |key: Key| hmac::Key::new(hmac::HMAC_SHA256, &key.0);
        Self { signing: prepare(signing), accepted: older.into_iter().map(prepare).collect() }
    }

    /// The tag that is sent for an endpoint of a farm. Equal for equal names, addresses and keys, in every process.
    pub fn tag(&self, farm: &str, address: SocketAddr) -> Tag {
        Tag::of(&self.signing, farm, address)
    }

    /// The fingerprints of its keys, the signing one first.
    pub fn prints(&self) -> impl Iterator<Item = (KeyPrint, KeyUse)> {
        let print = |key: &hmac::Key| {
            let mac = hmac::sign(key, FINGERPRINT);
            KeyPrint(*mac.as_ref().first_chunk().expect("SHA-256 is 32 bytes"))
        };
        let accepted = self.accepted.iter().map(move |key| (print(key), KeyUse::Accepted));
        std::iter::once((print(&self.signing), KeyUse::Signs)).chain(accepted)
    }

    /// All tags by which that endpoint is recognised, the one that is sent first.
    pub fn accepted_tags(&self, farm: &str, address: SocketAddr) -> impl Iterator<Item = Tag> {
        std::iter::once(&self.signing).chain(&self.accepted).map(move |key| Tag::of(key, farm, address))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.accepted.len() + 1)
    }
}

/// One key a line, the first one signs; empty lines and lines that begin with `#` say nothing.
impl FromStr for Keyring {
    type Err = BadKeyring;

    fn from_str(text: &str) -> Result<Self, BadKeyring> {
        let lines = text.lines().map(str::trim).enumerate();
        let mut keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(index, line)| {
            let bad = |source| BadKeyring::Line { line: index + 1, source };
            line.parse().map_err(bad)
        });
        let signing = keys.next().ok_or(BadKeyring::Empty)??;
        let older: Vec<Key> = keys.collect::<Result<_, _>>()?;
        Ok(Self::new(signing, older))
    }
}

/// Why a text is no [`Keyring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyring {
    /// It holds no key.
    #[error("there is no key: one of 32 bytes is needed, as `openssl rand -base64 32` writes it")]
    Empty,
    /// A line is no key.
    #[error("line {line} is no key")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// Why.
        source: BadKey,
    },
}

/// What the cookie says for an endpoint: 16 bytes of an HMAC-SHA256 over farm and address, as 22 characters of base64url.
/// Without the key, it says nothing. Can be looked up in a map by the bytes of a cookie's value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; TAG_LENGTH]);

impl Tag {
    /// A cookie's value as a tag, whether it means anything or not; `None` if it can't be one.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let tag = Self(value.try_into().ok()?);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        tag.0.iter().all(plain).then_some(tag)
    }

    /// As it stands in the cookie.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("base64url is ASCII")
    }

    fn of(key: &hmac::Key, farm: &str, address: SocketAddr) -> Self {
        let mut context = hmac::Context::with_key(key);
        context.update(farm.as_bytes());
        context.update(&[0]);
        match address.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&address.port().to_be_bytes());
        let mac = context.sign();
        let mut characters = [0; TAG_LENGTH];
        URL_SAFE_NO_PAD
            .encode_slice(&mac.as_ref()[..TAG_BYTES], &mut characters)
            .expect("16 bytes are 22 characters of base64url");
        Self(characters)
    }
}

/// Hashes and compares as the bytes do.
impl Borrow<[u8]> for Tag {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Tags name sessions' homes and reach no log.
impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

/// The values of all cookies called `name` in all Cookie fields, in order. Names of cookies are case-sensitive.
pub fn cookie_values<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let crumbs = fields.get_all("cookie").flat_map(|value| value.split(|&byte| byte == b';'));
    crumbs.filter_map(move |crumb| own_value(crumb, name))
}

/// The value of a Cookie field without the cookies called `name`: as it came if there are none, `None` if nothing is left.
pub fn without_cookie<'a>(value: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let is_other = |crumb: &&[u8]| own_value(crumb, name).is_none();
    let crumbs = value.split(|&byte| byte == b';');
    if crumbs.clone().all(|crumb| is_other(&crumb)) {
        return Some(Cow::Borrowed(value));
    }
    let left = crumbs.filter(is_other).collect::<Vec<_>>().join(&b';');
    let left = left.trim_ascii();
    (!left.is_empty()).then(|| Cow::Owned(left.to_vec()))
}

/// The value of a Set-Cookie field that pins a session: for the whole of the gateway's host, since the paths of different
/// interfaces share a session, until the client ends it. Pages of other origins use Xsi, too: without `SameSite=None`,
/// browsers and web views would not bring it back from there.
pub fn set_cookie(name: &str, tag: &Tag) -> String {
    format!("{name}={}; Path=/; Secure; HttpOnly; SameSite=None", tag.as_str())
}

fn own_value<'a>(crumb: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = memchr::memchr(b'=', crumb)?;
    (crumb[..equals].trim_ascii() == name.as_bytes()).then(|| crumb[equals + 1..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ring(bytes: &[u8]) -> Keyring {
        let key = |byte: &u8| Key::new([*byte; 32]);
        Keyring::new(key(&bytes[0]), bytes[1..].iter().map(key))
    }

    #[test]
    fn r_aff_1_a_tag_is_the_same_on_every_gateway() {
        // By another implementation: HMAC-SHA256(00 01 .. 1f, "xsp" 00 0a 00 00 01 01 bb), its first 16 bytes.
        let bytes: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let tag = Keyring::new(Key::new(bytes), []).tag("xsp", address("10.0.0.1:443"));
        assert_eq!(tag.as_str(), "SXsZ-myLaAApMlmtVbIx6A");
    }

    #[test]
    fn a_fingerprint_is_the_same_on_every_gateway_and_tells_nothing_of_a_key_or_a_tag() {
        let bytes: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let keyring = Keyring::new(Key::new(bytes), [Key::new([7; 32])]);
        let prints: Vec<_> = keyring.prints().collect();
        // By another implementation: HMAC-SHA256(00 01 .. 1f, "xspgate affinity key, fingerprint"), its first 4 bytes.
        assert_eq!(prints[0].0.to_string(), "2911dc17");
        assert_eq!(prints.iter().map(|(_, part)| *part).collect::<Vec<_>>(), [KeyUse::Signs, KeyUse::Accepted]);
        assert_ne!(prints[0].0, prints[1].0);
        for (print, _) in &prints {
            let text = print.to_string();
            assert!(!STANDARD.encode(bytes).contains(&text) && !text.starts_with("0001") && !text.starts_with("0707"));
            for farm in ["xsp", "", "a-b.c_d", "xspgate"] {
                for (last, port) in (0..=255).zip(1..) {
                    for tag in keyring.accepted_tags(farm, SocketAddr::from(([10, 0, 0, last], port))) {
                        let inside = URL_SAFE_NO_PAD.decode(tag.as_str()).unwrap();
                        assert!(!inside.starts_with(&print.0) && !tag.as_str().starts_with(&text));
                    }
                }
            }
        }
        // What a tag is made of begins with a farm's name, which holds neither a space nor a comma.
        assert!(FINGERPRINT.contains(&b' ') && FINGERPRINT.contains(&b','));
    }

    #[test]
    fn r_aff_1_a_tag_differs_by_farm_address_port_and_key() {
        let tags = [
            ring(&[1]).tag("xsp", address("10.0.0.1:443")),
            ring(&[1]).tag("xsp2", address("10.0.0.1:443")),
            ring(&[1]).tag("xsp", address("10.0.0.2:443")),
            ring(&[1]).tag("xsp", address("10.0.0.1:444")),
            ring(&[1]).tag("xsp", address("[::ffff:10.0.0.1]:443")),
            ring(&[2]).tag("xsp", address("10.0.0.1:443")),
        ];
        for (index, tag) in tags.iter().enumerate() {
            assert_eq!(tag.as_str().len(), 22);
            assert_eq!(Tag::parse(tag.as_str().as_bytes()), Some(*tag));
            assert!(!tags[..index].contains(tag));
        }
    }

    #[test]
    fn r_aff_1_keys_change_without_losing_sessions() {
        let at = address("10.0.0.1:443");
        let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
        assert_eq!(both.tag("xsp", at), new.tag("xsp", at));
        let accepted: Vec<_> = both.accepted_tags("xsp", at).collect();
        assert_eq!(accepted, [new.tag("xsp", at), old.tag("xsp", at)]);
        assert!(!new.accepted_tags("xsp", at).any(|tag| tag == old.tag("xsp", at)));
    }

    #[test]
    fn tags_are_found_by_the_bytes_of_a_cookie() {
        let tag = ring(&[1]).tag("xsp", address("10.0.0.1:443"));
        let homes = HashMap::from([(tag, 7)]);
        assert_eq!(homes.get(tag.as_str().as_bytes()), Some(&7));
        assert_eq!(homes.get(&b"AAAAAAAAAAAAAAAAAAAAAA"[..]), None);
        for value in [&b""[..], b"AAAAAAAAAAAAAAAAAAAAA", b"AAAAAAAAAAAAAAAAAAAAAAA", b"AAAAAAAAAAAAAAAAAAAAA="] {
            assert_eq!(Tag::parse(value), None);
        }
    }

    #[test]
    fn key_files_hold_one_key_a_line() {
        let line = |byte: u8| STANDARD.encode([byte; 32]);
        let text = format!("# since spring\n{}\r\n\n  {}\n", line(2), line(1));
        let read: Keyring = text.parse().unwrap();
        let at = address("10.0.0.1:443");
        let expected: Vec<_> = ring(&[2, 1]).accepted_tags("xsp", at).collect();
        assert_eq!(read.accepted_tags("xsp", at).collect::<Vec<_>>(), expected);

        let short = STANDARD.encode([0; 31]);
        let table = [
            (String::new(), BadKeyring::Empty),
            ("# nothing\n\n".to_owned(), BadKeyring::Empty),
            (format!("{}\n!\n", line(1)), BadKeyring::Line { line: 2, source: BadKey::Base64 }),
            (format!("\n{short}"), BadKeyring::Line { line: 2, source: BadKey::Length(31) }),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Keyring>().unwrap_err(), expected);
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let (key, keyring) = (Key::new([65; 32]), ring(&[65, 66]));
        let tag = keyring.tag("xsp", address("10.0.0.1:443"));
        assert_eq!(format!("{key:?} {keyring:?} {tag:?}"), "Key(..) Keyring(2 keys) Tag(..)");
    }

    #[test]
    fn r_aff_1_the_cookie_is_sent_on_every_path() {
        let tag = Tag::parse(b"ABCDEFGHIJKLMNOPQRSTUV").unwrap();
        assert_eq!(
            set_cookie("XSPGATE", &tag),
            "XSPGATE=ABCDEFGHIJKLMNOPQRSTUV; Path=/; Secure; HttpOnly; SameSite=None"
        );
    }

    #[test]
    fn r_aff_1_the_cookie_is_found_wherever_it_stands() {
        let fields = Fields::from_iter([
            ("Cookie", "JSESSIONID=1; XSPGATE=a"),
            ("X", "XSPGATE=x"),
            ("cookie", "XSPGATE= b ;xspgate=n;XSPGATEX=n; XSPGATE;XSPGATE=c=d"),
        ]);
        let values: Vec<_> = cookie_values(&fields, "XSPGATE").collect();
        assert_eq!(values, [&b"a"[..], b"b", b"c=d"]);
    }

    #[test]
    fn only_the_gateways_own_cookie_is_taken_out() {
        let table = [
            ("", Some("")),
            ("a=1", Some("a=1")),
            ("a=1;  b=\"2\" ;;c", Some("a=1;  b=\"2\" ;;c")),
            ("XSPGATE=x", None),
            (" XSPGATE = x ", None),
            ("XSPGATE=x; XSPGATE=y", None),
            ("a=1; XSPGATE=x", Some("a=1")),
            ("XSPGATE=x; a=1", Some("a=1")),
            ("a=1; XSPGATE=x; b=2;c=3", Some("a=1; b=2;c=3")),
            ("xspgate=x; XSPGATE", Some("xspgate=x; XSPGATE")),
        ];
        for (value, expected) in table {
            let left = without_cookie(value.as_bytes(), "XSPGATE");
            assert_eq!(left.as_deref(), expected.map(str::as_bytes), "{value}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn r_aff_1_taking_the_cookie_out_leaves_the_others_in_their_order(
            crumbs in prop::collection::vec(("(XSPGATE|xspgate|JSESSIONID|a|)", "[a-zA-Z0-9=\"-]{0,6}", "[ \t]?"), 0..8)
        ) {
            let spelled = |(name, value, blank): &(String, String, String)| format!("{blank}{name}={value}");
            let value = crumbs.iter().map(spelled).collect::<Vec<_>>().join(";");
            let value = value.trim_matches([' ', '\t']);
            let other = |(name, ..): &&(String, String, String)| name != "XSPGATE";
            let expected: Vec<_> = crumbs.iter().filter(other).map(|crumb| spelled(crumb).trim().to_owned()).collect();
            let left = without_cookie(value.as_bytes(), "XSPGATE");
            let left = left.map(|left| String::from_utf8(left.into_owned()).unwrap());
            let found: Vec<_> = match &left {
                None => Vec::new(),
                Some(left) if left.is_empty() => Vec::new(),
                Some(left) => left.split(';').map(|crumb| crumb.trim().to_owned()).collect(),
            };
            prop_assert_eq!(found, expected);
            let fields = Fields::from_iter(left.iter().map(|left| ("Cookie", left)));
            prop_assert_eq!(cookie_values(&fields, "XSPGATE").count(), 0);
            let fields = Fields::from_iter([("Cookie", value)]);
            let values: Vec<_> = cookie_values(&fields, "XSPGATE").map(<[u8]>::to_vec).collect();
            let expected: Vec<_> = crumbs.iter().filter(|crumb| !other(crumb)).map(|(_, value, _)| value.clone().into_bytes()).collect();
            prop_assert_eq!(values, expected);
        }
    }
}
