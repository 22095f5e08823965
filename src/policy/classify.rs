//! The verdict on one attempt, and whether a request may be sent again. Apart from the plan, because the verdict depends
//! on the route's policy and not on the farm.

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

/// `replay`: which methods may be sent again once they may have been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// `"safe"`: GET, HEAD, OPTIONS.
    Safe,
    /// `"idempotent"`: the safe ones, PUT and DELETE.
    Idempotent,
    /// `"all"`: every method, as documented.
    All,
    /// `"none"`.
    None,
}
