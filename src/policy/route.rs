//! Which interface a path belongs to. Separate because it is the gateway's gate: a path that an XSP might read in
//! another way than the gateway does is refused here, so that what is matched is what is forwarded, byte for byte.

#[cfg(test)]
mod readers;
mod reading;

use std::fmt;
use std::str::FromStr;

use http::{Method, StatusCode};

use crate::broadworks::interface::Interface;
use crate::broadworks::xsi::Intent;
pub use reading::without_parameters;
use reading::{Shape, readings, reads_as, shape};

/// A path prefix that names an interface, such as `/com.broadsoft.xsi-actions/`: one or more plain segments, without
/// escapes. Matches whole segments without regard to ASCII case; a slash at its end changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);

/// Why a text is no [`PathPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    /// It doesn't start with `/`.
    #[error("a path starts with '/'")]
    NoSlash,
    /// It is `/` alone, which would let everything through.
    #[error("a path names at least one segment, such as \"/dms/\"")]
    NoSegment,
    /// It holds `//`.
    #[error("a path has no empty segment ('//')")]
    EmptySegment,
    /// It holds a `.` or `..` segment.
    #[error("a path has no '.' or '..' segment")]
    DotSegment,
    /// It holds a character that would have to be escaped, or that could be read in two ways.
    #[error("{0:?} can't be part of a path prefix: letters, digits and any of -._~!$&'()*+,=:@ can")]
    Character(char),
}

impl PathPrefix {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path below this prefix: exactly one slash, then `rest`.
    pub fn join(&self, rest: &str) -> String {
        format!("{}/{rest}", self.0.trim_end_matches('/'))
    }

    /// Whether both match the same paths.
    pub fn equivalent(&self, other: &Self) -> bool {
        self.0.trim_end_matches('/').eq_ignore_ascii_case(other.0.trim_end_matches('/'))
    }

    fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.0.trim_matches('/').split('/').map(str::as_bytes)
    }

    /// No escape in `path` may stand for a slash, so that a decoded segment is still one segment.
    fn matches(&self, path: &[u8]) -> bool {
        let Some(below) = path.strip_prefix(b"/") else {
            return false;
        };
        let mut found = below.split(|&byte| byte == b'/');
        self.segments().all(|expected| found.next().is_some_and(|segment| reads_as(segment, expected)))
    }
}

impl FromStr for PathPrefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let below = text.strip_prefix('/').ok_or(BadPrefix::NoSlash)?;
        if below.is_empty() {
            return Err(BadPrefix::NoSegment);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@/".contains(c);
        if let Some(odd) = below.chars().find(|&c| !plain(c)) {
            return Err(BadPrefix::Character(odd));
        }
        for segment in below.strip_suffix('/').unwrap_or(below).split('/') {
            match segment {
                "" => return Err(BadPrefix::EmptySegment),
                "." | ".." => return Err(BadPrefix::DotSegment),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The paths that are let through, and the interface behind each; everything else is denied.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Most segments first.
    open: Vec<(PathPrefix, Interface)>,
    closed: Vec<PathPrefix>,
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// It could be read in two ways.
    #[error("the path could be read in more than one way")]
    Ambiguous,
    /// It belongs to no interface that is served.
    #[error("the path belongs to no interface")]
    Unknown,
}

impl Unroutable {
    /// What the client is told: 400 or 404.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Ambiguous => StatusCode::BAD_REQUEST,
            Self::Unknown => StatusCode::NOT_FOUND,
        }
    }
}

impl Paths {
    /// Of two equivalent prefixes the first one counts. The HTML test client below Xsi-Actions is closed, wherever
    /// Xsi-Actions lives (it should not be reachable from outside).
    pub fn new(entries: impl IntoIterator<Item = (Interface, PathPrefix)>) -> Self {
        let mut open: Vec<_> = entries.into_iter().map(|(interface, prefix)| (prefix, interface)).collect();
        open.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.segments().count()));
        let actions = open.iter().filter(|(_, interface)| *interface == Interface::XsiActions);
        let closed = actions
            .map(|(prefix, _)| prefix.join("test"))
            .chain(Interface::XsiActions.default_paths().iter().map(|path| format!("{path}test")))
            .map(PathPrefix)
            .collect();
        Self { open, closed }
    }

    /// The interface whose prefix matches `path`, the raw path of a request without its query; the longest prefix wins.
    ///
    /// Empty segments and segments with parameters pass, wherever every reader finds the same interface, and the same channel
    /// in it, with them and without: clients join their URLs from pieces, and Tomcat writes `;jsessionid=` into any segment.
    ///
    /// # Errors
    /// [`Unroutable::Ambiguous`] for whatever could be read in two ways, whether it matches or not; else
    /// [`Unroutable::Unknown`] if no prefix matches.
    pub fn find(&self, path: &[u8]) -> Result<Interface, Unroutable> {
        match shape(path) {
            Shape::Plain => self.look_up(path),
            Shape::Odd => {
                let found = self.look_up(path);
                let agrees = |reading: &[u8]| {
                    let is_same = |interface| means_the_same(interface, path, reading);
                    self.look_up(reading) == found && found.map_or(true, is_same)
                };
                if readings(path).iter().all(|reading| agrees(reading)) { found } else { Err(Unroutable::Ambiguous) }
            }
            Shape::Ambiguous => Err(Unroutable::Ambiguous),
        }
    }

    /// As [`Self::find`], of a path as one reader takes it.
    fn look_up(&self, path: &[u8]) -> Result<Interface, Unroutable> {
        if self.closed.iter().any(|prefix| prefix.matches(path)) {
            return Err(Unroutable::Unknown);
        }
        let found = self.open.iter().find(|(prefix, _)| prefix.matches(path));
        found.map(|(_, interface)| *interface).ok_or(Unroutable::Unknown)
    }
}

/// Whether requests for both paths mean the same: two methods tell all that may be meant.
fn means_the_same(interface: Interface, one: &[u8], other: &[u8]) -> bool {
    [Method::PUT, Method::POST]
        .iter()
        .all(|method| Intent::of(interface, method, one) == Intent::of(interface, method, other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn default_paths() -> Paths {
        Paths::new(
            Interface::ALL.into_iter().flat_map(|interface| {
                interface.default_paths().iter().map(move |path| (interface, path.parse().unwrap()))
            }),
        )
    }

    #[test]
    fn r_top_5_each_path_leads_to_its_interface() {
        let table: &[(&str, Interface)] = &[
            ("/com.broadsoft.xsi-actions/v2.0/user/a@example.com/profile", Interface::XsiActions),
            ("/com.broadsoft.xsi-actions/v2.0/user/a%40example.com/calls/callhalf-1:0", Interface::XsiActions),
            ("/com.broadsoft.xsi-actions/v2.0/user/a%20b/%23", Interface::XsiActions),
            ("/com.broadsoft.xsi-actions/", Interface::XsiActions),
            ("/com.broadsoft.xsi-actions", Interface::XsiActions),
            ("/COM.BroadSoft.XSI-Actions/v2.0/versions", Interface::XsiActions),
            ("/com.broadsoft.xsi%2Dactions/v2.0/versions", Interface::XsiActions),
            ("/com.broadsoft.xsi-actions/testing", Interface::XsiActions),
            ("/com.broadsoft.xsi-actions/v2.0/test", Interface::XsiActions),
            ("/com.broadsoft.xsi-events/v2.0/channel/1/heartbeat", Interface::XsiEvents),
            ("/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel", Interface::XsiEvents),
            ("/authService", Interface::AuthService),
            ("/authservice/token/a%40example.com", Interface::AuthService),
            ("/dms/bc/pc/config.xml", Interface::Dms),
            ("/dms/...", Interface::Dms),
            ("/dms/.well-known/a..b/c.", Interface::Dms),
            ("/dms/%C3%A9/%E9/100%25/%25zz/%252a/*", Interface::Dms),
            ("/callsettings/", Interface::CallSettings),
            ("/com.broadsoft.xsi-actions/v2.0//user/a@example.com/profile", Interface::XsiActions),
            ("/com.broadsoft.xsi-actions//v2.0///user//", Interface::XsiActions),
            (
                "/com.broadsoft.xsi-actions/v2.0;jsessionid=0A.worker1/user/a%40b.c;x=1;y/profile;",
                Interface::XsiActions,
            ),
            ("/com.broadsoft.xsi-actions/;/v2.0/;x/;y=test/user", Interface::XsiActions),
            (
                "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0//channel;x//1;jsessionid=2/heartbeat",
                Interface::XsiEvents,
            ),
            ("/com.broadsoft.async//com.broadsoft.xsi-events/v2.0/channel", Interface::XsiEvents),
            ("/dms//config.xml", Interface::Dms),
            ("/dms/config.xml//", Interface::Dms),
            ("/dms/a;b/...;c/..a;d", Interface::Dms),
        ];
        let paths = default_paths();
        for (path, interface) in table {
            assert_eq!(paths.find(path.as_bytes()), Ok(*interface), "{path}");
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        let table = [
            "/",
            "*",
            "dms/",
            "/authServiceX",
            "/authService2/token",
            "/dm",
            "/dmss/",
            "/webservice/services",
            "/x/dms/",
            "/com.broadsoft.xsi-actions/test",
            "/com.broadsoft.xsi-actions/test/",
            "/com.broadsoft.xsi-actions/TEST/index.html",
            "/com.broadsoft.xsi-actions/%74est/index.html",
            "/com.broadsoft.xsi%2dactions/tes%54",
        ];
        let paths = default_paths();
        for path in table {
            assert_eq!(paths.find(path.as_bytes()), Err(Unroutable::Unknown), "{path}");
        }
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        let table: &[&[u8]] = &[
            b"",
            b"//",
            b"//dms/",
            b"//dms//config.xml",
            b"/dms;/config.xml",
            b"/;x/dms/config.xml",
            b"/dms/..//webservice",
            b"/dms//../webservice",
            b"/dms/a;..",
            b"/dms/a;./b",
            b"/dms/a;x=1;../b",
            b"/dms/;../webservice",
            b"/dms/.;x=1/",
            b"/dms/..;x=1/webservice",
            b"/dms/%2e%2e;x/webservice",
            b"/dms/..%3bx/webservice",
            b"/com.broadsoft.xsi-actions//test",
            b"/com.broadsoft.xsi-actions/;x/test/index.html",
            b"/com.broadsoft.xsi-actions/test;x=y/index.html",
            b"/com.broadsoft.xsi-actions/;%74est=1/%74es%54;",
            b"/com.broadsoft.xsi-actions/t%2565st",
            b"/com.broadsoft.async;x/com.broadsoft.xsi-events/v2.0/channel",
            b"/com.broadsoft.xsi-events/v2.0/channel/%2541/heartbeat",
            b"/com.broadsoft.xsi-events/v2.0/chann%2565l",
            b"/.",
            b"/..",
            b"/dms/.",
            b"/dms/..",
            b"/dms/./",
            b"/dms/../webservice/",
            b"/dms/..;/webservice/",
            b"/dms;jsessionid=1/",
            b"/dms\\..\\webservice",
            b"/dms/a#b",
            b"/dms/a?b",
            b"/dms/%2e%2e/webservice",
            b"/dms/%2E/",
            b"/dms/a%2Eb",
            b"/dms%2fconfig.xml",
            b"/dms/%2Fconfig.xml",
            b"/dms/%5c..",
            b"/dms/%5C",
            b"/dms/%3bx",
            b"/dms/%3B",
            b"/dms/%00",
            b"/dms/%1f",
            b"/dms/%0d%0a",
            b"/dms/%7F",
            b"/dms/%",
            b"/dms/%4",
            b"/dms/%4g",
            b"/dms/%u002e",
            b"/dms/%252e",
            b"/dms/%252Fx",
            b"/dms/%255c",
            b"/dms/%253b",
            b"/dms/%2500",
            b"/dms/%2%35e",
            b"/dms/%25%32%65%25%32%65/",
            b"/dms/%252%65",
            b"/dms/%c0%ae%c0%ae/",
            b"/dms/%C1%9C",
            b"/dms/%e0%80%af",
            b"/dms/%f0%80%80%af",
            b"/dms/%25c0%25ae",
            b"/dms/a b",
            b"/dms/a\tb",
            b"/dms/\x7f",
            b"/dms/\xc3\xa9",
            b"/unknown/../dms/",
        ];
        let paths = default_paths();
        for path in table {
            let shown = String::from_utf8_lossy(path);
            assert_eq!(paths.find(path), Err(Unroutable::Ambiguous), "{shown}");
        }
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let entries: [(Interface, PathPrefix); 3] = [
            (Interface::Dms, "/a/".parse().unwrap()),
            (Interface::CallSettings, "/A/b".parse().unwrap()),
            (Interface::XsiActions, "/a/b/c/".parse().unwrap()),
        ];
        for paths in [Paths::new(entries.clone()), Paths::new(entries.into_iter().rev())] {
            assert_eq!(paths.find(b"/a/x"), Ok(Interface::Dms));
            assert_eq!(paths.find(b"/a/bc"), Ok(Interface::Dms));
            assert_eq!(paths.find(b"/a/b/x"), Ok(Interface::CallSettings));
            assert_eq!(paths.find(b"/a/%62/x"), Ok(Interface::CallSettings));
            assert_eq!(paths.find(b"/a/b/c"), Ok(Interface::XsiActions));
            assert_eq!(paths.find(b"/a/b/C/Test"), Err(Unroutable::Unknown));
        }
    }

    #[test]
    fn the_test_client_is_closed_even_if_its_path_is_configured() {
        let path = "/com.broadsoft.xsi-actions/test/";
        for interface in Interface::ALL {
            let paths = Paths::new([(interface, path.parse().unwrap())]);
            assert_eq!(paths.find(path.as_bytes()), Err(Unroutable::Unknown));
        }
    }

    #[test]
    fn prefixes_are_plain() {
        let table = [
            ("", BadPrefix::NoSlash),
            ("dms/", BadPrefix::NoSlash),
            ("/", BadPrefix::NoSegment),
            ("//", BadPrefix::EmptySegment),
            ("//dms", BadPrefix::EmptySegment),
            ("/dms//", BadPrefix::EmptySegment),
            ("/dms/../x", BadPrefix::DotSegment),
            ("/./", BadPrefix::DotSegment),
            ("/dms/%41", BadPrefix::Character('%')),
            ("/dms;x", BadPrefix::Character(';')),
            ("/dms?", BadPrefix::Character('?')),
            ("/a b", BadPrefix::Character(' ')),
            ("/é", BadPrefix::Character('é')),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<PathPrefix>(), Err(expected), "{text}");
        }
        let prefix: PathPrefix = "/com.broadsoft.async/x@y".parse().unwrap();
        assert_eq!(prefix.as_str(), "/com.broadsoft.async/x@y");
        assert_eq!(prefix.join("z"), "/com.broadsoft.async/x@y/z");
        assert!(prefix.equivalent(&"/com.BroadSoft.async/x@y/".parse().unwrap()));
        assert!(!prefix.equivalent(&"/com.broadsoft.async/x".parse().unwrap()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_bytes_are_judged_without_a_panic(path in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = default_paths().find(&path);
        }
    }
}
