//! A certificate and its issuers: in which order, and where a chain breaks off. Separate from the identities that use it,
//! because what is inspected or signs others has a chain, too.

use std::ops::Range;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::Anchor;
use crate::broadworks::cti::Fault;
use crate::config::error::Problem;
use crate::tls::der;
use crate::tls::peer::{self, Facts, Role, Unreadable};
use crate::tls::signature::{Verdict, public_key, verdict};

/// A chain is followed no further: no peer would follow it.
const LONGEST: usize = 10;
/// No more CAs of one name are looked at: a file made for the purpose would keep the gateway busy for hours.
const NAMESAKES: usize = 16;

/// A certificate and what it says.
#[derive(Clone, Debug)]
pub(in crate::tls) struct Link {
    pub(in crate::tls) der: CertificateDer<'static>,
    pub(in crate::tls) facts: Facts,
}

/// A file's certificates by who signed whom.
pub(in crate::tls) struct Chain {
    /// The leaf, then each one's issuer.
    pub(in crate::tls) links: Vec<Link>,
    /// What belongs to none of them.
    pub(in crate::tls) strays: Vec<Link>,
    /// Whether they stood in this order.
    pub(in crate::tls) order: Order,
}

/// How certificates stood in their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tls) enum Order {
    /// As they are sent.
    Kept,
    /// Otherwise.
    Changed,
}

impl Link {
    /// Reads a certificate.
    pub(in crate::tls) fn read(der: CertificateDer<'static>) -> Result<Self, Unreadable> {
        let facts = peer::facts(&der)?;
        Ok(Self { der, facts })
    }

    fn is_named_by(&self, subject: &Self) -> bool {
        self.facts.subject == subject.facts.issuer
    }

    /// What its key says of the signature of `subject`; `None`: that names another issuer.
    pub(super) fn verdict(&self, subject: &Self) -> Option<Verdict> {
        self.is_named_by(subject).then(|| verdict(&subject.der, &public_key(&self.der)))
    }

    /// Whether the name and the key of this one fit what `subject` says of its issuer, as far as that can be told.
    fn signed(&self, subject: &Self) -> bool {
        matches!(self.verdict(subject), Some(Verdict::Fits | Verdict::Unknown))
    }

    /// Whether it has signed itself; one that only bears its issuer's name has not.
    pub(in crate::tls) fn is_self_signed(&self) -> bool {
        self.signed(self)
    }

    /// What the CAs of `roots` have to do with it.
    fn anchored(&self, roots: &[Anchor]) -> Anchored {
        let issuer = der::next(&self.facts.issuer).map(|(name, _)| name.content);
        let named = roots.iter().map(|root| &root.anchor).filter(|root| Some(root.subject.as_ref()) == issuer);
        let verdicts: Vec<Verdict> = named.map(|root| verdict(&self.der, &root.subject_public_key_info)).collect();
        match verdicts.as_slice() {
            [] => Anchored::Unnamed,
            verdicts if verdicts.iter().all(|verdict| *verdict == Verdict::Differs) => Anchored::Otherwise,
            _ => Anchored::Signed,
        }
    }
}

/// What the certificates of the file at `path` say, in their order.
///
/// # Errors
/// One of them can't be read.
pub(in crate::tls) fn links(
    path: &Path,
    certificates: Vec<CertificateDer<'static>>,
    span: &Option<Range<usize>>,
) -> Result<Vec<Link>, Problem> {
    let link = |(index, der)| {
        Link::read(der).map_err(|error| {
            Problem::error(span.clone(), format!("block {} in {} is {error}", index + 1, path.display()))
        })
    };
    certificates.into_iter().enumerate().map(link).collect()
}

enum Anchored {
    /// One of them has signed it.
    Signed,
    /// One of them has its issuer's name, and another key.
    Otherwise,
    /// None of them has its issuer's name.
    Unnamed,
}

impl Chain {
    /// Follows the issuers from the certificate at `leaf`, which is one of `links`.
    pub(in crate::tls) fn of(mut links: Vec<Link>, leaf: usize) -> Self {
        let mut order = if leaf == 0 { Order::Kept } else { Order::Changed };
        let mut chain = vec![links.remove(leaf)];
        while chain.len() < LONGEST
            && let Some(last) = chain.last()
            && !last.is_self_signed()
        {
            let named = || links.iter().enumerate().filter(|(_, link)| link.is_named_by(last));
            let signer = named().take(NAMESAKES).find(|(_, link)| link.signed(last));
            // One that only has the name will have to do if there is no better one, and leads nowhere.
            let leads_nowhere = signer.is_none();
            let Some((next, _)) = signer.or_else(|| named().next()) else { break };
            if next > 0 {
                order = Order::Changed;
            }
            chain.push(links.remove(next));
            if leads_nowhere {
                break;
            }
        }
        Self { links: chain, strays: links, order }
    }

    /// Where it breaks off before it comes to a CA that has signed itself, or that is one of `roots`. The leaf may not be
    /// that CA.
    pub(in crate::tls) fn fault(&self, roots: &[Anchor]) -> Option<Fault> {
        let subject = |link: &Link| link.facts.subject_text.clone();
        for (index, link) in self.links.iter().enumerate() {
            if index > 0 && link.facts.role == Role::EndEntity {
                return Some(Fault::IssuerIsNoCa { issuer: subject(link) });
            }
            if link.is_self_signed() {
                return (index == 0).then_some(Fault::SelfSigned);
            }
            let issuer = link.facts.issuer_text.clone();
            match (link.anchored(roots), self.links.get(index + 1)) {
                (Anchored::Signed, _) => return None,
                (_, Some(next)) if next.signed(link) => {}
                (Anchored::Otherwise, _) | (_, Some(_)) => {
                    return Some(Fault::IssuerDiffers { subject: subject(link), issuer });
                }
                (Anchored::Unnamed, None) => return Some(Fault::IssuerMissing { subject: subject(link), issuer }),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::tls::certs::fixture::Authority;

    fn link(authority: &Authority) -> Link {
        Link::read(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_chain_without_an_end_is_not_followed_for_ever() {
        let mut authorities = vec![Authority::root("A").intermediate("A")];
        for _ in 0..2 * LONGEST {
            authorities.insert(0, authorities[0].intermediate("A"));
        }
        let links: Vec<Link> = authorities.iter().map(link).collect();
        assert_eq!(Chain::of(links, 0).links.len(), LONGEST);
    }

    #[test]
    fn who_only_has_the_issuers_name_leads_nowhere() {
        let stranger = || link(&Authority::root("A").intermediate("A"));
        let links: Vec<Link> = (0..5).map(|_| stranger()).collect();
        let chain = Chain::of(links, 0);
        assert_eq!((chain.links.len(), chain.strays.len()), (2, 3));
        assert!(matches!(chain.fault(&[]), Some(Fault::IssuerDiffers { .. })));
    }
}
