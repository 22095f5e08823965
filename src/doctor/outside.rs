//! A deployment seen from outside, by the URLs that Webex is given. Separate from the configuration's own, because here nothing
//! is known but what the URL says.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;

use super::Options;
use super::channel::{Contexts, Login};
use super::crew::Job;
use super::door::Door;
use super::finding::{Finding, Subject};
use super::front::{Absence, Demands, Front, Https, Served, Speaks};
use super::names::{self, View, Xsi};
use super::verdict::Side;
use super::verdict::answer::Expected;
use crate::broadworks::interface::Interface;
use crate::discover::dns::DnsResolver;

/// What a URL may end in for an Xsi interface (R-STAT-2).
const VERSION: &str = "/v2.0";

/// A URL as Webex is given it: `https://host[:port][/path]`, or `cti://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    host: String,
    port: u16,
    /// As it was written; empty: none.
    path: String,
    name: ServerName<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Https,
    Cti,
}

/// Why a text is no [`Url`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It can't be read at all.
    #[error("it is no URL such as https://xsp.example.com/com.broadsoft.xsi-actions/v2.0/")]
    Malformed,
    /// It begins with something else.
    #[error("it begins with https://, or with cti:// for a CTI interface")]
    Scheme,
    /// It has a user, a query or a fragment.
    #[error("it has a host, perhaps a port, perhaps a path, and nothing else")]
    Excess,
    /// Its host is no name or address that a certificate can prove.
    #[error("its host is no name that a certificate can prove")]
    Host,
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let uri: Uri = text.parse().map_err(|_| BadUrl::Malformed)?;
        let (scheme, port) = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("https") => (Scheme::Https, 443),
            Some("cti") => (Scheme::Cti, 8012),
            Some(_) | None => return Err(BadUrl::Scheme),
        };
        let authority = uri.authority().ok_or(BadUrl::Malformed)?;
        let path = uri.path().trim_end_matches('/');
        if authority.as_str().contains('@') || text.contains(['?', '#']) || (scheme == Scheme::Cti && !path.is_empty())
        {
            return Err(BadUrl::Excess);
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let name = ServerName::try_from(host.clone()).map_err(|_| BadUrl::Host)?;
        let port = authority.port_u16().unwrap_or(port);
        // The codec takes what is printable, and so does a path.
        let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
        if port == 0 || !printable {
            return Err(BadUrl::Malformed);
        }
        Ok(Self { scheme, host, port, path: path.to_owned(), name })
    }
}

impl Url {
    /// The Host field.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }

    /// The interface whose path this is.
    fn interface(&self) -> Option<Interface> {
        let path = format!("{}/", self.path.to_ascii_lowercase());
        let is_at =
            |prefix: &&str| path.starts_with(&format!("{}/", prefix.trim_end_matches('/').to_ascii_lowercase()));
        Interface::ALL.into_iter().find(|interface| interface.default_paths().iter().any(is_at))
    }

    /// What there should be: what the path says, or all that Webex uses.
    fn served(&self) -> Vec<Served> {
        let at = |interface: Interface, path: String, expected| Served {
            interface,
            path,
            expected,
            demands: Demands::Nothing,
            allow: Vec::new(),
        };
        if !self.path.is_empty() {
            let interface = self.interface().unwrap_or(Interface::CallSettings);
            let suffix = interface.probe_suffix().trim_start_matches("v2.0/");
            let path = match self.path.to_ascii_lowercase().ends_with(VERSION) {
                true => format!("{}/{suffix}", self.path),
                false => format!("{}/{}", self.path, interface.probe_suffix()),
            };
            return vec![at(interface, path, Expected::Yes)];
        }
        let usual = |interface: Interface| {
            let path = interface.default_paths()[0].trim_end_matches('/');
            let expected = match interface {
                Interface::XsiActions | Interface::XsiEvents => Expected::Yes,
                Interface::AuthService | Interface::Dms | Interface::CallSettings => Expected::Perhaps,
            };
            at(interface, format!("{path}/{}", interface.probe_suffix()), expected)
        };
        Interface::ALL.into_iter().map(usual).collect()
    }

    /// Whether the app looks it up by SRV, too.
    fn xsi(&self) -> Xsi {
        let xsi = |interface| matches!(interface, Interface::XsiActions | Interface::XsiEvents);
        let all = self.scheme == Scheme::Https && self.path.is_empty();
        if all || self.interface().is_some_and(xsi) { Xsi::Yes } else { Xsi::No }
    }

    /// What is wrong with the URL itself (R-STAT-2).
    fn wording(&self) -> Option<Finding> {
        const CHECK: &str = "url";
        if self.path.is_empty() {
            return None;
        }
        match self.interface() {
            None => Some(Finding::warn(
                CHECK,
                format!("{} is not one of BroadWorks' own paths", self.path),
                "right if the operator renamed the interface; only this very path is tried then",
            )),
            Some(Interface::XsiActions | Interface::XsiEvents)
                if !self.path.to_ascii_lowercase().ends_with(VERSION) =>
            {
                Some(Finding::warn(CHECK, "it does not end in /v2.0/", "Webex wants it to (R-STAT-2)"))
            }
            Some(_) => None,
        }
    }
}

/// Looks up where a URL leads.
pub(super) fn look_up(url: &Url, connect: Option<SocketAddr>, resolver: &Arc<DnsResolver>) -> Job<Vec<SocketAddr>> {
    let (url, resolver) = (url.clone(), Arc::clone(resolver));
    Job::new(format!("{}{}", url.authority(), url.path), move |mut subject| async move {
        subject.extend(url.wording());
        let addresses = addresses(&url, connect, &resolver, &mut subject).await;
        (subject, addresses)
    })
}

async fn addresses(
    url: &Url,
    connect: Option<SocketAddr>,
    resolver: &DnsResolver,
    subject: &mut Subject,
) -> Vec<SocketAddr> {
    if let Some(address) = connect {
        subject.add(Finding::skip("dns", format!("--connect says {address}")));
        return vec![address];
    }
    if let Ok(address) = url.host.parse::<IpAddr>() {
        subject.add(Finding::skip("dns", "the URL has an address"));
        return vec![SocketAddr::new(address, url.port)];
    }
    let found = names::public(resolver, &url.host, View::Outside, url.xsi(), subject).await;
    found.into_iter().map(|address| SocketAddr::new(address, url.port)).collect()
}

/// What a URL leads to, as something to look at.
pub(super) fn job(url: &Url, address: SocketAddr, options: &Options) -> Job<()> {
    let front = front(url, address, options);
    Job::new(format!("{}{} at {address}", url.authority(), url.path), move |subject| front.look(subject))
}

fn front(url: &Url, address: SocketAddr, options: &Options) -> Front {
    let (alpn, speaks) = match url.scheme {
        Scheme::Cti => (&[][..], Speaks::Cti),
        Scheme::Https => (&[&b"http/1.1"[..]][..], Speaks::Https(https(url, options.login.clone()))),
    };
    let door = Door {
        address,
        name: url.name.clone(),
        tls: Arc::new(options.public.tls(alpn)),
        trust: options.public.name().to_owned(),
        side: Side::Front,
        patience: options.patience,
    };
    let (belief, host) = (options.public.verifier(), url.authority());
    Front { door, belief, host, speaks, absence: Absence::Wrong, allow: Vec::new() }
}

fn https(url: &Url, login: Option<Login>) -> Https {
    let interfaces = url.served();
    let events = interfaces.iter().any(|served| served.interface == Interface::XsiEvents);
    let contexts = Contexts { events: "/com.broadsoft.xsi-events".into(), streams: "/com.broadsoft.async".into() };
    Https {
        demands: Demands::Nothing,
        interfaces,
        cookie: None,
        events: login.filter(|_| events).map(|login| (contexts, login)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn urls_are_what_webex_is_given() {
        let plain = url("HTTPS://Xsp.Example.com");
        assert_eq!((plain.host.as_str(), plain.port, plain.path.as_str()), ("xsp.example.com", 443, ""));
        assert_eq!(url("cti://xsp.example.com").port, 8012);
        assert_eq!(url("https://xsp.example.com:8443/x").authority(), "xsp.example.com:8443");
        for (text, error) in [
            ("xsp.example.com", BadUrl::Scheme),
            ("http://xsp.example.com", BadUrl::Scheme),
            ("https://", BadUrl::Malformed),
            ("https://a@xsp.example.com", BadUrl::Excess),
            ("https://xsp.example.com/?x", BadUrl::Excess),
            ("cti://xsp.example.com/x", BadUrl::Excess),
            ("https://-/", BadUrl::Host),
            ("https://xsp.example.com:0", BadUrl::Malformed),
        ] {
            assert_eq!(text.parse::<Url>(), Err(error), "{text}");
        }
    }

    #[test]
    fn r_stat_2_a_path_says_which_interface_and_what_to_ask() {
        for (text, interface, path, worded) in [
            (
                "https://x.example.com/com.broadsoft.xsi-actions/v2.0/",
                Interface::XsiActions,
                "/com.broadsoft.xsi-actions/v2.0/versions",
                false,
            ),
            (
                "https://x.example.com/com.broadsoft.xsi-events",
                Interface::XsiEvents,
                "/com.broadsoft.xsi-events/v2.0/versions",
                true,
            ),
            ("https://x.example.com/AuthService", Interface::AuthService, "/AuthService/token", false),
            ("https://x.example.com/dms/bc", Interface::Dms, "/dms/bc/", false),
            ("https://x.example.com/settings", Interface::CallSettings, "/settings/", true),
        ] {
            let url = url(text);
            let served = url.served();
            assert_eq!((served.len(), served[0].interface, served[0].path.as_str()), (1, interface, path));
            assert_eq!(url.wording().is_some(), worded, "{text}");
        }
        assert_eq!(url("https://x.example.com/").served().len(), Interface::ALL.len());
    }
}
