//! Keys that take one of a few words. Separate from names, because the words are the gateway's own, and a wrong one has a
//! nearest right one.

use serde_json::{Value, json};

use crate::broadworks::interface::Interface;
use crate::config::model::{
    AccessLog, AddressFamily, ClientPurpose, CrlOverdue, Freebind, LogFormat, Nameless, Needed, ProxyProtocol, Reloads,
    Strictness, TlsVersion, Untrusted,
};
use crate::policy::classify::{On5xx, OnSilence, Replay};
use crate::policy::headers::Via;

use super::{Leaf, Refusal, leaves, one_of, quoted};

/// A value out of a closed list of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice<T>(pub T);

/// What [`Choice`] chooses from.
pub trait Words: Sized + Copy + 'static {
    /// What the words are for: `a log format`.
    const KIND: &'static str;

    /// Every word with its value.
    fn words() -> Vec<(&'static str, Self)>;

    /// A better answer than the list of words, for mistakes that have one.
    fn advice(_text: &str) -> Option<&'static str> {
        None
    }
}

impl<T: Words> Leaf for Choice<T> {
    fn expected() -> String {
        format!("{} such as \"{}\"", T::KIND, T::words()[0].0)
    }

    fn schema() -> Value {
        one_of(T::words().into_iter().map(|(word, _)| word))
    }

    fn float(number: f64) -> Result<Self, Refusal> {
        let refusal = super::wrong_type::<Self>(&format!("the number {number}"));
        Err(match T::advice(&number.to_string()) {
            Some(advice) => refusal.help(advice),
            None => refusal,
        })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let words = T::words();
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Self(*value));
        }
        let refusal = Refusal::new(format!("{} is not {}", quoted(text), T::KIND));
        if let Some(advice) = T::advice(text) {
            return Err(refusal.help(advice));
        }
        let words = words.into_iter().map(|(word, _)| word);
        Err(refusal.help(match nearest(text, words.clone()) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("one of {}", words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")),
        }))
    }
}

/// The word that `text` most likely stands for, if any is near.
pub fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Typing slips cost 1 each; a third of the word may be wrong.
    let distance = |word: &str| strsim::damerau_levenshtein(&text.to_ascii_lowercase(), &word.to_ascii_lowercase());
    words
        .into_iter()
        .filter(|word| text.len() <= 2 * word.len() + 3)
        .map(|word| (distance(word), word))
        .filter(|(distance, word)| *distance <= (word.len().max(3) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

impl Words for Interface {
    const KIND: &'static str = "an interface";

    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|interface| (interface.name(), interface)).collect()
    }

    fn advice(text: &str) -> Option<&'static str> {
        match text.to_ascii_lowercase().as_str() {
            "cti" => Some("CTI is not HTTP: it has a section of its own, [[cti]]"),
            "nps" | "notification-push-server" | "notificationpushserver" => {
                Some("the notification push server must not share an XSP with the interfaces that the gateway serves")
            }
            "xsi" => Some("one of \"xsi-actions\", \"xsi-events\""),
            "authservice" | "authentication-service" | "auth" => Some("did you mean \"auth-service\"?"),
            "callsettings" | "csw" | "call-settings-webview" => Some("did you mean \"call-settings\"?"),
            _ => None,
        }
    }
}

impl Words for LogFormat {
    const KIND: &'static str = "a log format";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("json", Self::Json), ("human", Self::Human)]
    }
}

impl Words for AddressFamily {
    const KIND: &'static str = "an address family";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("ipv4", Self::Ipv4), ("ipv6", Self::Ipv6), ("both", Self::Both)]
    }
}

impl Words for TlsVersion {
    const KIND: &'static str = "a TLS version";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("1.2", Self::Tls12), ("1.3", Self::Tls13)]
    }

    fn advice(text: &str) -> Option<&'static str> {
        let number = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        match number {
            "1.0" | "1.1" | "1" => Some("Webex negotiates nothing below 1.2, and neither does the gateway"),
            "1.2" => Some("write \"1.2\""),
            "1.3" => Some("write \"1.3\""),
            _ => None,
        }
    }
}

impl Words for On5xx {
    const KIND: &'static str = "an answer to a 5xx";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("confirm", Self::Confirm), ("block", Self::Block), ("answer", Self::Answer)]
    }
}

impl Words for OnSilence {
    const KIND: &'static str = "an answer to silence";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("confirm", Self::Confirm), ("block", Self::Block)]
    }
}

impl Words for Needed {
    const KIND: &'static str = "a farm's part in readiness";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("any", Self::Any), ("none", Self::None)]
    }
}

impl Words for Via {
    const KIND: &'static str = "a use of Via";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("requests", Self::Requests), ("both", Self::Both), ("off", Self::Off)]
    }
}

impl Words for Replay {
    const KIND: &'static str = "a replay rule";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("safe", Self::Safe), ("idempotent", Self::Idempotent), ("all", Self::All), ("none", Self::None)]
    }
}

impl Words for ClientPurpose {
    const KIND: &'static str = "a purpose of client certificates";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("client-auth", Self::ClientAuth), ("any", Self::Any)]
    }
}

impl Words for CrlOverdue {
    const KIND: &'static str = "what to do when a revocation list is overdue";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("accept", Self::Accept), ("refuse", Self::Refuse)]
    }
}

impl Words for ProxyProtocol {
    const KIND: &'static str = "a version of the PROXY protocol";

    fn words() -> Vec<(&'static str, Self)> {
        vec![("off", Self::Off), ("v2", Self::V2)]
    }

    fn advice(text: &str) -> Option<&'static str> {
        matches!(text, "v1" | "1").then_some("version 1 is accepted from trusted_proxies, but not sent: use \"v2\"")
    }
}

leaves!(
    Choice<Interface>,
    Choice<LogFormat>,
    Choice<AddressFamily>,
    Choice<TlsVersion>,
    Choice<On5xx>,
    Choice<OnSilence>,
    Choice<Needed>,
    Choice<Via>,
    Choice<Replay>,
    Choice<ClientPurpose>,
    Choice<CrlOverdue>,
    Choice<ProxyProtocol>
);

/// `true` or `false` for the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub AccessLog);

impl Leaf for Access {
    fn expected() -> String {
        "true or false".into()
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn boolean(value: bool) -> Result<Self, Refusal> {
        Ok(Self(if value { AccessLog::On } else { AccessLog::Off }))
    }
}

/// `true` or `false` for addresses that aren't here yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free(pub Freebind);

impl Leaf for Free {
    fn expected() -> String {
        "true or false".into()
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn boolean(value: bool) -> Result<Self, Refusal> {
        Ok(Self(if value { Freebind::On } else { Freebind::Off }))
    }
}

/// `true` or `false` for the rules of a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strict(pub Strictness);

impl Leaf for Strict {
    fn expected() -> String {
        "true or false".into()
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn boolean(value: bool) -> Result<Self, Refusal> {
        Ok(Self(if value { Strictness::Errors } else { Strictness::Warnings }))
    }
}

/// `true` or `false` for reading the configuration again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed(pub Reloads);

impl Leaf for Followed {
    fn expected() -> String {
        "true or false".into()
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn boolean(value: bool) -> Result<Self, Refusal> {
        Ok(Self(if value { Reloads::OnChange } else { Reloads::WhenAsked }))
    }
}

/// `true` or `false` for clients that ask for no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset(pub Nameless);

impl Leaf for Preset {
    fn expected() -> String {
        "true or false".into()
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn boolean(value: bool) -> Result<Self, Refusal> {
        Ok(Self(if value { Nameless::Served } else { Nameless::LeftToOthers }))
    }
}

/// `true` or `false` for clients that are believed no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended(pub Untrusted);

impl Leaf for Ended {
    fn expected() -> String {
        "true or false".into()
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }

    fn boolean(value: bool) -> Result<Self, Refusal> {
        Ok(Self(if value { Untrusted::Ended } else { Untrusted::Kept }))
    }
}

leaves!(Access, Free, Strict, Followed, Preset, Ended);

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: Words + std::fmt::Debug>(text: &str) -> String {
        Choice::<T>::text(text).unwrap_err().to_string().replace('\u{1f}', "; ")
    }

    #[test]
    fn a_wrong_word_gets_the_nearest_right_one() {
        let table = [
            (told::<LogFormat>("jsno"), "\"jsno\" is not a log format; did you mean \"json\"?"),
            (told::<LogFormat>("xml"), "\"xml\" is not a log format; one of \"json\", \"human\""),
            (told::<On5xx>("Confirm"), "\"Confirm\" is not an answer to a 5xx; did you mean \"confirm\"?"),
            (told::<TlsVersion>("TLSv1.2"), "\"TLSv1.2\" is not a TLS version; write \"1.2\""),
            (told::<Interface>("xsi-action"), "\"xsi-action\" is not an interface; did you mean \"xsi-actions\"?"),
            (
                told::<Interface>("cti"),
                "\"cti\" is not an interface; CTI is not HTTP: it has a section of its own, [[cti]]",
            ),
        ];
        for (found, expected) in table {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn r_tls_1_nothing_below_tls_1_2() {
        for text in ["1.1", "TLSv1.0", "TLS 1.1"] {
            assert!(told::<TlsVersion>(text).contains("nothing below 1.2"), "{text}");
        }
    }
}
