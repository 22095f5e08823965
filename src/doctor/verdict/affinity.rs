//! Session affinity by a cookie (R-AFF-1): is one set, and does it hold?

use crate::doctor::finding::Finding;

const CHECK: &str = "affinity";

/// A cookie that an answer sets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cookie<'a> {
    name: &'a str,
    value: &'a str,
    /// Whether it is for all paths, as a session's must be that spans several applications.
    everywhere: bool,
}

impl<'a> Cookie<'a> {
    fn read(field: &'a str) -> Option<Self> {
        let mut parts = field.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let everywhere = parts.any(|part| part.eq_ignore_ascii_case("path=/"));
        Some(Self { name, value, everywhere })
    }
}

/// The Cookie field that brings a session back: all that the answer has set.
pub(in crate::doctor) fn returned(set: &[String]) -> Option<String> {
    let pairs: Vec<&str> = set.iter().filter_map(|field| field.split(';').next()).map(str::trim).collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

/// What to think of the Set-Cookie fields of a first answer, and of answers to requests that brought them back. `known`: the
/// name of the gateway's cookie, if it is.
pub(in crate::doctor) fn affinity(first: &[String], later: &[Vec<String>], known: Option<&str>) -> Finding {
    let of_session = |cookie: &Cookie<'_>| match known {
        Some(name) => cookie.name == name,
        None => cookie.everywhere,
    };
    let session: Vec<Cookie<'_>> = first.iter().filter_map(|field| Cookie::read(field)).filter(of_session).collect();
    let Some(cookie) = session.first() else {
        return match known {
            Some(name) => Finding::fail(
                CHECK,
                format!("the first answer of a session sets no {name}"),
                "is it this gateway that answers? Without the cookie each request may reach another XSP",
            ),
            None => Finding::warn(
                CHECK,
                "the first answer of a session sets no cookie with Path=/",
                "unless something else keeps a session at one XSP, heartbeats tear event channels down (R-AFF-2)",
            ),
        };
    };
    let moved = |field: &String| {
        Cookie::read(field).is_some_and(|new| session.iter().any(|old| old.name == new.name && old.value != new.value))
    };
    if later.iter().flatten().any(moved) {
        return Finding::fail(
            CHECK,
            format!("the cookie {} is set again in the same session", cookie.name),
            "the session has moved to another XSP: do all gateways have the same `key_file`, and do the XSPs answer?",
        );
    }
    Finding::ok(CHECK, format!("{} requests with the cookie {} stay at one XSP", later.len(), cookie.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Standing;

    #[test]
    fn r_aff_1_a_session_stays_if_its_cookie_is_not_set_anew() {
        let fields = |fields: &[&str]| fields.iter().map(ToString::to_string).collect::<Vec<_>>();
        let own = fields(&["JSESSIONID=1; Path=/com.broadsoft.xsi-actions", "X=a; Path=/; Secure"]);
        let only = fields(&["JSESSIONID=1; Path=/com.broadsoft.xsi-actions; Secure"]);
        let moved = fields(&["X=b; path=/"]);
        for (first, later, known, expected) in [
            (&own, vec![vec![], vec![]], Some("X"), Standing::Ok),
            (&own, vec![vec![], vec![]], None, Standing::Ok),
            (&own, vec![own.clone()], None, Standing::Ok),
            (&own, vec![vec![], moved.clone()], Some("X"), Standing::Fail),
            (&own, vec![moved], None, Standing::Fail),
            (&only, vec![], Some("X"), Standing::Fail),
            (&only, vec![], None, Standing::Warn),
        ] {
            assert_eq!(affinity(first, &later, known).standing, expected, "{first:?} {later:?} {known:?}");
        }
        assert_eq!(returned(&own).as_deref(), Some("JSESSIONID=1; X=a"));
        assert_eq!(returned(&[]), None);
    }
}
