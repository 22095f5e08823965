//! The BroadWorks applications that the gateway serves: their names, their default paths, what a probe asks for. One
//! table, so that someone who knows BroadWorks can check it against an XSP without reading anything else.

/// One BroadWorks application that the gateway serves (R-TOP-5).
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

impl Interface {
    /// Every interface, in the order of [`Interface::index`].
    pub const ALL: [Self; 5] = [Self::XsiActions, Self::XsiEvents, Self::AuthService, Self::Dms, Self::CallSettings];

    /// The name in configuration, metrics and logs: lower case, words joined by `-`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XsiActions => "xsi-actions",
            Self::XsiEvents => "xsi-events",
            Self::AuthService => "auth-service",
            Self::Dms => "dms",
            Self::CallSettings => "call-settings",
        }
    }

    /// The interface that [`Interface::name`] calls `name`, spelled exactly so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }

    /// A place in a table of `ALL.len()` entries, the same in every run.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The path prefixes under which an XSP serves it unless its operator renamed them; the first one is probed.
    /// The Authentication Service is deployed under exactly this name, without a slash at the end.
    pub const fn default_paths(self) -> &'static [&'static str] {
        match self {
            Self::XsiActions => &["/com.broadsoft.xsi-actions/"],
            Self::XsiEvents => &["/com.broadsoft.xsi-events/", "/com.broadsoft.async/"],
            Self::AuthService => &["/authService"],
            Self::Dms => &["/dms/"],
            Self::CallSettings => &["/callsettings/"],
        }
    }

    /// What a probe asks for below the first path, without a slash at its start: something harmless that needs no
    /// credentials to be answered below 500. Empty: the path itself.
    pub const fn probe_suffix(self) -> &'static str {
        match self {
            Self::XsiActions | Self::XsiEvents => "v2.0/versions",
            Self::AuthService => "token",
            Self::Dms | Self::CallSettings => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::route::PathPrefix;

    #[test]
    fn r_top_5_every_interface_has_a_name_of_its_own_that_leads_back_to_it() {
        for (index, interface) in Interface::ALL.into_iter().enumerate() {
            assert_eq!(interface.index(), index);
            assert_eq!(Interface::from_name(interface.name()), Some(interface));
        }
        for name in ["", "Xsi-Actions", "xsi_actions", "cti", "xsi-actions "] {
            assert_eq!(Interface::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn r_top_5_default_paths_are_prefixes_that_no_two_interfaces_share() {
        let mut seen: Vec<PathPrefix> = Vec::new();
        for path in Interface::ALL.into_iter().flat_map(Interface::default_paths) {
            let prefix: PathPrefix = path.parse().unwrap();
            assert!(seen.iter().all(|other| !other.equivalent(&prefix)), "{path}");
            seen.push(prefix);
        }
    }

    #[test]
    fn probes_stay_below_the_interface() {
        let probe = |interface: Interface| {
            let prefix: PathPrefix = interface.default_paths()[0].parse().unwrap();
            prefix.join(interface.probe_suffix())
        };
        assert_eq!(probe(Interface::XsiActions), "/com.broadsoft.xsi-actions/v2.0/versions");
        assert_eq!(probe(Interface::XsiEvents), "/com.broadsoft.xsi-events/v2.0/versions");
        assert_eq!(probe(Interface::AuthService), "/authService/token");
        assert_eq!(probe(Interface::Dms), "/dms/");
        assert_eq!(probe(Interface::CallSettings), "/callsettings/");
    }
}
