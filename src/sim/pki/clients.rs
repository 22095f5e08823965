//! What the CAs have revoked, and certificates for names of a test's choice. Separate from the certificates of a site that
//! works, because only tests need them.

use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyIdMethod, RevokedCertParams, SerialNumber,
};

use super::{Authority, CTI_CLIENT, Identity, OffsetDateTime, Pki, REASON, chained, leaf, signed};

/// The serial number of certificates that are revoked.
const REVOKED: u64 = 0x5ec0_de01;

impl Pki {
    /// A client certificate of Webex's chain whose subject has these two attributes.
    pub fn webex_client_of(&self, common_name: &str, organization: &str) -> Identity {
        let mut params = leaf(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        chained(&params, &self.webex_issuing)
    }

    /// Webex's client certificate, which ends after so long, to the second.
    pub fn webex_client_for(&self, time: Duration) -> Identity {
        let mut params = leaf(CTI_CLIENT, &[], ExtendedKeyUsagePurpose::ClientAuth);
        params.not_after = OffsetDateTime::now_utc() + time;
        chained(&params, &self.webex_issuing)
    }

    /// A client certificate of Webex's chain with an empty subject, which names its owner by a DNS name alone.
    pub fn webex_client_without_subject(&self, dns_name: &str) -> Identity {
        let mut params = leaf("", &[dns_name], ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name = DistinguishedName::new();
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

/// `params` with the serial number that is revoked.
pub(super) fn revoked(mut params: CertificateParams) -> CertificateParams {
    params.serial_number = Some(SerialNumber::from(REVOKED));
    params
}

fn list(authority: &Authority) -> String {
    list_until(authority, 30)
}

/// A list that is due to be replaced in so many days.
pub(super) fn list_until(authority: &Authority, days: i64) -> String {
    let now = OffsetDateTime::now_utc();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(REVOKED),
        revocation_time: now - time::Duration::days(1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: now - time::Duration::days(10),
        next_update: now + time::Duration::days(days),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).and_then(|list| list.pem()).expect(REASON)
}
