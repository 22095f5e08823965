//! Answers to harmless requests: is the interface there, and does it send Webex elsewhere (R-TOP-6)?

use super::Side;
use crate::broadworks::interface::Interface;
use crate::doctor::finding::Finding;

/// An answer as far as it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Seen<'a> {
    pub(in crate::doctor) interface: Interface,
    pub(in crate::doctor) path: &'a str,
    pub(in crate::doctor) status: u16,
    pub(in crate::doctor) location: Option<&'a str>,
    /// From the request to the answer's head.
    pub(in crate::doctor) ms: u128,
}

/// Whether an interface has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Expected {
    /// The configuration or the URL says so.
    Yes,
    /// Other hosts may have it.
    Perhaps,
}

/// What to think of an interface by its answer.
pub(in crate::doctor) fn interface(seen: &Seen<'_>, side: Side, expected: Expected) -> Finding {
    let Seen { interface, path, status, location, ms } = seen;
    let check = interface.name();
    let found = format!("{status} from {path} after {ms} ms");
    match status {
        300..=399 => redirect(seen, location.unwrap_or("nowhere"), side),
        500.. => Finding::fail(
            check,
            found,
            match side {
                Side::Xsp => "the application does not work on this XSP: see its log",
                Side::Front | Side::Through => {
                    "no XSP gives a good answer: `xspgate doctor FILE` on the gateway looks at each of them"
                }
            },
        ),
        404 if expected == Expected::Perhaps => Finding::skip(check, format!("{found}: it is not served there")),
        // What their first page is, is the operator's business.
        404 if matches!(interface, Interface::Dms | Interface::CallSettings) => Finding::warn(
            check,
            found,
            "nothing is at the interface's own path; that may be right, or `paths` is wrong",
        ),
        404 => Finding::fail(
            check,
            found,
            match side {
                Side::Xsp => "the application is not deployed on this XSP, or under another name: see `paths`",
                Side::Front | Side::Through => {
                    "the path is not let through: is the interface in `interfaces`, and its name in `paths`?"
                }
            },
        ),
        421 => Finding::fail(check, found, "the host is not one of those that the gateway serves: see `hosts`"),
        200..=299 | 401 => Finding::ok(check, found),
        // Without credentials there is nothing else to be had from the others.
        _ if !matches!(interface, Interface::XsiActions | Interface::XsiEvents) => Finding::ok(check, found),
        403 => Finding::warn(check, found, "is this machine's address in `allow`? Webex must not get this answer"),
        _ => Finding::warn(check, found, "200 would be right"),
    }
}

fn redirect(seen: &Seen<'_>, location: &str, side: Side) -> Finding {
    let Seen { interface, path, status, .. } = seen;
    let check = interface.name();
    let found = format!("{status} from {path}, which leads to {location}");
    if *interface == Interface::CallSettings {
        return Finding::ok(check, format!("{found}: a browser follows"));
    }
    Finding::fail(
        check,
        found,
        match side {
            Side::Xsp => {
                "Webex follows no redirect (R-TOP-6), and the gateway only such as lead to another XSP of the farm: let \
             the XSP answer itself"
            }
            Side::Front | Side::Through => "Webex follows no redirect (R-TOP-6): let the XSPs answer themselves",
        },
    )
}

/// What to think of an interface that demands a client certificate (R-AUTH-2), by the answer to a client without one.
pub(in crate::doctor) fn guarded(interface: Interface, path: &str, status: u16) -> Finding {
    let check = interface.name();
    match status {
        403 => Finding::ok(check, format!("403 from {path} for a client without a certificate")),
        status => Finding::fail(
            check,
            format!("{status} from {path} for a client without a certificate"),
            "a certificate is demanded here, and 403 would be right: is it this gateway that answers?",
        ),
    }
}

/// What to think of the answer to a path that is nobody's.
pub(in crate::doctor) fn stray(path: &str, status: u16) -> Finding {
    const CHECK: &str = "other-paths";
    let found = format!("{status} from {path}");
    match status {
        400..=499 => Finding::ok(CHECK, found),
        _ => Finding::warn(CHECK, found, "more of an XSP can be reached than Webex needs: let nothing else through"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Standing;

    fn seen(interface: Interface, status: u16) -> Seen<'static> {
        Seen { interface, path: "/x", status, location: Some("https://elsewhere/"), ms: 3 }
    }

    #[test]
    fn an_interface_is_there_if_it_answers() {
        use Interface::{AuthService, CallSettings, Dms, XsiActions};
        for (interface, status, expected, standing) in [
            (XsiActions, 200, Expected::Yes, Standing::Ok),
            (XsiActions, 401, Expected::Yes, Standing::Ok),
            (AuthService, 403, Expected::Yes, Standing::Ok),
            (XsiActions, 403, Expected::Yes, Standing::Warn),
            (XsiActions, 405, Expected::Yes, Standing::Warn),
            (XsiActions, 404, Expected::Yes, Standing::Fail),
            (XsiActions, 404, Expected::Perhaps, Standing::Skip),
            (Dms, 404, Expected::Yes, Standing::Warn),
            (XsiActions, 421, Expected::Yes, Standing::Fail),
            (XsiActions, 500, Expected::Perhaps, Standing::Fail),
            (XsiActions, 999, Expected::Yes, Standing::Fail),
            (CallSettings, 302, Expected::Yes, Standing::Ok),
        ] {
            let finding = super::interface(&seen(interface, status), Side::Xsp, expected);
            assert_eq!((finding.check, finding.standing), (interface.name(), standing), "{status}");
        }
    }

    #[test]
    fn r_top_6_a_redirect_is_reported() {
        for side in [Side::Xsp, Side::Front] {
            let finding = interface(&seen(Interface::XsiEvents, 302), side, Expected::Yes);
            assert_eq!(finding.standing, Standing::Fail);
            assert_eq!(finding.found, "302 from /x, which leads to https://elsewhere/");
        }
    }

    #[test]
    fn r_auth_2_without_a_certificate_it_is_403() {
        assert_eq!(guarded(Interface::AuthService, "/x", 403).standing, Standing::Ok);
        assert_eq!(guarded(Interface::AuthService, "/x", 200).standing, Standing::Fail);
    }

    #[test]
    fn other_paths_are_closed() {
        assert_eq!(stray("/webservice/", 404).standing, Standing::Ok);
        assert_eq!(stray("/webservice/", 200).standing, Standing::Warn);
    }
}
