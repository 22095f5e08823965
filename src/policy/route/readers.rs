//! Others who read the paths that pass: the five readings of a path, and small models of nginx and of Tomcat. Separate from
//! the routes, so that they share nothing with what they judge but the table of interfaces.

use http::Method;
use proptest::prelude::*;

use super::*;

/// What a reader makes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    /// The interface whose context it is in, unless it is in none, or in the test client's.
    interface: Option<Interface>,
    /// What the request is about, as far as the gateway treats it differently: with PUT, and with POST.
    meaning: [Meaning; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    OpenChannel,
    Heartbeat(String),
    Channel(String),
    Acknowledge,
    Other,
}

impl Meaning {
    fn of(interface: Option<Interface>, method: &Method, segments: &[&str]) -> Self {
        if interface != Some(Interface::XsiEvents) {
            return Self::Other;
        }
        let is_version = |segment: &str| {
            let number = segment.strip_prefix('v').and_then(|number| number.split_once('.'));
            let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            number.is_some_and(|(major, minor)| digits(major) && digits(minor))
        };
        let lower: Vec<String> = segments.iter().map(|segment| segment.to_lowercase()).collect();
        let at = lower.windows(2).position(|pair| is_version(&pair[0]) && pair[1] == "channel");
        let Some(below) = at.map(|at| at + 2) else { return Self::Other };
        let rest: Vec<&str> = lower[below..].iter().map(String::as_str).collect();
        match (rest.as_slice(), method == Method::PUT) {
            ([], false) => Self::OpenChannel,
            (["eventresponse"], false) => Self::Acknowledge,
            ([] | ["eventresponse", ..], _) => Self::Other,
            ([_, "heartbeat"], true) => Self::Heartbeat(text(segments[below])),
            ([..], _) => Self::Channel(text(segments[below])),
        }
    }

    fn known(intent: &Intent) -> Self {
        let text = |id: &crate::broadworks::channel::ChannelId| str::from_utf8(id.as_bytes()).unwrap().to_owned();
        match intent {
            Intent::OpenChannel => Self::OpenChannel,
            Intent::Heartbeat(id) => Self::Heartbeat(text(id)),
            Intent::Channel(id) => Self::Channel(text(id)),
            Intent::Acknowledge => Self::Acknowledge,
            Intent::Other => Self::Other,
        }
    }
}

/// The text of a name whose characters are bytes: UTF-8, or ISO-8859-1 where it is none.
fn text(name: &str) -> String {
    String::from_utf8(name.chars().map(|c| c as u8).collect()).unwrap_or_else(|_| name.to_owned())
}

/// What is served below that path, by its beginning alone.
fn reading(path: &str) -> Reading {
    let contexts: [(&str, Option<Interface>); 7] = [
        ("/com.broadsoft.xsi-actions/test", None),
        ("/com.broadsoft.xsi-actions", Some(Interface::XsiActions)),
        ("/com.broadsoft.xsi-events", Some(Interface::XsiEvents)),
        ("/com.broadsoft.async", Some(Interface::XsiEvents)),
        ("/authservice", Some(Interface::AuthService)),
        ("/dms", Some(Interface::Dms)),
        ("/callsettings", Some(Interface::CallSettings)),
    ];
    let lower = path.to_ascii_lowercase();
    let is_below =
        |context: &str| lower.strip_prefix(context).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let interface = contexts.iter().find(|(context, _)| is_below(context)).and_then(|(_, interface)| *interface);
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    Reading { interface, meaning: [Method::PUT, Method::POST].map(|method| Meaning::of(interface, &method, &segments)) }
}

/// Each escape decoded once; bytes are characters here.
fn decoded(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let value = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value.filter(|_| c == '%') {
            Some(value) => {
                out.push(char::from(value));
                rest = &rest[3..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

fn plain(path: &str) -> String {
    let names = path.split('/').map(|segment| segment.split(';').next().unwrap());
    names.collect::<Vec<_>>().join("/")
}

/// Dot segments followed and runs of slashes as one; `None` where that leads above the root.
fn normalized(path: &str) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()?),
            name => kept.push(name),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", kept.join("/")))
}

/// nginx: escapes are decoded before slashes and dots are looked at, and parameters are part of a name. What it serves a path
/// by is what it forwards under a location, unless it forwards the bytes that came.
fn nginx(path: &str) -> Option<String> {
    let decoded = decoded(path);
    if decoded.contains('\0') { None } else { normalized(&decoded) }
}

/// Tomcat's connector: parameters are cut off the bytes that came, then escapes decoded, then dots followed; escaped slashes
/// and backslashes are refused.
fn tomcat(path: &str) -> Option<String> {
    let plain = plain(path);
    let lower = plain.to_ascii_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") || plain.contains('\\') {
        return None;
    }
    let decoded = decoded(&plain);
    if decoded.contains('\0') { None } else { normalized(&decoded) }
}

fn all_readings(path: &str) -> [String; 5] {
    let collapsed = |path: &str| {
        let mut path = path.to_owned();
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    };
    [path.to_owned(), decoded(path), collapsed(path), plain(path), collapsed(&plain(&decoded(path)))]
}

fn paths() -> Paths {
    Paths::new(
        Interface::ALL
            .into_iter()
            .flat_map(|interface| interface.default_paths().iter().map(move |path| (interface, path.parse().unwrap()))),
    )
}

fn tricky_path() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec![
        "/dms/",
        "/DMS",
        "/com.broadsoft.xsi-actions/",
        "/com.broadsoft.xsi-actions",
        "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel",
        "/com.broadsoft.async",
        "/com.broadsoft.xsi-events/v2.0//channel/",
        "/com.broadsoft.xsi-events/",
        "/",
    ]);
    let harmless = prop::sample::select(vec![
        "/",
        "//",
        ";",
        ";jsessionid=A1.w1",
        "a",
        "1",
        "v2.0",
        "%7620",
        "channel",
        "ch%61nnel",
        "heartbeat",
        "/heartbeat",
        "eventresponse",
        "%40",
        "%20",
        "%ea",
        "%c3%a9",
        "=",
        "/x",
        "/1",
    ]);
    let harmful = prop::sample::select(vec![
        ".",
        "..",
        "%",
        "%2",
        "%25",
        "2",
        "5",
        "e",
        "E",
        "f",
        "F",
        "%2e",
        "%2f",
        "%3b",
        "%32",
        "%65",
        "%35",
        "5c",
        "test",
        "%74est",
        "/test",
        "t%2565st",
        "\\",
        "/..",
        "dms",
        "/com.broadsoft.xsi-actions",
    ]);
    let tokens = prop::collection::vec(prop_oneof![4 => harmless, 1 => harmful], 0..8);
    (start, tokens).prop_map(|(start, tokens)| format!("{start}{}", tokens.concat()))
}

fn check(path: &str) -> Result<bool, TestCaseError> {
    let paths = paths();
    let Ok(interface) = paths.find(path.as_bytes()) else { return Ok(false) };
    let meant = [Method::PUT, Method::POST].map(|method| Intent::of(interface, &method, path.as_bytes()));
    let expected = Reading { interface: Some(interface), meaning: meant.each_ref().map(Meaning::known) };
    for other in all_readings(path) {
        // As the gateway would take it, if it came so.
        let bytes: Vec<u8> = other.chars().map(|c| c as u8).collect();
        prop_assert_eq!(paths.look_up(&bytes), Ok(interface), "{}", other);
        let taken = [Method::PUT, Method::POST].map(|method| Intent::of(interface, &method, &bytes));
        prop_assert_eq!(&taken, &meant, "{}", other);
    }
    // nginx has a way by prefix, and does not ask what is meant.
    prop_assert_eq!(nginx(path).map(|path| reading(&path).interface), Some(Some(interface)));
    prop_assert_eq!(tomcat(path).map(|path| reading(&path)), Some(expected));
    for reading in [path, &decoded(path), &decoded(&decoded(path))] {
        let mut pieces = reading.split(['/', ';']);
        prop_assert!(!pieces.any(|piece| matches!(piece, "." | "..")), "{}", reading);
        prop_assert!(!reading.contains('\\'), "{}", reading);
        prop_assert_eq!(reading.matches(['/', ';']).count(), path.matches(['/', ';']).count());
    }
    Ok(true)
}

#[test]
fn every_reader_of_a_path_that_passes_finds_the_same_interface_and_channel() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(8192)
    });
    let passed = std::cell::Cell::new(0);
    let outcome = runner.run(&tricky_path(), |path| {
        passed.set(passed.get() + u32::from(check(&path)?));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(passed.get() > 1000, "only {} passed", passed.get());
}
