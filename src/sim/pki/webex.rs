//! The certificates of the CTI interface's clients on both sides of the gateway: Webex's, and the gateway's own, right ones
//! and ones that are wrong in one way each. Separate from the servers' because the rules are others.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

use super::clients::revoked;
use super::{CTI_USAGE, Identity, PEERS, Pki, REASON, chained, issuing, leaf, signed, valid};

/// R-CTI-2, and R-CTI-3 for the gateway itself.
pub const CTI_CLIENT: &str = "bwcticlient.webex.com";

/// Who shows a certificate to a CTI listener of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Webex: the right name, for clients, signed by the issuing CA of its chain (R-CTI-1, R-CTI-2).
    Webex,
    /// Its chain has two intermediates, which stand in no file of the gateway's.
    Deep,
    /// The right name is a subject alternative name; the common name is another.
    Alternative,
    /// It names no extended key usage at all.
    Unlimited,
    /// Signed by itself.
    SelfSigned,
    /// The right name, signed by a CA that nobody trusts.
    WrongAuthority,
    /// As [`Caller::WrongAuthority`], by a CA that calls itself as Webex's issuing CA does.
    Impostor,
    /// Signed by Webex's CA for some other name.
    WrongName,
    /// Its time ended yesterday.
    Expired,
    /// Its time begins tomorrow.
    NotYetValid,
    /// For servers only, as public CAs have begun to issue them.
    ServerOnly,
    /// Its chain has three intermediates.
    TooDeep,
    /// On the list of [`Pki::webex_crl`].
    Revoked,
}

impl Caller {
    /// All that the rules let in.
    pub const WELCOME: [Self; 4] = [Self::Webex, Self::Deep, Self::Alternative, Self::Unlimited];
    /// All that they don't, the revoked one aside, which takes a list to be known.
    pub const UNWELCOME: [Self; 8] = [
        Self::SelfSigned,
        Self::WrongAuthority,
        Self::Impostor,
        Self::WrongName,
        Self::Expired,
        Self::NotYetValid,
        Self::ServerOnly,
        Self::TooDeep,
    ];
}

/// How the gateway's own client certificate breaks R-CTI-3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Without BroadWorks' extended key usage.
    NoBroadWorksUsage,
    /// Without TLS client authentication.
    NoClientAuthentication,
    /// Another common name.
    WrongName,
    /// It has a subject alternative name.
    Alternative,
    /// Its time ended yesterday.
    Expired,
    /// Its time begins tomorrow.
    NotYetValid,
    /// Signed by a CA that no XSP trusts.
    WrongAuthority,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoBroadWorksUsage,
        Self::NoClientAuthentication,
        Self::WrongName,
        Self::Alternative,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongAuthority,
    ];
}

impl Pki {
    /// The certificate that `caller` shows to the gateway, with all that stands between it and a root.
    pub fn caller(&self, caller: Caller) -> Identity {
        let mut good = valid(leaf(CTI_CLIENT, &[], ExtendedKeyUsagePurpose::ClientAuth), PEERS.0, PEERS.1);
        match caller {
            Caller::Webex => chained(&good, &self.webex_issuing),
            Caller::Deep => self.below(&good, 2),
            Caller::Alternative => {
                let named = leaf("cti.webex.com", &[CTI_CLIENT], ExtendedKeyUsagePurpose::ClientAuth);
                chained(&named, &self.webex_issuing)
            }
            Caller::Unlimited => {
                good.extended_key_usages.clear();
                chained(&good, &self.webex_issuing)
            }
            Caller::SelfSigned => self_signed(&good),
            Caller::WrongAuthority => signed(&good, &self.stranger),
            Caller::Impostor => chained(&good, &issuing("Simulated Webex Issuing CA", &self.stranger)),
            Caller::WrongName => self.webex_client("other.webex.com"),
            Caller::Expired => chained(&valid(good, -10, -1), &self.webex_issuing),
            Caller::NotYetValid => chained(&valid(good, 1, 10), &self.webex_issuing),
            Caller::ServerOnly => {
                chained(&leaf(CTI_CLIENT, &[], ExtendedKeyUsagePurpose::ServerAuth), &self.webex_issuing)
            }
            Caller::TooDeep => self.below(&good, 3),
            Caller::Revoked => chained(&revoked(good), &self.webex_issuing),
        }
    }

    /// A client certificate of the gateway's that XSPs must refuse.
    pub fn flawed_cti_client(&self, flaw: Flaw) -> Identity {
        let good = own(CTI_CLIENT, &[]);
        match flaw {
            Flaw::NoBroadWorksUsage => {
                signed(&leaf(CTI_CLIENT, &[], ExtendedKeyUsagePurpose::ClientAuth), &self.internal)
            }
            Flaw::NoClientAuthentication => {
                let mut params = good;
                params.extended_key_usages.retain(|usage| *usage != ExtendedKeyUsagePurpose::ClientAuth);
                signed(&params, &self.internal)
            }
            Flaw::WrongName => signed(&own("gateway.example.com", &[]), &self.internal),
            Flaw::Alternative => signed(&own(CTI_CLIENT, &[CTI_CLIENT]), &self.internal),
            Flaw::Expired => signed(&valid(good, -10, -1), &self.internal),
            Flaw::NotYetValid => signed(&valid(good, 1, 10), &self.internal),
            Flaw::WrongAuthority => signed(&good, &self.stranger),
        }
    }

    /// A new certificate under so many new intermediates below Webex's root, all of them shown.
    fn below(&self, params: &CertificateParams, intermediates: usize) -> Identity {
        let mut shown = Vec::new();
        let mut last = None;
        for number in 1..=intermediates {
            let name = format!("Simulated Webex Intermediate {number}");
            let authority = issuing(&name, last.as_ref().unwrap_or(&self.webex_root));
            shown.push(authority.pem());
            last = Some(authority);
        }
        let mut identity = signed(params, last.as_ref().unwrap_or(&self.webex_root));
        identity.chain_pem.extend(shown.into_iter().rev());
        identity
    }
}

/// What R-CTI-3 asks of the gateway's certificate, under that name.
pub(super) fn own(common_name: &str, alternatives: &[&str]) -> CertificateParams {
    let mut params = leaf(common_name, alternatives, ExtendedKeyUsagePurpose::ClientAuth);
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::Other(CTI_USAGE.to_vec()));
    params
}

/// A certificate that its own key signed.
pub(super) fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().expect(REASON);
    let certificate = params.self_signed(&key).expect(REASON);
    Identity { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
}
