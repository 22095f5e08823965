//! Cipher suites and key exchange groups by their IANA names (R-TLS-3). Separate from other words, because a wrong one may be
//! right elsewhere: in OpenSSL's spelling, or on Cisco's list but not in rustls.

use rustls::crypto::aws_lc_rs;
use rustls::{CipherSuite, NamedGroup};
use serde_json::{Value, json};

use super::{Leaf, Refusal, choice, leaves, matching, one_of, quoted};

/// A cipher suite that rustls has, written as IANA names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite(pub CipherSuite);

/// A key exchange group that rustls has, written as IANA names it (without regard to case).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(pub NamedGroup);

/// Every suite that there is, in the default order of preference, with its IANA name.
pub fn suites() -> Vec<(String, CipherSuite)> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().map(|suite| (suite_name(suite.suite()), suite.suite())).collect()
}

/// A suite's IANA name; rustls spells TLS 1.3's with the version.
pub fn suite_name(suite: CipherSuite) -> String {
    format!("{suite:?}").replacen("TLS13_", "TLS_", 1)
}

/// Every group that there is, by its IANA name.
const GROUPS: [(&str, NamedGroup); 7] = [
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
    ("SecP256r1MLKEM768", NamedGroup::secp256r1MLKEM768),
    ("x25519", NamedGroup::X25519),
    ("secp256r1", NamedGroup::secp256r1),
    ("secp384r1", NamedGroup::secp384r1),
    ("MLKEM768", NamedGroup::MLKEM768),
    ("MLKEM1024", NamedGroup::MLKEM1024),
];

/// The suites that are on unless others are named, in order of preference.
pub fn default_suites() -> Vec<CipherSuite> {
    aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().map(|suite| suite.suite()).collect()
}

/// The groups that are on unless others are named: the hybrid post-quantum one first.
pub fn default_groups() -> Vec<NamedGroup> {
    vec![NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1]
}

/// Whether a suite belongs to TLS 1.3 and to no earlier version.
pub fn is_tls13(suite: CipherSuite) -> bool {
    format!("{suite:?}").starts_with("TLS13_")
}

/// Whether rustls has a suite.
pub fn is_known(suite: CipherSuite) -> bool {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().any(|known| known.suite() == suite)
}

/// Whether a suite encrypts with ChaCha20-Poly1305.
pub const fn is_chacha20(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Whether TLS 1.2 can use a group; it knows no post-quantum one.
pub fn is_classical(group: NamedGroup) -> bool {
    matches!(group, NamedGroup::X25519 | NamedGroup::secp256r1 | NamedGroup::secp384r1)
}

impl Leaf for Suite {
    fn expected() -> String {
        "a cipher suite such as \"TLS_AES_128_GCM_SHA256\"".into()
    }

    fn schema() -> Value {
        one_of(suites().into_iter().map(|(name, _)| name))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let all = suites();
        if let Some((_, suite)) = all.iter().find(|(name, _)| name == text) {
            return Ok(Self(*suite));
        }
        let names = all.iter().map(|(name, _)| name.as_str());
        let list = names.clone().collect::<Vec<_>>().join(", ");
        if let Some(iana) = from_openssl(text) {
            let refusal = Refusal::new(format!("{} is OpenSSL's name for {iana}", quoted(text)));
            return Err(match lacking(&iana) {
                Some(why) => refusal.help(format!("IANA names are used here; but {why}; there are {list}")),
                None => refusal.help(format!("write the IANA name: \"{iana}\"")),
            });
        }
        if let Some(why) = lacking(text) {
            return Err(
                Refusal::new(format!("{} is not available: {why}", quoted(text))).help(format!("there are {list}"))
            );
        }
        let refusal = Refusal::new(format!("{} is not a cipher suite", quoted(text)));
        Err(match choice::nearest(text, names) {
            Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
            None => refusal.help(format!("there are {list}")),
        })
    }
}

/// Why rustls does not have a suite that others have, by its IANA name.
fn lacking(iana: &str) -> Option<&'static str> {
    let known = iana.starts_with("TLS_") && iana.contains("_WITH_");
    if !known {
        return None;
    }
    if iana.starts_with("TLS_DHE_") {
        return Some("rustls has no DHE (finite-field) key exchange, though Cisco lists such suites; use ECDHE");
    }
    if iana.contains("_CBC_") {
        return Some("rustls has no CBC suites, though Cisco lists some; use GCM");
    }
    if iana.starts_with("TLS_RSA_") {
        return Some("rustls has no RSA key exchange, which gives no forward secrecy; use ECDHE");
    }
    ["_RC4_", "_3DES_", "_NULL_", "_DES_", "_CCM", "_ARIA_", "_CAMELLIA_"]
        .iter()
        .any(|cipher| iana.contains(cipher))
        .then_some("rustls has AES-GCM and ChaCha20-Poly1305 suites only")
}

/// `ECDHE-RSA-AES128-GCM-SHA256` -> `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
fn from_openssl(text: &str) -> Option<String> {
    let mut rest = text;
    let mut exchange = String::from("RSA");
    for (openssl, iana) in [("ECDHE-RSA-", "ECDHE_RSA"), ("ECDHE-ECDSA-", "ECDHE_ECDSA"), ("DHE-RSA-", "DHE_RSA")] {
        if let Some(found) = text.strip_prefix(openssl) {
            (rest, exchange) = (found, iana.to_owned());
        }
    }
    let cipher = match rest {
        "AES128-GCM-SHA256" => "AES_128_GCM_SHA256",
        "AES256-GCM-SHA384" => "AES_256_GCM_SHA384",
        "CHACHA20-POLY1305" | "CHACHA20-POLY1305-SHA256" => "CHACHA20_POLY1305_SHA256",
        "AES128-SHA256" => "AES_128_CBC_SHA256",
        "AES256-SHA384" => "AES_256_CBC_SHA384",
        "AES256-SHA256" => "AES_256_CBC_SHA256",
        "AES128-SHA" => "AES_128_CBC_SHA",
        "AES256-SHA" => "AES_256_CBC_SHA",
        _ => return None,
    };
    Some(format!("TLS_{exchange}_WITH_{cipher}"))
}

impl Leaf for Group {
    fn expected() -> String {
        "a key exchange group such as \"x25519\"".into()
    }

    fn schema() -> Value {
        // The names complete what is typed; the pattern takes them in any case.
        let either = |c: char| format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase());
        let names = GROUPS.map(|(name, _)| name.chars().map(either).collect::<String>());
        json!({"anyOf": [one_of(GROUPS.map(|(name, _)| name)), matching(names.join("|"))]})
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if let Some((_, group)) = GROUPS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(Self(*group));
        }
        let names = GROUPS.iter().map(|(name, _)| *name);
        let list = names.clone().collect::<Vec<_>>().join(", ");
        let refusal = Refusal::new(format!("{} is not a key exchange group", quoted(text)));
        let lower = text.to_ascii_lowercase();
        Err(match lower.as_str() {
            "p-256" | "p256" | "prime256v1" => refusal.help("write the IANA name: \"secp256r1\""),
            "p-384" | "p384" => refusal.help("write the IANA name: \"secp384r1\""),
            _ if lower.starts_with("ffdhe") || ["secp521r1", "p-521", "p521", "x448"].contains(&lower.as_str()) => {
                Refusal::new(format!("{} is not available: rustls does not have that group", quoted(text)))
                    .help(format!("there are {list}"))
            }
            _ => match choice::nearest(text, names) {
                Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
                None => refusal.help(format!("there are {list}")),
            },
        })
    }
}

leaves!(Suite, Group);

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: Leaf + std::fmt::Debug>(text: &str) -> String {
        T::text(text).unwrap_err().to_string().replace('\u{1f}', "; ")
    }

    #[test]
    fn r_tls_3_suites_go_by_their_iana_names() {
        for (text, suite) in [
            ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
            ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
            ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        ] {
            assert_eq!(Suite::text(text).unwrap().0, suite);
            assert_eq!(suite_name(suite), text);
        }
        assert_eq!(suites().len(), 9);
        assert_eq!(default_suites().len(), 9);
    }

    #[test]
    fn r_tls_3_a_listed_suite_that_rustls_lacks_is_told_so() {
        for (text, why) in [
            ("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", "rustls has no DHE"),
            ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", "rustls has no DHE"),
            ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "rustls has no CBC"),
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", "no RSA key exchange"),
        ] {
            let told = told::<Suite>(text);
            assert!(told.contains(why) && told.contains("there are TLS_AES_256_GCM_SHA384, "), "{told}");
        }
    }

    #[test]
    fn r_tls_3_an_openssl_name_is_answered_with_the_iana_name() {
        assert_eq!(
            told::<Suite>("ECDHE-RSA-AES128-GCM-SHA256"),
            "\"ECDHE-RSA-AES128-GCM-SHA256\" is OpenSSL's name for TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; \
             write the IANA name: \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\""
        );
        for (openssl, iana) in [
            ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
            ("DHE-RSA-AES256-SHA256", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"),
            ("AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        ] {
            assert_eq!(from_openssl(openssl).unwrap(), iana);
        }
        assert!(told::<Suite>("DHE-RSA-AES256-SHA256").contains("rustls has no DHE"));
        assert!(told::<Suite>("TLS_AES_128_GCM_SHA265").contains("did you mean \"TLS_AES_128_GCM_SHA256\"?"));
    }

    #[test]
    fn r_tls_3_groups_go_by_their_iana_names() {
        for text in ["X25519MLKEM768", "x25519", "X25519", "secp256r1", "secp384r1"] {
            assert!(Group::text(text).is_ok(), "{text}");
        }
        for (name, group) in GROUPS {
            assert!(aws_lc_rs::ALL_KX_GROUPS.iter().any(|known| known.name() == group), "{name}");
        }
        assert_eq!(aws_lc_rs::ALL_KX_GROUPS.len(), GROUPS.len());
        assert!(told::<Group>("prime256v1").contains("\"secp256r1\""));
        assert!(told::<Group>("ffdhe2048").contains("rustls does not have that group"));
        assert!(told::<Group>("x25591").contains("did you mean \"x25519\"?"));
    }
}
