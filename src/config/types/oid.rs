//! Object identifiers. Separate from names, because a certificate holds them in a form of its own.

use serde_json::Value;

use super::{Leaf, Refusal, leaves, matching, quoted};

/// An object identifier, such as `"1.3.6.1.5.5.7.3.2"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oid {
    /// As it is written, in dots.
    pub dotted: String,
    /// As a certificate holds it: the content of the DER value, without tag and length.
    pub der: Vec<u8>,
}

impl Leaf for Oid {
    fn expected() -> String {
        "an object identifier such as \"1.3.6.1.5.5.7.3.2\"".into()
    }

    fn schema() -> Value {
        matching("[0-2]([.](0|[1-9][0-9]*))+")
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let refusal = || {
            Refusal::new(format!("{} is not an object identifier", quoted(text)))
                .help("numbers with points between them, such as \"1.3.6.1.5.5.7.3.2\"")
        };
        let number = |arc: &str| {
            let plain = arc == "0" || !arc.starts_with('0') && arc.bytes().all(|byte| byte.is_ascii_digit());
            arc.parse::<u64>().ok().filter(|_| plain)
        };
        let arcs: Option<Vec<u64>> = text.split('.').map(number).collect();
        let arcs = arcs.ok_or_else(refusal)?;
        let [first, second, rest @ ..] = arcs.as_slice() else { return Err(refusal()) };
        // X.660: three roots, and below the first two at most forty arcs.
        let fits = *first < 2 && *second < 40 || *first == 2;
        let head = first.checked_mul(40).and_then(|head| head.checked_add(*second)).filter(|_| fits);
        let mut der = base128(head.ok_or_else(refusal)?);
        der.extend(rest.iter().flat_map(|arc| base128(*arc)));
        Ok(Self { dotted: text.to_owned(), der })
    }
}

/// X.690 section 8.19: seven bits a byte, the highest first, all but the last marked.
fn base128(mut arc: u64) -> Vec<u8> {
    let mut bytes = vec![(arc & 0x7f) as u8];
    while arc > 0x7f {
        arc >>= 7;
        bytes.push((arc & 0x7f) as u8 | 0x80);
    }
    bytes.reverse();
    bytes
}

leaves!(Oid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_are_encoded_as_certificates_hold_them() {
        let table: [(&str, &[u8]); 4] = [
            ("1.3.6.1.5.5.7.3.2", &[0x2b, 6, 1, 5, 5, 7, 3, 2]),
            ("1.3.6.1.4.1.6431.1.1.8.2.1.3", &[0x2b, 6, 1, 4, 1, 0xb2, 0x1f, 1, 1, 8, 2, 1, 3]),
            ("2.999", &[0x88, 0x37]),
            ("0.0", &[0]),
        ];
        for (text, der) in table {
            assert_eq!(Oid::text(text).unwrap().der, der, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "1",
            "3.1",
            "1.40",
            "1.3.",
            ".1.3",
            "1.3.x",
            "1.03",
            "1.3.+6",
            "1.3.18446744073709551616",
            "clientAuth",
        ] {
            assert!(Oid::text(text).is_err(), "{text}");
        }
    }
}
