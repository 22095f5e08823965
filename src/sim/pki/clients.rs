//! Clients' certificates that are wrong in one way each, what the CAs have revoked, and certificates for names and serial
//! numbers of a test's choice. Apart from the certificates of a site that works, because only tests of closed doors need
//! them.

use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, KeyIdMethod,
    RevokedCertParams, SerialNumber,
};

use super::{Authority, Identity, OffsetDateTime, Pki, REASON, chained, issuing, leaf, signed, valid};

/// The CN of Webex's clients (R-CTI-2).
pub const WEBEX_CLIENT: &str = "bwcticlient.webex.com";
/// The serial number of certificates that are revoked.
const REVOKED: u64 = 666;

/// What is wrong with a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It signed itself.
    SelfSigned,
    /// A CA that nobody trusts signed it.
    WrongAuthority,
    /// It is another client's.
    WrongName,
    /// Its time ended yesterday.
    Expired,
    /// Its time begins tomorrow.
    NotYetValid,
    /// [`Pki::webex_crl`] lists it.
    Revoked,
    /// It is for servers.
    ServerOnly,
    /// There are three intermediates above it, which come along.
    TooDeep,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SelfSigned,
        Self::WrongAuthority,
        Self::WrongName,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::ServerOnly,
        Self::TooDeep,
    ];
}

impl Pki {
    /// As Webex's client, but for one thing.
    pub fn flawed_client(&self, flaw: Flaw) -> Identity {
        let good = || leaf(WEBEX_CLIENT, &[], ExtendedKeyUsagePurpose::ClientAuth);
        let webex = |params: &CertificateParams| chained(params, &self.webex_issuing);
        match flaw {
            Flaw::SelfSigned => {
                let key = rcgen::KeyPair::generate().expect(REASON);
                let certificate = good().self_signed(&key).expect(REASON);
                Identity { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
            }
            Flaw::WrongAuthority => self.stranger_client(WEBEX_CLIENT),
            Flaw::WrongName => self.webex_client("other.webex.com"),
            Flaw::Expired => webex(&valid(good(), -10, -1)),
            Flaw::NotYetValid => webex(&valid(good(), 1, 10)),
            Flaw::Revoked => webex(&revoked(good())),
            Flaw::ServerOnly => webex(&leaf(WEBEX_CLIENT, &[], ExtendedKeyUsagePurpose::ServerAuth)),
            Flaw::TooDeep => {
                let second = issuing("Simulated Webex Second CA", &self.webex_issuing);
                let third = issuing("Simulated Webex Third CA", &second);
                let mut identity = chained(&good(), &third);
                identity.chain_pem.push_str(&second.pem());
                identity.chain_pem.push_str(&self.webex_issuing.pem());
                identity
            }
        }
    }

    /// A client certificate of Webex's chain whose subject has these two attributes.
    pub fn webex_client_of(&self, common_name: &str, organization: &str) -> Identity {
        let mut params = leaf(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        chained(&params, &self.webex_issuing)
    }

    /// The certificate of an XSP that [`Pki::internal_crl`] lists.
    pub fn revoked_xsp(&self, domain: &str, fqdn: &str) -> Identity {
        let good = leaf(fqdn, &[domain], ExtendedKeyUsagePurpose::ServerAuth);
        signed(&revoked(good), &self.internal)
    }

    /// What Webex's CAs have revoked, as one PEM file.
    pub fn webex_crl(&self) -> String {
        format!("{}{}", list(&self.webex_root), list(&self.webex_issuing))
    }

    /// What the internal CA has revoked, as PEM.
    pub fn internal_crl(&self) -> String {
        list(&self.internal)
    }
}

fn revoked(mut params: CertificateParams) -> CertificateParams {
    params.serial_number = Some(SerialNumber::from(REVOKED));
    params
}

fn list(authority: &Authority) -> String {
    let now = OffsetDateTime::now_utc();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(REVOKED),
        revocation_time: now - time::Duration::days(1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: now - time::Duration::days(1),
        next_update: now + time::Duration::days(30),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).and_then(|list| list.pem()).expect(REASON)
}
