//! Reads along on the answer to a channel request until it knows the channel's id. Separate from the cutting of documents,
//! because it ends with the first of them and costs nothing from then on.

use std::borrow::Cow;

use super::ChannelId;
use super::search::{Hit, Search};

/// How far into a stream an id is looked for. It stands in the first few hundred bytes.
const FARTHEST: usize = 64 * 1024;

/// Looks for the first `channelId` of a stream, in XML or JSON, in UTF-8, ISO-8859-1 or UTF-16.
#[derive(Debug)]
pub struct Finder(Option<Box<Reading>>);

#[derive(Debug)]
struct Reading {
    search: Search,
    /// Bytes up to [`FARTHEST`].
    left: usize,
}

/// What a [`Finder`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet: it wants to see what comes next.
    Searching,
    /// The channel's id, told once.
    Id(ChannelId),
    /// There is nothing more to tell: the id has been told, or 64 KiB have shown none, or this is neither XML nor JSON,
    /// or what is called a `channelId` there is none.
    GivenUp,
}

impl Finder {
    /// At the start of a response's content.
    pub fn new() -> Self {
        Self(Some(Box::new(Reading { search: Search::new("channelId"), left: FARTHEST })))
    }

    /// Reads the next bytes of the content. After anything but [`Found::Searching`] it holds no memory, and there is no
    /// need to go on.
    pub fn read(&mut self, bytes: &[u8]) -> Found {
        let Some(reading) = &mut self.0 else { return Found::GivenUp };
        let bytes = &bytes[..bytes.len().min(reading.left)];
        let text = narrow(bytes, FARTHEST - reading.left);
        reading.left -= bytes.len();
        let found = match reading.search.read(&text).1 {
            None if reading.left > 0 => return Found::Searching,
            Some(Hit::Value(value)) => ChannelId::new(value.as_bytes()).map_or(Found::GivenUp, Found::Id),
            None | Some(Hit::NoValue | Hit::Unreadable) => Found::GivenUp,
        };
        self.0 = None;
        found
    }
}

/// UTF-16 without what makes it wide, and any other text as it is; `begun` bytes came before. Markup and ids are ASCII, of
/// which UTF-16 has one byte of each character, and a zero for the other.
fn narrow(bytes: &[u8], begun: usize) -> Cow<'_, [u8]> {
    let is_mark = |index: usize, byte: u8| begun + index < 2 && matches!(byte, 0xfe | 0xff);
    let is_marked = bytes.iter().take(2).enumerate().any(|(index, byte)| is_mark(index, *byte));
    if !is_marked && memchr::memchr(0, bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let kept = bytes.iter().enumerate().filter(|(index, byte)| **byte != 0 && !is_mark(*index, **byte));
    Cow::Owned(kept.map(|(_, byte)| *byte).collect())
}

impl Default for Finder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

    /// The result on the whole, which is the same in pieces of any size.
    fn find(bytes: &[u8]) -> Found {
        let whole = Finder::new().read(bytes);
        for step in 1..bytes.len().min(80) {
            let mut finder = Finder::new();
            let results = bytes.chunks(step).map(|piece| finder.read(piece));
            let first = results.into_iter().find(|found| *found != Found::Searching);
            assert_eq!(first.unwrap_or(Found::Searching), whole, "in steps of {step}");
        }
        whole
    }

    fn id(text: &str) -> Found {
        Found::Id(ChannelId::new(text.as_bytes()).unwrap())
    }

    #[test]
    fn r_aff_2_the_id_is_found_however_the_document_is_written() {
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        for document in [
            "<Channel xmlns=\"http://schema.broadsoft.com/xsi\"><channelId>ID</channelId><expires>86400</expires></Channel>",
            "<xsi:Channel xmlns:xsi=\"http://schema.broadsoft.com/xsi\">\r\n\t<xsi:channelId>\r\n\t\tID\r\n\t</xsi:channelId>\r\n</xsi:Channel>",
            "<Channel a='<channelId>' b=\"><channelId>1</channelId>\"><channelSetId>2</channelSetId><channelId c='>' >ID</channelId >",
            "<!-- <channelId>1</channelId> --><Channel><![CDATA[<channelId>2</channelId>]]><channelId><!--3-->ID<?4?></channelId>",
            "<Channel><channelId><![CDATA[ID]]></channelId>",
            "<Channel><channelid>ID</channelid>",
            "<c:channelId:channelId>ID</c>",
        ] {
            let document = document
                .replace("ID<", &format!("{ID}<"))
                .replace("ID\r", &format!("{ID}\r"))
                .replace("[ID]", &format!("[{ID}]"));
            assert_eq!(find(document.as_bytes()), id(ID), "{document}");
            assert_eq!(find(format!("{declaration}{document}").as_bytes()), id(ID), "{document}");
            assert_eq!(find(format!("\u{feff}{declaration}{document}").as_bytes()), id(ID), "{document}");
            assert_eq!(find(format!("\r\n {document}").as_bytes()), id(ID), "{document}");
        }
    }

    #[test]
    fn r_aff_2_the_id_is_found_in_json() {
        for (document, expected) in [
            (r#"{"Channel":{"channelId":{"$":"1-a"},"expires":{"$":"86400"}}}"#, id("1-a")),
            (r#"{ "Channel" : { "channelId" : "1-a" } }"#, id("1-a")),
            ("\u{feff}\r\n{\"channelId\"\r\n:\t\"1-a\"}", id("1-a")),
            (r#"{"channel\u0049d":"\u0031\u002da\"\/\ud83d\udcde"}"#, id("1-a\"/\u{1f4de}")),
            (r#"{"a":"channelId","b":["channelId","channelId"],"c":"{\"channelId\":\"2\"}","channelId":"1"}"#, id("1")),
            (r#"{"channelId":{"@a":"$","b":{"$":"2"},"c":[{"$":"3"}],"$":"1"}}"#, id("1")),
            (r#"{"channelId":{"@a":"$","$":"1"}}"#, id("1")),
            (r#"{"channelId":1}"#, Found::GivenUp),
            (r#"{"channelId":null,"channelId":"1"}"#, Found::GivenUp),
            (r#"{"channelId":["1"]}"#, Found::GivenUp),
            (r#"{"channelId":{"a":"1"}}"#, Found::GivenUp),
            (r#"{"channelId":{"$":{"$":"1"}}}"#, Found::GivenUp),
            (r#"{"channelId":""}"#, Found::GivenUp),
            (r#"{"channelId":"\x"}"#, Found::GivenUp),
            (r#"{"channelId":"1"#, Found::Searching),
            (r#"{"Channel":{}}"#, Found::Searching),
        ] {
            assert_eq!(find(document.as_bytes()), expected, "{document}");
        }
    }

    #[test]
    fn r_aff_2_the_id_is_found_in_utf_16() {
        for document in [
            format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<Channel><channelId>{ID}</channelId></Channel>"),
            format!("{{\"Channel\":{{\"channelId\":{{\"$\":\"{ID}\"}}}}}}"),
        ] {
            for mark in ["\u{feff}", ""] {
                let units: Vec<u16> = format!("{mark}{document}").encode_utf16().collect();
                let [big, little] =
                    [u16::to_be_bytes, u16::to_le_bytes].map(|bytes| units.iter().copied().flat_map(bytes));
                assert_eq!(find(&big.collect::<Vec<_>>()), id(ID), "{document}");
                assert_eq!(find(&little.collect::<Vec<_>>()), id(ID), "{document}");
            }
        }
        assert_eq!(find(b"\x1f\x8b\x08\0\0<channelId>1</channelId>"), Found::GivenUp);
    }

    #[test]
    fn references_and_encodings_make_no_difference() {
        for (value, expected) in [
            (&b"a&amp;b"[..], "a&b"),
            (b"<![CDATA[a&amp;b]]>&#x21;<![CDATA[]]]]>", "a&amp;b!]]"),
            (b"\xe9", "\u{e9}"),
            (b"\xc3\xa9", "\u{e9}"),
            (b"&#233;\xe9", "\u{e9}\u{e9}"),
            (b"a b", "a b"),
        ] {
            assert_eq!(find(&[b"<a><channelId>", value, b"</channelId>"].concat()), id(expected), "{expected}");
        }
        assert_eq!(find(b"{\"channelId\":\"\xe9\\u00e9\"}"), id("\u{e9}\u{e9}"));
    }

    #[test]
    fn what_is_no_id_ends_the_search() {
        for document in [
            "<channelId/>",
            "<channelId></channelId>",
            "<channelId> \n</channelId>",
            "<channelId>1<a/></channelId>",
            "<channelId>1<a>",
            "<channelId>1&nbsp;2</channelId>",
            "<channelId>1\n2</channelId>",
            "<!DOCTYPE html><channelId>1</channelId>",
            "HTTP",
            "[\"channelId\"]",
            "\u{fffd}<channelId>1</channelId>",
            "\u{feff}\u{feff}<channelId>1</channelId>",
        ] {
            assert_eq!(find(document.as_bytes()), Found::GivenUp, "{document}");
        }
        for (length, found) in [(256, id(&"x".repeat(256))), (257, Found::GivenUp), (5000, Found::GivenUp)] {
            assert_eq!(find(format!("<channelId>{}</channelId>", "x".repeat(length)).as_bytes()), found);
            assert_eq!(find(format!("{{\"channelId\":\"{}\"}}", "x".repeat(length)).as_bytes()), found);
        }
        let longest = format!("{{\"channelId\":\"{}\"}}", r"\ud83d\udcde".repeat(256));
        assert_eq!(find(longest.as_bytes()), id(&"\u{1f4de}".repeat(256)));
    }

    #[test]
    fn the_search_ends_after_64_kib() {
        for (filler, expected) in [(0, id("1")), (1, Found::GivenUp)] {
            let mut document = format!("<!--{}", "x".repeat(FARTHEST + filler)).into_bytes();
            let end = b"--><channelId>1</channelId>";
            document.truncate(FARTHEST + filler - end.len());
            document.extend_from_slice(end);
            assert_eq!(find(&document), expected);
            document.extend_from_slice(b"more");
            assert_eq!(find(&document), expected);
        }
        let mut finder = Finder::new();
        assert_eq!(finder.read(&vec![b' '; FARTHEST - 1]), Found::Searching);
        assert_eq!(finder.read(b" "), Found::GivenUp);
        assert_eq!(finder.read(b"<channelId>1</channelId>"), Found::GivenUp);
    }

    #[test]
    fn an_id_is_told_once_and_nothing_is_held_then() {
        let mut finder = Finder::new();
        assert_eq!(finder.read(b"<channelId>1</channelId><channelId>2</channelId>"), id("1"));
        assert!(finder.0.is_none());
        assert_eq!(finder.read(b"<channelId>2</channelId>"), Found::GivenUp);
        assert_eq!(size_of::<Finder>(), size_of::<usize>());
        assert!(size_of::<Reading>() <= 96, "{}", size_of::<Reading>());
    }
}
