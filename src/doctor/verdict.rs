//! What to think of what was found, and what to do about it. Pure, and separate from the trying: each verdict can be tested
//! without a network.

pub(super) mod affinity;
pub(super) mod answer;
pub(super) mod certificate;
pub(super) mod clock;
pub(super) mod names;
pub(super) mod ranges;
pub(super) mod reach;

/// Whose door was knocked at: the advice differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// An XSP's, behind the gateway.
    Xsp,
    /// The gateway's, which Webex sees.
    Front,
    /// The gateway's where it passes TLS through: the certificate is the XSPs'.
    Through,
}
