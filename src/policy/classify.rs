//! The verdict on one attempt, and whether a request may be sent again. Separate from the plan, because the verdict depends
//! on the route's policy and not on the farm.

use http::{Method, StatusCode};

/// `on_5xx`: what a 5xx answer means (R-FAIL-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On5xx {
    /// `"confirm"`: advance, and look a second time before the endpoint is blocked for everyone.
    Confirm,
    /// `"block"`: advance and block, the documented rule to the letter.
    Block,
    /// `"answer"`: a 5xx is an answer like any other.
    Answer,
}

/// `on_silence`: what it means that no answer comes in time, or none that can be read (R-FAIL-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSilence {
    /// `"confirm"`: advance, and look before the endpoint is blocked for everyone.
    Confirm,
    /// `"block"`: advance and block, the documented rule to the letter.
    Block,
}

/// How one attempt ended, as far as the verdict needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The head of a final response came, with this status.
    Answered(StatusCode),
    /// TCP, TLS or HTTP/1.1 broke before that (R-FAIL-1); what is no HTTP at all belongs here too.
    Broken,
    /// No head came in time (R-FAIL-3).
    Silent,
}

/// The verdict on one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The answer stands: it goes to the client, and the endpoint leaves the blocklist (R-FAIL-8).
    Success,
    /// The endpoint is blocked, and the request advances (R-FAIL-1, R-FAIL-3).
    Failure,
    /// The request advances, and the endpoint gets a second look before it is blocked for everyone (R-FAIL-2).
    Suspect,
}

impl Class {
    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Suspect => "suspect",
        }
    }
}

/// The verdict on an attempt that ended as `outcome`, on a route that reads a 5xx as `on_5xx`.
pub fn classify(outcome: Outcome, on_5xx: On5xx) -> Class {
    match outcome {
        Outcome::Broken | Outcome::Silent => Class::Failure,
        // Statuses from 600 on are nobody's; what can't be understood is treated as 5xx (RFC 9110 section 15).
        Outcome::Answered(status) if status.as_u16() >= 500 => match on_5xx {
            On5xx::Confirm => Class::Suspect,
            On5xx::Block => Class::Failure,
            On5xx::Answer => Class::Success,
        },
        Outcome::Answered(_) => Class::Success,
    }
}

/// `replay`: which methods may be sent again once they may have been delivered. Methods are case-sensitive (RFC 9110
/// section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// `"safe"`: GET, HEAD, OPTIONS.
    Safe,
    /// `"idempotent"`: the safe ones, PUT and DELETE.
    Idempotent,
    /// `"all"`: every method but TRACE, as documented.
    All,
    /// `"none"`.
    None,
}

impl Replay {
    /// Whether a request of this method may be sent again although an XSP may have carried it out already.
    pub fn allows(&self, method: &Method) -> bool {
        match self {
            Self::Safe => is_safe(method),
            Self::Idempotent => is_safe(method) || *method == Method::PUT || *method == Method::DELETE,
            Self::All => *method != Method::TRACE,
            Self::None => false,
        }
    }
}

/// TRACE is safe by the letter of RFC 9110, but nothing of BroadWorks needs it, so nothing is done for it.
fn is_safe(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [On5xx; 3] = [On5xx::Confirm, On5xx::Block, On5xx::Answer];

    fn answered(status: u16) -> Outcome {
        Outcome::Answered(StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn r_fail_1_and_r_fail_3_no_answer_is_a_failure_whatever_the_policy() {
        for on_5xx in POLICIES {
            assert_eq!(classify(Outcome::Broken, on_5xx), Class::Failure);
            assert_eq!(classify(Outcome::Silent, on_5xx), Class::Failure);
        }
    }

    #[test]
    fn r_fail_2_a_5xx_means_what_the_route_says() {
        for status in [500, 501, 502, 503, 504, 599, 600, 999] {
            assert_eq!(classify(answered(status), On5xx::Confirm), Class::Suspect, "{status}");
            assert_eq!(classify(answered(status), On5xx::Block), Class::Failure, "{status}");
            assert_eq!(classify(answered(status), On5xx::Answer), Class::Success, "{status}");
        }
    }

    #[test]
    fn r_app_8_any_answer_below_500_is_a_success() {
        for status in [200, 201, 204, 206, 301, 302, 304, 400, 401, 403, 404, 408, 429, 499] {
            for on_5xx in POLICIES {
                assert_eq!(classify(answered(status), on_5xx), Class::Success, "{status}");
            }
        }
    }

    #[test]
    fn r_fail_4_only_the_routes_methods_are_sent_again() {
        let table = [
            // method, safe, idempotent, all
            ("GET", true, true, true),
            ("HEAD", true, true, true),
            ("OPTIONS", true, true, true),
            ("PUT", false, true, true),
            ("DELETE", false, true, true),
            ("POST", false, false, true),
            ("PATCH", false, false, true),
            ("PROPFIND", false, false, true),
            ("get", false, false, true),
            ("TRACE", false, false, false),
        ];
        for (method, safe, idempotent, all) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Replay::Safe.allows(&method), safe, "{method}");
            assert_eq!(Replay::Idempotent.allows(&method), idempotent, "{method}");
            assert_eq!(Replay::All.allows(&method), all, "{method}");
            assert!(!Replay::None.allows(&method), "{method}");
        }
    }
}
