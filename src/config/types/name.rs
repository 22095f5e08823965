//! Names: of hosts, of services in DNS, of sections, of the affinity cookie. Separate from addresses, because names are
//! compared without regard to case and kept in lower case.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Leaf, Refusal, leaves, matching, one_of, quoted};

/// A host name in lower case, without a trailing dot: labels of 1 to 63 letters, digits and hyphens, 253 characters in
/// all (RFC 1123). No wildcard, no address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(pub String);

/// The name in a client's certificate, of the same kind as a [`HostName`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(pub String);

/// `_service._tcp.name` in lower case, without a trailing dot (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// The whole name.
    pub name: String,
    /// What stands behind the two labels.
    pub domain: String,
}

/// The name of a section, such as `xsp` in `[farm.xsp]`: 1 to 64 letters, digits, `-`, `_` and `.`. It shows up in
/// metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SectionName(pub String);

/// A cookie's name: 1 to 64 characters of RFC 6265's token, and none that an XSP uses itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(pub String);

/// Which log events are written: `info`, or `info,xspgate::discover=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Leaf for HostName {
    fn expected() -> String {
        "a host name such as \"xsp.example.com\"".into()
    }

    fn schema() -> Value {
        matching(host_pattern())
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if let Some(rest) = text.strip_prefix('*') {
            let example = format!("webex{}", if rest.starts_with('.') { rest } else { ".example.com" });
            return Err(Refusal::new(format!("the wildcard {} is not served", quoted(text))).help(format!(
                "name each host, such as \"{example}\": a request for any other name must get no answer (a certificate may \
                 be a wildcard)"
            )));
        }
        if text.starts_with('_') {
            return Err(not_a_host(text, "labels that start with '_' belong to SRV names".into())
                .help(format!("if XSPs are to be found by SRV, write srv = {}", quoted(text))));
        }
        host(text).map(Self)
    }
}

impl Leaf for ClientName {
    fn expected() -> String {
        "a client's name such as \"bwcticlient.webex.com\"".into()
    }

    fn schema() -> Value {
        matching(host_pattern())
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if text.starts_with('*') {
            return Err(Refusal::new(format!("the wildcard {} names no client", quoted(text))).help(
                "write each name as it is in the clients' certificates, as CN or DNS name, such as \
                 \"bwcticlient.webex.com\"",
            ));
        }
        if is_address(text) {
            return Err(not_a_host(text, "it is an IP address".into())
                .help("clients are known by names in their certificates; `allow` takes addresses"));
        }
        host(text).map(Self)
    }
}

fn not_a_host(text: &str, why: String) -> Refusal {
    Refusal::new(format!("{} is not a host name: {why}", quoted(text)))
}

fn host(text: &str) -> Result<String, Refusal> {
    let refuse = |why: &str| Err(not_a_host(text, why.into()));
    if text.is_empty() {
        return refuse("it is empty");
    }
    if let Some((_, rest)) = text.split_once("://") {
        let name = rest.split(['/', ':']).next().unwrap_or_default();
        return refuse("it is a URL")
            .map_err(|refusal: Refusal| refusal.help(format!("the name alone: {}", quoted(name))));
    }
    if is_address(text) {
        return refuse("it is an IP address")
            .map_err(|refusal| refusal.help("TLS names hosts, and not addresses, in SNI"));
    }
    if let Some((name, port)) = text.split_once(':')
        && !port.contains(':')
    {
        return refuse("it holds a port")
            .map_err(|refusal| refusal.help(format!("the name alone: {}; a port is a key of its own", quoted(name))));
    }
    if !text.is_ascii() {
        return refuse("it is not ASCII").map_err(|refusal| refusal.help("write it as DNS has it (xn--...)"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 {
        return refuse("it is longer than 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return refuse("a label is empty");
        }
        if label.len() > 63 {
            return refuse("a label is longer than 63 characters");
        }
        if let Some(odd) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(not_a_host(text, format!("{odd:?} is not a letter, digit or hyphen")));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refuse("a label starts or ends with a hyphen");
        }
    }
    match name.rsplit('.').next() {
        Some(last) if last.bytes().all(|byte| byte.is_ascii_digit()) => refuse("its last label is a number"),
        Some(_) | None => Ok(name.to_ascii_lowercase()),
    }
}

/// The regular expression of host names; addresses fit too.
fn host_pattern() -> String {
    let label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
    format!("{label}([.]{label})*[.]?")
}

fn is_address(text: &str) -> bool {
    text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

impl Leaf for ServiceName {
    fn expected() -> String {
        "an SRV name such as \"_xsi-client._tcp.example.com\"".into()
    }

    fn schema() -> Value {
        matching(format!("_[A-Za-z0-9-]+[.]_[Tt]([Cc][Pp]|[Ll][Ss])[.]{}", host_pattern()))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: &str| Refusal::new(format!("{} is not an SRV name: {why}", quoted(text)));
        let example = "\"_service._tcp.name\", such as \"_xsi-client._tcp.example.com\"";
        if !text.starts_with('_') {
            let refusal = refuse("it does not start with _service._tcp");
            return Err(match host(text) {
                Ok(_) => {
                    refusal.help(format!("{example}; if XSPs are to be found by A records, write a = {}", quoted(text)))
                }
                Err(_) => refusal.help(example),
            });
        }
        let mut parts = text.splitn(3, '.');
        let (service, protocol, domain) = (parts.next(), parts.next(), parts.next());
        let (Some(service), Some(protocol), Some(domain)) = (service, protocol, domain) else {
            return Err(refuse("it has fewer than three parts").help(example));
        };
        let label = service.strip_prefix('_').unwrap_or_default();
        if label.is_empty() || label.len() > 62 || label.contains('_') || host(label).is_err() {
            return Err(refuse("the service is not '_' and a word of letters, digits and hyphens").help(example));
        }
        if !protocol.eq_ignore_ascii_case("_tcp") && !protocol.eq_ignore_ascii_case("_tls") {
            return Err(refuse("the second part is not _tcp").help("XSPs are reached over TCP"));
        }
        let domain = host(domain).map_err(|inner| Refusal { message: inner.message, ..refuse("").help(example) })?;
        let name = format!("{service}.{protocol}.{domain}").to_ascii_lowercase();
        match name.len() {
            ..=253 => Ok(Self { name, domain }),
            _ => Err(refuse("it is longer than 253 characters")),
        }
    }
}

impl SectionName {
    /// The regular expression of such names.
    pub const PATTERN: &str = "[A-Za-z0-9._-]{1,64}";
}

impl Leaf for SectionName {
    fn expected() -> String {
        "the name of a section".into()
    }

    fn schema() -> Value {
        matching(Self::PATTERN)
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match text.len() {
            1..=64 if text.chars().all(plain) => Ok(Self(text.to_owned())),
            _ => Err(Refusal::new(format!("{} can't be a name", quoted(text)))
                .help("a name is 1 to 64 letters, digits, '-', '_' and '.'")),
        }
    }
}

impl Leaf for CookieName {
    fn expected() -> String {
        "a cookie's name such as \"XSPGATE\"".into()
    }

    fn schema() -> Value {
        matching("[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if text.eq_ignore_ascii_case("JSESSIONID") {
            return Err(Refusal::new(format!("the cookie {} is the XSPs' own", quoted(text)))
                .help("choose a name that no XSP uses, such as \"XSPGATE\""));
        }
        match text.len() {
            1..=64 if text.chars().all(token) => Ok(Self(text.to_owned())),
            _ => Err(Refusal::new(format!("{} can't be a cookie's name", quoted(text)))
                .help("1 to 64 letters, digits and any of !#$%&'*+-.^_`|~")),
        }
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

impl Leaf for LogFilter {
    fn expected() -> String {
        "a log level such as \"info\"".into()
    }

    fn schema() -> Value {
        let directive = format!(" *([A-Za-z0-9_:-]+=)?({}) *", LEVELS.join("|"));
        json!({"anyOf": [one_of(LEVELS), matching(format!("{directive}(,{directive})*"))]})
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let target = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
        let directives: Vec<&str> = text.split(',').map(str::trim).collect();
        for directive in &directives {
            let level = match directive.split_once('=') {
                Some((name, level)) if !name.is_empty() && name.chars().all(target) => level,
                Some(_) => "",
                None => directive,
            };
            if !LEVELS.contains(&level) {
                let refusal = Refusal::new(format!("{} is not a log level", quoted(directive)));
                return Err(match super::choice::nearest(level, LEVELS) {
                    Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
                    None => refusal.help(
                        "one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\", or a list such as \
                         \"info,xspgate::discover=debug\"",
                    ),
                });
            }
        }
        Ok(Self(directives.join(",")))
    }
}

leaves!(HostName, ClientName, ServiceName, CookieName, LogFilter);

impl<'de> serde::Deserialize<'de> for SectionName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::leaf(deserializer)
    }
}

#[cfg(test)]
impl serde::Serialize for SectionName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_kept_in_lower_case() {
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        for (text, expected) in [
            ("xsp.example.com", "xsp.example.com"),
            ("XSP.Example.COM.", "xsp.example.com"),
            ("localhost", "localhost"),
            ("3com.example", "3com.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            (&long, &long),
        ] {
            assert_eq!(HostName::text(text).unwrap().0, expected);
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_the_reason() {
        let label = format!("{}.example.com", "a".repeat(64));
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62)].join(".");
        for (text, why) in [
            ("", "is empty"),
            ("*.example.com", "wildcard"),
            ("*", "wildcard"),
            ("https://xsp.example.com/", "is a URL"),
            ("192.0.2.1", "IP address"),
            ("[2001:db8::1]", "IP address"),
            ("2001:db8::1", "IP address"),
            ("xsp.example.com:443", "holds a port"),
            ("bücher.example", "not ASCII"),
            ("a..b", "label is empty"),
            (".", "label is empty"),
            ("a.b..", "label is empty"),
            (&label, "longer than 63"),
            (&long, "longer than 253"),
            ("a_b.example.com", "'_' is not"),
            ("a b.example.com", "' ' is not"),
            ("-a.example.com", "hyphen"),
            ("a-.example.com", "hyphen"),
            ("10.0.0", "is a number"),
            ("_xsi._tcp.example.com", "belong to SRV"),
        ] {
            let refusal = HostName::text(text).unwrap_err();
            assert!(refusal.message.contains(why), "{text}: {refusal}");
        }
    }

    #[test]
    fn r_dns_2_srv_names_carry_their_domain() {
        let service = ServiceName::text("_XSI-client._TCP.Example.com.").unwrap();
        assert_eq!(service.name, "_xsi-client._tcp.example.com");
        assert_eq!(service.domain, "example.com");
        for (text, why) in [
            ("", "does not start"),
            ("xsp.example.com", "does not start"),
            ("_cti", "fewer than three"),
            ("_cti._tcp", "fewer than three"),
            ("_cti._udp.example.com", "not _tcp"),
            ("_cti.tcp.example.com", "not _tcp"),
            ("_._tcp.example.com", "the service"),
            ("_a_b._tcp.example.com", "the service"),
            ("_cti._tcp.exa mple.com", "not a letter"),
        ] {
            let refusal = ServiceName::text(text).unwrap_err();
            assert!(refusal.message.contains(why), "{text}: {refusal}");
        }
    }

    #[test]
    fn r_aff_1_the_cookie_is_not_the_xsps_own() {
        assert!(CookieName::text("XSPGATE").is_ok());
        assert!(CookieName::text("__Host-XSPGATE").is_ok());
        for text in ["", "a b", "a=b", "a;b", "jsessionid", "ä"] {
            assert!(CookieName::text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn log_filters_are_levels_by_target() {
        for text in ["info", "off", "info,xspgate::discover=debug", "warn, xspgate=trace"] {
            assert!(LogFilter::text(text).is_ok(), "{text}");
        }
        assert_eq!(LogFilter::text("warn, xspgate=trace ").unwrap().0, "warn,xspgate=trace");
        for text in ["", "loud", "info,", "=info", "xspgate=", "xsp gate=info", "INFO"] {
            assert!(LogFilter::text(text).is_err(), "{text}");
        }
        assert_eq!(LogFilter::text("inof").unwrap_err().help.unwrap(), "did you mean \"info\"?");
    }
}
