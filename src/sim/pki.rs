//! Certificates for a simulated site, made in memory: a public CA with an intermediate, an operator's internal CA, the
//! CA of Webex's clients, and certificates that are wrong in one way each. Separate from the XSPs because the gateway and
//! the clients of a test need them as files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

mod clients;
mod lapsed;
mod webex;

pub use lapsed::Lapsed;
pub use webex::{CTI_CLIENT, Caller, Flaw};

const REASON: &str = "parameters of this file's own making are valid";
/// BroadWorks' extended key usage of CTI clients (R-CTI-3). The simulation has its own: what the gateway takes it for must
/// not be what judges the gateway.
pub(super) const CTI_USAGE: [u64; 13] = [1, 3, 6, 1, 4, 1, 6431, 1, 1, 8, 2, 1, 3];

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate chain, leaf first, with its key.
pub struct Identity {
    /// The chain as PEM blocks, leaf first.
    pub chain_pem: String,
    /// The key as one PKCS #8 PEM block.
    pub key_pem: String,
}

impl Identity {
    /// The chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain_pem.as_bytes()).map(|block| block.expect(REASON)).collect()
    }

    /// The key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect(REASON)
    }

    /// Writes `NAME-chain.pem` and `NAME-key.pem` to `folder`; the key can be read by its owner alone.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path, name: &str) -> std::io::Result<()> {
        fs::write(folder.join(format!("{name}-chain.pem")), &self.chain_pem)?;
        write_secret(&folder.join(format!("{name}-key.pem")), &self.key_pem)
    }
}

/// What an XSP's certificate is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Show {
    /// As R-TLS-4 wants it: the XSP domain as SAN, its own name as CN, signed by the internal CA.
    Good,
    /// Signed by a CA that nobody trusts.
    WrongAuthority,
    /// Signed by the internal CA for some other name.
    WrongName,
    /// Its time ended yesterday.
    Expired,
    /// Its time begins tomorrow.
    NotYetValid,
    /// Signed by itself.
    SelfSigned,
}

impl Show {
    /// All the wrong ones.
    pub const WRONG: [Self; 5] =
        [Self::WrongAuthority, Self::WrongName, Self::Expired, Self::NotYetValid, Self::SelfSigned];
}

/// For how many days the certificates of XSPs and of Webex are valid: longer than those of the gateway, so that there is a
/// time at which the gateway's have expired and its peers' have not.
const PEERS: (i64, i64) = (-30, 600);

/// The authorities of a simulated site.
pub struct Pki {
    public_root: Authority,
    public_issuing: Authority,
    internal: Authority,
    stranger: Authority,
    webex_root: Authority,
    webex_issuing: Authority,
}

impl Pki {
    /// Makes new authorities; a few milliseconds.
    pub fn new() -> Self {
        let public_root = root("Simulated Public Root CA");
        let public_issuing = issuing("Simulated Public Issuing CA", &public_root);
        let webex_root = root("Simulated Webex Root CA");
        let webex_issuing = issuing("Simulated Webex Issuing CA", &webex_root);
        let (internal, stranger) = (root("Simulated Internal CA"), root("Simulated Stranger CA"));
        Self { public_root, public_issuing, internal, stranger, webex_root, webex_issuing }
    }

    /// A publicly signed certificate for `hosts` with its intermediate (R-TLS-2); the first host is its CN.
    pub fn public(&self, hosts: &[&str]) -> Identity {
        let common_name = hosts.first().copied().unwrap_or("localhost");
        chained(&leaf(common_name, hosts, ExtendedKeyUsagePurpose::ServerAuth), &self.public_issuing)
    }

    /// As [`Pki::public`], with an RSA key, as clients from before ECDSA need it.
    pub fn public_rsa(&self, hosts: &[&str]) -> Identity {
        let common_name = hosts.first().copied().unwrap_or("localhost");
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect(REASON);
        let mut identity =
            signed_for(&key, &leaf(common_name, hosts, ExtendedKeyUsagePurpose::ServerAuth), &self.public_issuing);
        identity.chain_pem.push_str(&self.public_issuing.pem());
        identity
    }

    /// Writes the CA that signs [`Pki::public`] to `folder`, as its own tools have it: `issuing.pem` and `issuing-key.pem`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_issuing(&self, folder: &Path) -> std::io::Result<()> {
        fs::write(folder.join("issuing.pem"), self.public_issuing.pem())?;
        write_secret(&folder.join("issuing-key.pem"), &self.public_issuing.key().serialize_pem())
    }

    /// The certificate of an XSP with the fully qualified name `fqdn` that serves `domain`.
    pub fn xsp(&self, domain: &str, fqdn: &str, show: Show) -> Identity {
        let good = valid(leaf(fqdn, &[domain], ExtendedKeyUsagePurpose::ServerAuth), PEERS.0, PEERS.1);
        match show {
            Show::Good => signed(&good, &self.internal),
            Show::WrongAuthority => signed(&good, &self.stranger),
            Show::WrongName => {
                signed(&leaf("other.invalid", &["other.invalid"], ExtendedKeyUsagePurpose::ServerAuth), &self.internal)
            }
            Show::Expired => signed(&valid(good, -10, -1), &self.internal),
            Show::NotYetValid => signed(&valid(good, 1, 10), &self.internal),
            Show::SelfSigned => webex::self_signed(&good),
        }
    }

    /// A client certificate of Webex's chain (R-CTI-2) with its issuing CA.
    pub fn webex_client(&self, common_name: &str) -> Identity {
        chained(&leaf(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth), &self.webex_issuing)
    }

    /// A client certificate that nobody trusts.
    pub fn stranger_client(&self, common_name: &str) -> Identity {
        signed(&leaf(common_name, &[], ExtendedKeyUsagePurpose::ClientAuth), &self.stranger)
    }

    /// The gateway's own client certificate towards XSPs (R-CTI-3).
    pub fn cti_client(&self) -> Identity {
        signed(&webex::own(CTI_CLIENT, &[]), &self.internal)
    }

    /// What clients trust: the public root, as PEM.
    pub fn public_ca(&self) -> String {
        self.public_root.pem()
    }

    /// What the gateway trusts towards XSPs: the internal CA, as PEM.
    pub fn internal_ca(&self) -> String {
        self.internal.pem()
    }

    /// Webex's chain as Partner Hub gives it: root and issuing in one text (R-CTI-1).
    pub fn webex_chain(&self) -> String {
        format!("{}{}", self.webex_root.pem(), self.webex_issuing.pem())
    }

    /// A root store with the public root, for a client.
    pub fn public_roots(&self) -> Arc<RootCertStore> {
        roots(&self.public_root)
    }

    /// A root store with the internal CA, as the gateway has it towards XSPs.
    pub fn internal_roots(&self) -> Arc<RootCertStore> {
        roots(&self.internal)
    }

    /// Writes what a gateway's configuration and its clients name: `public-{chain,key}.pem` for `hosts`, `public-ca.pem`,
    /// `internal-ca.pem`, `cti-client-{chain,key}.pem`, `CombinedCertChain.txt` and a random `affinity.key`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path, hosts: &[&str]) -> std::io::Result<()> {
        use base64::Engine as _;

        self.public(hosts).write(folder, "public")?;
        self.cti_client().write(folder, "cti-client")?;
        fs::write(folder.join("public-ca.pem"), self.public_ca())?;
        fs::write(folder.join("internal-ca.pem"), self.internal_ca())?;
        fs::write(folder.join("CombinedCertChain.txt"), self.webex_chain())?;
        let key = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 32]>());
        write_secret(&folder.join("affinity.key"), &format!("{key}\n"))
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a file that only its owner can read.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add(authority.der().clone()).expect(REASON);
    Arc::new(store)
}

fn root(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority(name), KeyPair::generate().expect(REASON)).expect(REASON)
}

fn issuing(name: &str, parent: &Authority) -> Authority {
    CertifiedIssuer::signed_by(authority(name), KeyPair::generate().expect(REASON), parent).expect(REASON)
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(params, -30, 3650)
}

fn leaf(common_name: &str, alt_names: &[&str], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = named(common_name, alt_names);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    valid(params, -1, 90)
}

fn named(common_name: &str, alt_names: &[&str]) -> CertificateParams {
    let alt_names: Vec<String> = alt_names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(alt_names).expect("alternative names are ASCII host names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// `params` with a time that begins and ends so many days from now.
fn valid(mut params: CertificateParams, from: i64, to: i64) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    params.not_before = now + time::Duration::days(from);
    params.not_after = now + time::Duration::days(to);
    params
}

/// A new key with a certificate that `issuer` signed.
fn signed(params: &CertificateParams, issuer: &Authority) -> Identity {
    signed_for(&KeyPair::generate().expect(REASON), params, issuer)
}

/// A certificate of `key` that `issuer` signed.
fn signed_for(key: &KeyPair, params: &CertificateParams, issuer: &Authority) -> Identity {
    let certificate = params.signed_by(key, issuer).expect(REASON);
    Identity { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
}

/// As [`signed`], with the issuing CA's own certificate behind it.
fn chained(params: &CertificateParams, issuer: &Authority) -> Identity {
    let mut identity = signed(params, issuer);
    identity.chain_pem.push_str(&issuer.pem());
    identity
}
