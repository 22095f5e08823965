//! What must hold for any bytes at all on a channel's stream, one function for each fuzz target. They stand in the library
//! because every run of the tests feeds them too; a plain build has none of them.

use super::ChannelId;
use super::documents::{Cut, Documents, LONGEST};
use super::event::{EventId, event_ids};
use super::finder::{Finder, Found};

mod model;

/// The answer to a channel request behind one byte that says how it is split: in pieces of any size it shows the same
/// id, and if it is XML, the one that a naive reader of the whole finds.
pub fn channel_id(data: &[u8]) {
    let Some((&step, content)) = data.split_first() else { return };
    let whole = find([content].into_iter());
    for step in [usize::from(step).max(1), 1] {
        assert_eq!(find(content.chunks(step)), whole, "in steps of {step}");
    }
    // UTF-16 is read, too, by what it has of ASCII.
    let is_narrow = |(index, byte): &(usize, &u8)| **byte != 0 && !(*index < 2 && matches!(byte, 0xfe | 0xff));
    let content: Vec<u8> = content.iter().enumerate().filter(is_narrow).map(|(_, byte)| *byte).collect();
    if let Some(expected) = model::values(&content, "channelId") {
        let expected = match expected.values.first() {
            Some(value) => value.as_ref().and_then(|value| ChannelId::new(value)).map_or(Found::GivenUp, Found::Id),
            None if expected.readable => Found::Searching,
            None => Found::GivenUp,
        };
        assert_eq!(whole, expected);
    }
}

/// Any bytes as a stream, likewise: in pieces of any size it gives the documents that a naive reader of the whole finds,
/// and all pieces together are the stream.
pub fn documents(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let whole = cut([stream].into_iter());
    if stream.len() < LONGEST {
        assert_eq!(whole, model::documents(stream));
    }
    for step in [usize::from(step).max(1), 1] {
        assert_eq!(cut(stream.chunks(step)), whole, "in steps of {step}");
    }
}

/// Any bytes as an event: if it is XML, the ids in it are those that a naive reader finds.
pub fn events(data: &[u8]) {
    let found: Vec<EventId> = event_ids(data).collect();
    if let Some(expected) = model::values(data, "eventID") {
        let expected = expected.values.iter().flatten().filter_map(|value| EventId::new(value));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

/// What is found, piece by piece; no more is told after that.
fn find<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Found {
    let mut finder = Finder::new();
    let mut found = Found::Searching;
    for piece in pieces {
        let more = finder.read(piece);
        match found {
            Found::Searching => found = more,
            Found::Id(_) | Found::GivenUp => assert_eq!(more, Found::GivenUp),
        }
    }
    found
}

/// Cuts a stream as a connection does: what is in no document yet stays, and comes again before what follows.
fn cut<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> model::Documents {
    let mut documents = Documents::new();
    let mut found = model::Documents::default();
    let (mut came, mut left, mut pending) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        came.extend_from_slice(piece);
        pending.extend_from_slice(piece);
        loop {
            let taken = match documents.cut(&pending) {
                Cut::Document(end) => {
                    found.whole.push(pending[..end].trim_ascii().to_vec());
                    end
                }
                Cut::Blank(end) => {
                    assert!(pending[..end].trim_ascii().is_empty());
                    end
                }
                Cut::Incomplete => break,
                Cut::AsIs => {
                    found.as_is = true;
                    left.append(&mut pending);
                    break;
                }
            };
            assert!(taken > 0 && !found.as_is);
            left.extend(pending.drain(..taken));
        }
    }
    left.append(&mut pending);
    assert_eq!(left, came, "no byte is changed");
    found
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    const WORDS: &[&str] = &[
        "<channelId>",
        "</channelId>",
        "<xsi:channelId a='>'>",
        "<eventID>",
        "</eventID>",
        "<e:eventId\n>",
        "1f-2E",
        " ",
        "\n",
        "<a>",
        "</a>",
        "<a b=\"/>\"",
        "<a/>",
        "/>",
        ">",
        "<",
        "</",
        "<!--",
        "-->",
        "-",
        "<![CDATA[",
        "]]>",
        "]",
        "<?xml",
        "<?",
        "?>",
        "?",
        "&amp;",
        "&#233;",
        "&",
        ";",
        "\u{e9}",
        "\u{feff}",
        "'",
        "\"",
        "{",
        "}",
        "[",
        "]",
        "{\"channelId\":",
        "\"eventID\"",
        ":",
        ",",
        "\"$\":",
        "\"1\"",
        "\\",
        "\\u0031",
        "true",
        "<!DOCTYPE",
    ];

    const NAMES: &[&str] = &["a", "xsi:Event", "channelIdx", "b-c", "xsi:eventData"];
    const BETWEEN: &[&str] = &[
        "",
        "text",
        "\n  ",
        "<!-- </a> <a> -- > -->",
        "<![CDATA[</a>]] ]]]>",
        "<?p </a> ?>",
        "&lt;a>",
        "]]",
        "\u{e9}",
    ];
    const ATTRIBUTES: &[&str] = &["", " b=\"c\"", " b='/>'", " b=\"'></a>\"\n c = '\"'", " xmlns:xsi=\"http://a/\" "];
    const PROLOGS: &[&str] = &[
        "",
        "<?xml version=\"1.0\"?>",
        "<?xml version='1.0'?>\r\n<!-- <a> -->",
        "<?p?>",
        "\u{feff}<?xml version=\"1.0\"?>\n",
    ];

    fn element() -> impl Strategy<Value = String> {
        let leaf = (select(NAMES), select(ATTRIBUTES), select(BETWEEN), any::<bool>());
        let leaf = leaf.prop_map(|(name, attributes, text, empty)| match empty {
            true => format!("<{name}{attributes}/>"),
            false => format!("<{name}{attributes}>{text}</{name}>"),
        });
        leaf.prop_recursive(4, 24, 4, |inner| {
            let children = vec((select(BETWEEN), inner), 0..4);
            (select(NAMES), select(ATTRIBUTES), children, select(BETWEEN)).prop_map(
                |(name, attributes, children, last)| {
                    let children: String =
                        children.into_iter().map(|(between, child)| format!("{between}{child}")).collect();
                    format!("<{name}{attributes}>{children}{last}</{name} >")
                },
            )
        })
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i32>().prop_map(serde_json::Value::from),
            "[\"\\\\{}\\[\\]a\u{e9}$]{0,5}".prop_map(serde_json::Value::from),
            Just(serde_json::Value::from("channelId")),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                vec((name(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    fn name() -> impl Strategy<Value = String> {
        "[\"\\\\{}a$]{0,5}"
    }

    fn object() -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
        vec((name(), json()), 0..4).prop_map(|members| members.into_iter().collect())
    }

    fn written(value: &serde_json::Value, pretty: bool) -> String {
        if pretty { format!("{value:#}") } else { value.to_string() }
    }

    fn document() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => (select(PROLOGS), element()).prop_map(|(prolog, element)| format!("{prolog}{element}")),
            1 => (object(), any::<bool>()).prop_map(|(object, pretty)| written(&object.into(), pretty)),
        ]
    }

    fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
    }

    fn all(data: &[u8]) {
        channel_id(data);
        documents(data);
        events(data);
        events(data.get(1..).unwrap_or_default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_as_a_stream(data in vec(any::<u8>(), 0..300)) {
            all(&data);
            all(&[b"\x05<", &data[..]].concat());
            all(&[b"\x05{", &data[..]].concat());
        }

        #[test]
        fn likely_words_as_a_stream(words in vec(select(WORDS), 0..24), step in 0..9u8) {
            let words = words.concat();
            all(&[&[step], words.as_bytes()].concat());
            all(&[&[step][..], b"<a><channelId>", words.as_bytes(), b"</channelId></a>"].concat());
            all(&[&[step][..], b"<a><eventID>", words.as_bytes(), b"</eventID></a>"].concat());
            all(&[&[step][..], b"{\"channelId\":", words.as_bytes(), b"}"].concat());
        }

        #[test]
        fn well_formed_documents_are_found_exactly(
            whole in vec((document(), select(&["", "\n", " \r\n"][..])), 0..6),
            last in document(), end in any::<Index>(), cuts in vec(any::<Index>(), 0..8),
        ) {
            let mut stream: String = whole.iter().map(|(document, between)| format!("{document}{between}")).collect();
            let end = (0..=end.index(last.len())).rev().find(|end| last.is_char_boundary(*end)).unwrap_or_default();
            stream.push_str(&last[..end]);
            let found = cut(split(stream.as_bytes(), &cuts).into_iter());
            let expected: Vec<_> = whole.iter().map(|(document, _)| document.as_bytes().to_vec()).collect();
            prop_assert_eq!(found, model::Documents { whole: expected, as_is: false });
        }

        #[test]
        fn documents_that_come_one_by_one_leave_at_once(whole in vec(document(), 1..6)) {
            let mut documents = Documents::new();
            for document in whole {
                prop_assert_eq!(documents.cut(document.as_bytes()), Cut::Document(document.len()));
            }
        }

        #[test]
        fn r_aff_2_an_id_is_found_in_any_well_formed_xml(
            before in vec(element(), 0..3), prolog in select(PROLOGS), prefix in select(&["", "xsi:"][..]),
            attributes in select(ATTRIBUTES), id in "[!-;=?-~\u{e9}\u{1f4de}&&[^&]]{1,40}", blank in "[ \n\t]{0,3}",
            cuts in vec(any::<Index>(), 0..8),
        ) {
            let before = before.concat();
            let stream = format!(
                "{prolog}<{prefix}Channel>{before}<{prefix}channelId{attributes}>{blank}{id}{blank}</{prefix}channelId>more"
            );
            let expected = Found::Id(ChannelId::new(id.as_bytes()).expect("1 to 40 characters"));
            prop_assert_eq!(find(split(stream.as_bytes(), &cuts).into_iter()), expected);
        }

        #[test]
        fn r_aff_2_an_id_is_found_in_any_well_formed_json(
            before in object(), id in "[ -~\u{e9}\u{1f4de}]{1,40}", plain in any::<bool>(), pretty in any::<bool>(),
            cuts in vec(any::<Index>(), 0..8),
        ) {
            let value = if plain { id.clone().into() } else { serde_json::json!({ "@a": before, "$": id }) };
            let stream = written(&serde_json::json!({ "Channel": { "a": before, "channelId": value } }), pretty);
            let expected = Found::Id(ChannelId::new(id.as_bytes()).expect("1 to 40 characters"));
            prop_assert_eq!(find(split(stream.as_bytes(), &cuts).into_iter()), expected);
        }
    }
}
