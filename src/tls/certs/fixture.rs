//! Certificates and keys for tests, made again in a folder of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, date_time_ymd,
};

use crate::broadworks::cti::{CLIENT_NAME, CLIENT_USAGE_ARCS};

/// A CA that signs.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM.
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) key: String,
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(crate) fn root(common_name: &str) -> Self {
        Self::root_with(common_name, |_| {})
    }

    pub(crate) fn root_with(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority_params(common_name), KeyPair::generate().unwrap());
        change(&mut params);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn intermediate(&self, common_name: &str) -> Self {
        self.intermediate_with(common_name, |_| {})
    }

    /// One that signs, and may not.
    pub(crate) fn no_ca(&self, common_name: &str) -> Self {
        self.intermediate_with(common_name, |params| params.is_ca = IsCa::NoCa)
    }

    pub(crate) fn intermediate_with(&self, common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority_params(common_name), KeyPair::generate().unwrap());
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn leaf(&self, common_name: &str, names: &[&str]) -> Leaf {
        self.leaf_with(common_name, names, |_| {})
    }

    pub(crate) fn leaf_with(
        &self,
        common_name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let (mut params, key) = (params(common_name, names), KeyPair::generate().unwrap());
        change(&mut params);
        Leaf { pem: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Another certificate for a CA that has one already, signed by this one.
    pub(crate) fn vouches_for(&self, common_name: &str, other: &Self) -> String {
        authority_params(common_name).signed_by(other.issuer.key(), &self.issuer).unwrap().pem()
    }

    /// What it has revoked, by serial number.
    pub(crate) fn revokes(&self, serials: &[u64]) -> String {
        self.revokes_with(serials, |_| {})
    }

    pub(crate) fn revokes_with(
        &self,
        serials: &[u64],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2036, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// What R-CTI-3 asks for.
    pub(crate) fn cti_client(&self) -> Leaf {
        self.cti_client_with(|_| {})
    }

    pub(crate) fn cti_client_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.leaf_with(CLIENT_NAME, &[], |params| {
            for_cti(params);
            change(params);
        })
    }
}

/// The extended key usages that R-CTI-3 asks for.
pub(crate) fn for_cti(params: &mut CertificateParams) {
    let broadworks = ExtendedKeyUsagePurpose::Other(CLIENT_USAGE_ARCS.to_vec());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, broadworks];
}

/// A certificate that signed itself.
pub(crate) fn self_signed(common_name: &str, names: &[&str]) -> Leaf {
    self_signed_with(common_name, names, |_| {})
}

pub(crate) fn self_signed_with(common_name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let (mut params, key) = (params(common_name, names), KeyPair::generate().unwrap());
    change(&mut params);
    Leaf { pem: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Writes a file that only its owner may read.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The hosts of the example configuration.
pub(crate) const HOSTS: [&str; 2] = ["webex-cloud-xsp.example.com", "webex-app-xsp.example.com"];

/// The example configuration's files as they should be.
pub(crate) fn example(folder: &Path) {
    let public = Authority::root("Public Root").intermediate("Public Issuing");
    let internal = Authority::root("Internal Root");
    let webex = Authority::root("Webex Root");
    let issuing = webex.intermediate("Webex Issuing");
    let leaf = public.leaf(HOSTS[0], &HOSTS);
    let client = internal.cti_client();
    write(folder, "certs/public-chain.pem", &format!("{}{}", leaf.pem, public.pem));
    write(folder, "certs/public-key.pem", &leaf.key);
    write(folder, "certs/cti-client-chain.pem", &client.pem);
    write(folder, "certs/cti-client-key.pem", &client.key);
    let combined = format!("Issuing CA\r\n{}\r\nRoot CA: self-signed\r\n{}\r\n", issuing.pem, webex.pem);
    write(folder, "certs/CombinedCertChain.txt", &combined);
    write(folder, "certs/internal-ca.pem", &internal.pem);
    write(folder, "certs/webex-ranges.txt", "198.51.100.0/24\n203.0.113.7\n");
    write(folder, "certs/affinity.key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n");
}
