//! DER, as far as a certificate has to be taken apart and put together byte for byte. Separate from `peer`, which reads what a
//! certificate says, and can't say where in the bytes it stands.

/// A SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// A BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// `[0]`, as a certificate's version has it.
const VERSION: u8 = 0xa0;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag and length included.
    pub(super) whole: &'a [u8],
}

/// The value at the beginning of `bytes`, and what follows it. Of tags, those of one byte are known.
pub(super) fn next(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((Value { tag, content, whole: &bytes[..bytes.len() - rest.len()] }, rest))
}

/// All values in `bytes`; `None` if there is anything else.
pub(super) fn values(mut bytes: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (value, rest) = next(bytes)?;
        values.push(value);
        bytes = rest;
    }
    Some(values)
}

/// A value of these contents.
pub(super) fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().position(|digit| *digit != 0).unwrap_or(length.len() - 1)..];
    let mut bytes = vec![tag];
    if content.len() > 0x7f {
        bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
    }
    bytes.extend_from_slice(digits);
    bytes.extend_from_slice(content);
    bytes
}

/// What certificates and revocation lists have in common (RFC 5280 sections 4.1 and 5.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    /// What is signed.
    pub(super) content: Value<'a>,
    /// How it is signed: the contents of the AlgorithmIdentifier.
    pub(super) algorithm: &'a [u8],
    /// The signature.
    pub(super) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes what was signed and its signature apart.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (whole, _) = next(bytes)?;
        let [content, algorithm, signature] = values(whole.content)?.try_into().ok()?;
        let (_, signature) = signature.content.split_first()?;
        Some(Self { content, algorithm: algorithm.content, signature })
    }
}

/// A certificate's parts (RFC 5280 section 4.1).
#[derive(Clone, Debug)]
pub(super) struct Parts<'a> {
    /// Its fields in order, from the version, which may be missing.
    pub(super) fields: Vec<Value<'a>>,
    /// Where the serial number stands among them: the others follow from there.
    serial: usize,
    /// How it is signed: the contents of the AlgorithmIdentifier.
    pub(super) algorithm: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes a certificate apart.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let Signed { content, algorithm, .. } = Signed::of(certificate)?;
        let fields = values(content.content)?;
        let serial = usize::from(fields.first()?.tag == VERSION);
        // Serial number, algorithm, issuer, validity, subject, public key.
        if fields.len() < serial + 6 {
            return None;
        }
        Some(Self { fields, serial, algorithm })
    }

    /// The contents of the serial number.
    pub(super) fn serial_number(&self) -> &'a [u8] {
        self.fields[self.serial].content
    }

    /// Where the issuer stands among the fields.
    pub(super) const fn issuer(&self) -> usize {
        self.serial + 2
    }

    /// The contents of the SubjectPublicKeyInfo.
    pub(super) fn public_key(&self) -> &'a [u8] {
        self.fields[self.serial + 5].content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let mut bytes = wrap(SEQUENCE, &content);
            let whole = bytes.clone();
            bytes.push(9);
            let (value, rest) = next(&bytes).unwrap();
            assert_eq!((value.tag, value.content, value.whole, rest), (SEQUENCE, &content[..], &whole[..], &[9][..]));
        }
        for broken in [&b""[..], b"\x30", b"\x30\x01", b"\x30\x80", b"\x30\x82\x01", b"\x30\x84\xff\xff\xff\xff"] {
            assert_eq!(next(broken), None, "{broken:?}");
        }
        assert_eq!(values(b"\x30\x00\x30"), None);
        assert!(Parts::of(b"\x30\x00").is_none());
    }
}
