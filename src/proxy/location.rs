//! Where a redirection of an XSP leads. Separate from the failover loop, because it is about reading a URL and nothing else.

use http::StatusCode;

/// Whether an answer with that status leads elsewhere.
pub(super) const fn is_redirection(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Host, port and target of an absolute https URL.
pub(super) fn parse(location: &[u8]) -> Option<(&str, u16, &[u8])> {
    let text = std::str::from_utf8(location).ok()?;
    let rest = text.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")).and(text.get(8..))?;
    let (authority, target) = rest.split_at(rest.find('/')?);
    if target.contains('#') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        Some(_) | None => (authority, 443),
    };
    Some((name, port, target.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_https_urls_are_taken_apart() {
        for (location, expected) in [
            ("https://a.example.com/x?y=1", Some(("a.example.com", 443, "/x?y=1"))),
            ("HTTPS://192.0.2.1:8443/", Some(("192.0.2.1", 8443, "/"))),
            ("https://[2001:db8::1]/x", Some(("[2001:db8::1]", 443, "/x"))),
            ("https://[2001:db8::1]:8443/x", Some(("[2001:db8::1]", 8443, "/x"))),
            ("http://a.example.com/x", None),
            ("/x", None),
            ("https://a.example.com", None),
            ("https://a.example.com:x/", None),
            ("https://a.example.com:65536/", None),
            ("https://a.example.com/x#y", None),
            ("https://a.example.com/x y", None),
            ("https://a.example.com/\u{e9}", None),
            ("", None),
        ] {
            let expected = expected.map(|(name, port, target)| (name, port, target.as_bytes()));
            assert_eq!(parse(location.as_bytes()), expected, "{location}");
        }
        assert_eq!(parse(b"https://a.example.com/\xff"), None);
    }
}
