//! What a request asks for: the forms of a request target (RFC 9112 section 3.2) and the syntax of Host. Separate from the
//! request head, because misrouting by a second reading of either is a class of attack of its own.

use std::net::Ipv6Addr;
use std::ops::Range;

/// A request target by its form. The ranges are within the target.
pub(super) enum Form {
    /// `/path?query`, or `*` for OPTIONS.
    Origin,
    /// `https://authority/path?query`, with the port that its scheme stands for.
    Absolute { port: &'static [u8], authority: Range<usize>, origin: Range<usize> },
}

/// Tells the form of a target whose bytes were found to be legal; `None` if it has none that is served. An absolute
/// form needs its path spelt out, since nothing is added to what came in.
pub(super) fn form(method: &[u8], target: &[u8]) -> Option<Form> {
    match target.first()? {
        b'/' => Some(Form::Origin),
        b'*' if target.len() == 1 && method == b"OPTIONS" => Some(Form::Origin),
        _ => {
            let (scheme, port) = scheme(target)?;
            let start = scheme.len();
            let slash = start + memchr::memchr2(b'/', b'?', &target[start..])?;
            if target[slash] == b'?' {
                return None;
            }
            Some(Form::Absolute { port, authority: start..slash, origin: slash..target.len() })
        }
    }
}

fn scheme(target: &[u8]) -> Option<(&'static [u8], &'static [u8])> {
    let known: [(&[u8], &[u8]); 2] = [(b"https://", b"443"), (b"http://", b"80")];
    let begins = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    known.into_iter().find(|(scheme, _)| begins(scheme))
}

/// Whether both name the same host and port, where a port that is left out, or empty, is `port`.
pub(super) fn agree(one: &[u8], other: &[u8], port: &[u8]) -> bool {
    let place = |authority| {
        let length = host_length(authority)?;
        let digits =
            authority[length..].iter().position(|&byte| byte == b':').map(|colon| &authority[length + colon + 1..]);
        Some((&authority[..length], digits.filter(|digits| !digits.is_empty()).unwrap_or(port)))
    };
    match (place(one), place(other)) {
        (Some((one, its)), Some((other, others))) => one.eq_ignore_ascii_case(other) && its == others,
        (None, _) | (_, None) => false,
    }
}

/// How many bytes of a Host value are the name, without a dot at its end, or the address; `None` if it is not well-formed.
/// Stricter than RFC 3986: a name of letters, digits, `-`, `_` and `.`, an IPv4 address, or an IPv6 address in brackets, then
/// nothing or a colon and either nothing or a port of 0 to 65535.
pub(super) fn host_length(authority: &[u8]) -> Option<usize> {
    let length = if authority.first() == Some(&b'[') {
        let close = memchr::memchr(b']', authority)?;
        str::from_utf8(&authority[1..close]).ok()?.parse::<Ipv6Addr>().ok()?;
        close + 1
    } else {
        authority.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(authority.len())
    };
    let port_fits = match authority[length..].split_first() {
        None => true,
        Some((b':', port)) => is_port(port),
        Some(_) => false,
    };
    let dot = usize::from(authority[..length].last() == Some(&b'.'));
    (length > dot && port_fits).then_some(length - dot)
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_port(digits: &[u8]) -> bool {
    digits.len() <= 5
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65535
}
