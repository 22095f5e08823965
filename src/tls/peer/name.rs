//! Names of certificates as text, for messages and logs. Separate from what is decided by them, because that never looks at the
//! text; who reads it must not take one name for another, though, so that it is escaped as RFC 4514 says.

use x509_parser::asn1_rs::{Any, BmpString, Tag, ToDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Whose certificate it is, and never nothing: its subject, such as `CN=bwcticlient.webex.com`; if that is empty, its first
/// DNS name as `DNS:bwcticlient.webex.com`; without one, its serial number.
pub(super) fn owner(certificate: &X509Certificate<'_>) -> String {
    let subject = text(certificate.subject());
    if !subject.is_empty() {
        return subject;
    }
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let mut names = alternatives.iter().flat_map(|names| &names.value.general_names);
    let dns_name = names.find_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    match dns_name {
        Some(name) => format!("DNS:{}", escaped(name)),
        None => format!("serial:{}", super::serial(certificate.raw_serial())),
    }
}

/// A name in the order of the certificate, such as `C=US, O=Example, CN=xsp.example.com`.
pub(in crate::tls) fn text(name: &X509Name<'_>) -> String {
    let parts = name.iter().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join(" + "));
    parts.collect::<Vec<_>>().join(", ")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    let kind = oid2abbrev(kind, oid_registry()).map_or_else(|_| kind.to_id_string(), str::to_owned);
    format!("{kind}={}", value(attribute.attr_value()))
}

/// What is no text, or none that can be read, by its bytes (RFC 4514 section 2.4).
fn value(value: &Any<'_>) -> String {
    let hexadecimal = || {
        let der = value.to_der_vec().unwrap_or_default();
        der.iter().fold("#".to_owned(), |text, byte| format!("{text}{byte:02X}"))
    };
    string(value).map_or_else(hexadecimal, |text| escaped(&text))
}

fn string(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::BmpString => BmpString::try_from(value.clone()).ok().map(|text| text.string()),
        Tag::NumericString
        | Tag::VisibleString
        | Tag::PrintableString
        | Tag::GeneralString
        | Tag::ObjectDescriptor
        | Tag::GraphicString
        | Tag::T61String
        | Tag::VideotexString
        | Tag::Utf8String
        | Tag::Ia5String => str::from_utf8(value.data).ok().map(str::to_owned),
        _ => None,
    }
}

/// As RFC 4514 section 2.4 says.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        match character {
            '\0' => {
                escaped.push_str("\\00");
                continue;
            }
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.push('\\'),
            ' ' | '#' if at == 0 => escaped.push('\\'),
            ' ' if at + 1 == text.len() => escaped.push('\\'),
            _ => {}
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::FromDer;

    use super::*;
    use crate::tls::der::{SEQUENCE, wrap};

    const SET: u8 = 0x31;
    const OID: u8 = 6;
    const CN: [u8; 3] = [0x55, 4, 3];
    const O: [u8; 3] = [0x55, 4, 10];

    /// An attribute's type, and tag and content of its value.
    type Attribute<'a> = ([u8; 3], u8, &'a [u8]);

    /// A name of these parts, each of one or more attributes.
    fn told(parts: &[&[Attribute<'_>]]) -> String {
        let attribute =
            |(kind, tag, content): &Attribute<'_>| wrap(SEQUENCE, &[wrap(OID, kind), wrap(*tag, content)].concat());
        let part = |part: &&[Attribute<'_>]| wrap(SET, &part.iter().flat_map(attribute).collect::<Vec<_>>());
        let der = wrap(SEQUENCE, &parts.iter().flat_map(part).collect::<Vec<_>>());
        text(&X509Name::from_der(&der).unwrap().1)
    }

    #[test]
    fn a_part_of_several_attributes_is_no_two_parts() {
        assert_eq!(told(&[&[(CN, 12, b"a"), (O, 12, b"b")]]), "CN=a + O=b");
        assert_eq!(told(&[&[(CN, 12, b"a")], &[(O, 12, b"b")]]), "CN=a, O=b");
        assert_eq!(told(&[]), "");
    }

    #[test]
    fn what_is_no_text_is_told_by_its_bytes() {
        for (tag, content, expected) in [
            (30, &b"\0a\0,"[..], "CN=a\\,"),
            (20, b"Jos\xc3\xa9", "CN=Jos\u{e9}"),
            (20, b"Jos\xe9", "CN=#14044A6F73E9"),
            (12, b"\xff", "CN=#0C01FF"),
            (28, b"\0\0\0a", "CN=#1C0400000061"),
            (2, b"\x05", "CN=#020105"),
            (12, b"#020105", "CN=\\#020105"),
        ] {
            assert_eq!(told(&[&[(CN, tag, content)]]), expected);
        }
    }
}
