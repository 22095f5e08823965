//! The files of a gateway's configuration of which one certificate or revocation list is past its time. Separate from the
//! good ones, because only tests need them.

use std::fs;
use std::path::Path;

use rcgen::ExtendedKeyUsagePurpose;

use super::clients::list_until;
use super::webex::own;
use super::{Authority, CTI_CLIENT, Pki, REASON, authority, leaf, signed, valid};

/// What is past its time; its time ended yesterday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapsed {
    /// The certificate that clients see.
    Public,
    /// The intermediate that signed it.
    PublicIssuing,
    /// The gateway's client certificate towards XSPs.
    CtiClient,
    /// The CA of the XSPs.
    InternalCa,
    /// The root of Webex's clients.
    WebexRoot,
    /// The CA that signs Webex's clients.
    WebexIssuing,
    /// What Webex's issuing CA has revoked.
    WebexList,
    /// What the XSPs' CA has revoked.
    InternalList,
}

impl Lapsed {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Public,
        Self::PublicIssuing,
        Self::CtiClient,
        Self::InternalCa,
        Self::WebexRoot,
        Self::WebexIssuing,
        Self::WebexList,
        Self::InternalList,
    ];

    /// Its file's name in the folder that [`Pki::write`] writes to.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Public | Self::PublicIssuing => "public-chain.pem",
            Self::CtiClient => "cti-client-chain.pem",
            Self::InternalCa => "internal-ca.pem",
            Self::WebexRoot | Self::WebexIssuing => "CombinedCertChain.txt",
            Self::WebexList => "webex.crl",
            Self::InternalList => "internal.crl",
        }
    }
}

impl Pki {
    /// As [`Pki::write`], with `webex.crl` and `internal.crl`, where all of `lapsed` are past their time.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_lapsed(&self, folder: &Path, hosts: &[&str], lapsed: &[Lapsed]) -> std::io::Result<()> {
        self.write(folder, hosts)?;
        let is = |what: Lapsed| lapsed.contains(&what);
        let dated = |what: Lapsed, params| if is(what) { valid(params, -30, -1) } else { params };
        let ca = |what: Lapsed, name: &str, itself: &Authority, signer: &Authority| match is(what) {
            true => dated(what, authority(name)).signed_by(itself.key(), signer).expect(REASON).pem(),
            false => itself.pem(),
        };
        let list = |what: Lapsed, authority: &Authority| list_until(authority, if is(what) { -1 } else { 30 });
        let (public_root, public_issuing) = (&self.public_root, &self.public_issuing);
        let (webex_root, webex_issuing) = (&self.webex_root, &self.webex_issuing);

        let host = hosts.first().copied().unwrap_or("localhost");
        let public = dated(Lapsed::Public, leaf(host, hosts, ExtendedKeyUsagePurpose::ServerAuth));
        let mut public = signed(&public, public_issuing);
        public.chain_pem += &ca(Lapsed::PublicIssuing, "Simulated Public Issuing CA", public_issuing, public_root);
        public.write(folder, "public")?;
        signed(&dated(Lapsed::CtiClient, own(CTI_CLIENT, &[])), &self.internal).write(folder, "cti-client")?;

        let internal = ca(Lapsed::InternalCa, "Simulated Internal CA", &self.internal, &self.internal);
        let webex = ca(Lapsed::WebexRoot, "Simulated Webex Root CA", webex_root, webex_root)
            + &ca(Lapsed::WebexIssuing, "Simulated Webex Issuing CA", webex_issuing, webex_root);
        let webex_lists = list_until(webex_root, 30) + &list(Lapsed::WebexList, webex_issuing);
        for (what, text) in [
            (Lapsed::InternalCa, internal),
            (Lapsed::WebexRoot, webex),
            (Lapsed::WebexList, webex_lists),
            (Lapsed::InternalList, list(Lapsed::InternalList, &self.internal)),
        ] {
            fs::write(folder.join(what.file()), text)?;
        }
        Ok(())
    }
}
