//! TCP and TLS below the certificate: whether somebody is there, what was agreed on, and who turned whom away.

use super::Side;
use crate::doctor::finding::Finding;
use crate::upstream::connect::ConnectError;

/// What a client without a certificate came to where one is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Unproven {
    /// It was rejected, by that alert or by the connection's end.
    TurnedAway(&'static str),
    /// It was let in, or at least nobody minded.
    LetIn,
    /// The connection broke for another reason.
    Unknown(&'static str),
}

/// Why there is no TCP connection; `None`: there was one.
pub(in crate::doctor) fn tcp(error: &ConnectError, side: Side) -> Option<Finding> {
    const CHECK: &str = "tcp";
    let help = match side {
        Side::Xsp => "does the XSP run, is that its port, and does a firewall let the gateway through?",
        Side::Front | Side::Through => "does the gateway run there, and does a firewall let Webex through?",
    };
    match error {
        ConnectError::Handshake(_) | ConnectError::HandshakeTimeout(_) => None,
        ConnectError::ConnectTimeout(patience) => {
            Some(Finding::fail(CHECK, format!("no answer within {} ms", patience.as_millis()), help))
        }
        ConnectError::Local(cause) => {
            Some(Finding::fail(CHECK, format!("no socket to connect from: {cause}"), "this machine is at its limits"))
        }
        ConnectError::Connect(_) => Some(Finding::fail(CHECK, error.fault().name(), help)),
    }
}

/// Why a handshake failed that did not fail for the other's certificate; `reason` as [`ConnectError::reason`] has it.
pub(in crate::doctor) fn handshake(reason: &str, side: Side) -> Finding {
    const CHECK: &str = "tls";
    let (found, help) = match reason {
        "handshake-timeout" => {
            ("no answer to a ClientHello", "it accepts connections and does not serve them: restart it")
        }
        "handshake-closed" => match side {
            Side::Xsp => {
                ("it closed the connection in the handshake", "see the XSP's log; does it speak TLS at this port?")
            }
            Side::Front | Side::Through => {
                ("it closed the connection in the handshake", "is the name served there, and this address allowed?")
            }
        },
        "not-tls" => ("what answers speaks no TLS", "is that the right port? Nothing may be in the clear (R-TOP-2)"),
        "tls-alert-protocol-version" => ("it speaks no TLS version that is spoken here", POLICY),
        "tls-alert-handshake-failure" => {
            ("it breaks the handshake off: no suite or group is common, or it wants another certificate", POLICY)
        }
        "tls-alert-unknown-ca" => ("it does not trust the CA that signed the gateway's certificate", MUTUAL),
        "tls-alert-certificate-required" => ("it demands a client certificate", MUTUAL),
        other if other.starts_with("tls-alert-") => {
            return Finding::fail(
                CHECK,
                format!("it refuses the handshake ({})", &other["tls-alert-".len()..]),
                MUTUAL,
            );
        }
        other => return Finding::fail(CHECK, format!("the handshake failed ({other})"), "see the other side's log"),
    };
    Finding::fail(CHECK, found, help)
}

const POLICY: &str = "Webex wants TLS 1.2 or later with ECDHE and AES-GCM (R-TLS-1, R-TLS-3); towards XSPs \
                      [farm.NAME.tls] says what is spoken, and `certificate` of the farm what is shown";
const MUTUAL: &str = "`certificate` of the farm names what the gateway shows; its CA must be in the XSP's trust store";

/// What a client without a certificate gets where one is demanded (R-CTI-6, R-AUTH-2).
pub(in crate::doctor) fn unproven(outcome: Unproven, side: Side) -> Finding {
    const CHECK: &str = "no-certificate";
    match outcome {
        Unproven::TurnedAway(how) => Finding::ok(CHECK, format!("a client without one is rejected ({how})")),
        Unproven::LetIn => Finding::fail(
            CHECK,
            "a client without a certificate is let in",
            match side {
                Side::Xsp => "make client authentication mandatory on the XSP's CTI interface (R-CTI-6)",
                Side::Front | Side::Through => {
                    "something before the gateway ends TLS: clients must reach the gateway itself"
                }
            },
        ),
        Unproven::Unknown(why) => Finding::skip(CHECK, format!("could not be tried: {why}")),
    }
}

/// What the gateway's certificate came to at an XSP that demands one (R-CTI-3): `None` is silence or data, else the word of
/// [`handshake_reason`](crate::upstream::connect::handshake_reason).
pub(in crate::doctor) fn proven(refusal: Option<&str>) -> Finding {
    const CHECK: &str = "mutual-tls";
    match refusal {
        None => Finding::ok(CHECK, "the gateway's certificate is taken"),
        Some(reason) => Finding::fail(CHECK, format!("the gateway's certificate is refused ({reason})"), MUTUAL),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::Standing;

    #[test]
    fn nobody_there_is_told_from_nobody_answering() {
        let refused = ConnectError::Connect(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(tcp(&refused, Side::Xsp).unwrap().found, "refused");
        let late = ConnectError::ConnectTimeout(Duration::from_secs(5));
        assert_eq!(tcp(&late, Side::Front).unwrap().found, "no answer within 5000 ms");
        assert_eq!(tcp(&ConnectError::HandshakeTimeout(Duration::ZERO), Side::Xsp), None);
    }

    #[test]
    fn r_tls_1_each_way_of_failing_has_its_words() {
        for (reason, found) in [
            ("handshake-timeout", "no answer to a ClientHello"),
            ("not-tls", "speaks no TLS"),
            ("tls-alert-protocol-version", "speaks no TLS version"),
            ("tls-alert-unknown-ca", "does not trust the CA"),
            ("tls-alert-access-denied", "(access-denied)"),
            ("tls", "failed (tls)"),
        ] {
            let finding = handshake(reason, Side::Xsp);
            assert_eq!(finding.standing, Standing::Fail);
            assert!(finding.found.contains(found), "{finding:?}");
        }
    }

    #[test]
    fn r_cti_6_without_a_certificate_nobody_gets_in() {
        assert_eq!(unproven(Unproven::TurnedAway("alert"), Side::Xsp).standing, Standing::Ok);
        assert_eq!(unproven(Unproven::LetIn, Side::Front).standing, Standing::Fail);
        assert_eq!(unproven(Unproven::Unknown("refused"), Side::Xsp).standing, Standing::Skip);
        assert_eq!(proven(None).standing, Standing::Ok);
        assert!(proven(Some("tls-alert-unknown-ca")).found.contains("unknown-ca"));
    }
}
