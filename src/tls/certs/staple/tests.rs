use super::super::fixture::{Authority, Leaf};
use super::*;
use crate::tls::der::wrap;

const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const GOOD: &[u8] = &[0x80, 0];

/// An OCSP response by `hash` that says `status` of the chain's first certificate, from 2026 to 2027.
pub(in crate::tls) fn response(chain: &[Link], hash: &[u8], status: &[u8]) -> Vec<u8> {
    let (leaf, issuer) = (Parts::of(&chain[0].der).unwrap(), Parts::of(&chain[1].der).unwrap());
    let key = der::values(issuer.public_key()).unwrap()[1].content[1..].to_vec();
    let (_, algorithm) = HASHES.into_iter().find(|(oid, _)| *oid == hash).unwrap();
    let digest = |bytes: &[u8]| wrap(4, digest::digest(algorithm, bytes).as_ref());
    let id = [
        wrap(SEQUENCE, &wrap(6, hash)),
        digest(leaf.fields[leaf.issuer()].whole),
        digest(&key),
        wrap(2, leaf.serial_number()),
    ];
    let times = [wrap(0x18, b"20260101000000Z"), wrap(0xa0, &wrap(0x18, b"20270101000000Z"))];
    let single = wrap(SEQUENCE, &[wrap(SEQUENCE, &id.concat()), status.to_vec(), times.concat()].concat());
    let responder = wrap(0xa2, &wrap(4, &[7; 20]));
    let data = [responder, wrap(0x18, b"20260101000000Z"), wrap(SEQUENCE, &single)].concat();
    let signature = [wrap(SEQUENCE, &wrap(6, &[1])), wrap(3, &[0, 1])].concat();
    let basic = wrap(SEQUENCE, &[wrap(SEQUENCE, &data), signature].concat());
    let body = wrap(SEQUENCE, &[wrap(6, &BASIC), wrap(4, &basic)].concat());
    wrap(SEQUENCE, &[wrap(0x0a, &[0]), wrap(0xa0, &body)].concat())
}

/// A leaf of `issuer` and that.
fn chain(issuer: &Authority) -> Vec<Link> {
    let Leaf { pem, .. } = issuer.leaf("a.example.com", &["a.example.com"]);
    links(&(pem + &issuer.pem))
}

/// The certificates of a file, in its order.
pub(in crate::tls) fn links(pem: &str) -> Vec<Link> {
    let path = std::path::Path::new("a.pem");
    let certificates = super::super::pem::parse(path, pem.as_bytes(), &None).unwrap().certificates;
    super::super::chain::links(path, certificates, &None).unwrap_or_else(|_| panic!("{pem}"))
}

#[test]
fn a_response_is_read_for_its_certificate_alone() {
    let issuer = Authority::root("Public Root");
    let (ours, theirs) = (chain(&issuer), chain(&issuer));
    let other_issuer = chain(&Authority::root("Public Root"));
    let year = Validity { from: Some(1_767_225_600), to: 1_798_761_600 };
    for (hash, _) in HASHES {
        assert_eq!(read(&response(&ours, hash, GOOD), &ours), Ok((Status::Good, year)));
    }
    let revoked = wrap(0xa1, &wrap(0x18, b"20260101000000Z"));
    assert_eq!(read(&response(&ours, SHA1, &revoked), &ours), Ok((Status::Revoked, year)));
    assert_eq!(read(&response(&ours, SHA1, &[0x82, 0]), &ours), Ok((Status::Unknown, year)));
    for other in [&theirs, &other_issuer] {
        assert_eq!(read(&response(other, SHA1, GOOD), &ours), Err(Fault::OtherCertificate));
    }
    // The name of its issuer is right, and its serial number, but not the issuer's key.
    let mixed = [ours[0].clone(), other_issuer[1].clone()];
    assert_eq!(read(&response(&mixed, SHA1, GOOD), &ours), Err(Fault::OtherCertificate));
    assert_eq!(read(&response(&mixed, SHA1, GOOD), &ours[..1]), Ok((Status::Good, year)), "it is not known here");
}

#[test]
fn what_is_no_response_is_refused() {
    let chain = chain(&Authority::root("Public Root"));
    let good = response(&chain, SHA1, GOOD);
    for length in 0..good.len() {
        assert_eq!(read(&good[..length], &chain), Err(Fault::Malformed), "{length} bytes");
    }
    assert_eq!(read(&[&good[..], b"\n"].concat(), &chain), Err(Fault::Malformed), "something behind it");
    assert_eq!(read(&wrap(SEQUENCE, &wrap(0x0a, &[3])), &chain), Err(Fault::Unsuccessful), "tryLater");
    assert_eq!(read(&response(&chain, SHA1, &[0x83, 0]), &chain), Err(Fault::Malformed), "no such status");
}

#[test]
fn times_are_those_of_der() {
    let read = |text: &[u8]| time_of(&der::next(&wrap(0x18, text)).unwrap().0);
    assert_eq!(read(b"19700101000000Z"), Some(0));
    assert_eq!(read(b"20260102030405Z"), Some(1_767_323_045));
    for wrong in
        [&b"20260102030405"[..], b"20260102030405.5Z", b"202601020304Z", b"20261302030405Z", b"+0260102030405Z"]
    {
        assert_eq!(read(wrong), None, "{wrong:?}");
    }
}
