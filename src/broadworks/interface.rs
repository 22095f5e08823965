//! (skeleton)

/// One BroadWorks application that the gateway serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// Xsi-Actions.
    XsiActions,
    /// Xsi-Events.
    XsiEvents,
    /// Authentication Service.
    AuthService,
    /// Device management.
    Dms,
    /// Call Settings Webview.
    CallSettings,
}
