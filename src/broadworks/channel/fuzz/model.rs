//! The naive reading of a channel's stream: the whole of it at hand, and a search for each end. Separate from what it judges,
//! so that the two share nothing.

const MARK: &[u8] = "\u{feff}".as_bytes();
/// Longer ones are left to the other tests: values have a limit.
const LONGEST: usize = 4096;

/// The documents of a stream, without the whitespace around them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Documents {
    pub(super) whole: Vec<Vec<u8>>,
    /// What follows is no document.
    pub(super) as_is: bool,
}

/// What stands for a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    /// In their order; `None`: no plain value.
    pub(super) values: Vec<Option<Vec<u8>>>,
    /// It is XML to its end.
    pub(super) readable: bool,
}

enum Item<'a> {
    Start(&'a [u8]),
    Empty(&'a [u8]),
    End,
    Text(&'a [u8]),
    Section(&'a [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Whole(usize),
    Open,
    Odd,
}

pub(super) fn documents(stream: &[u8]) -> Documents {
    let mut found = Documents::default();
    let mut rest = trimmed(stream);
    loop {
        match document(rest) {
            Outcome::Whole(end) => {
                found.whole.push(rest[..end].to_vec());
                rest = trimmed(&rest[end..]);
            }
            Outcome::Open => return found,
            Outcome::Odd => return Documents { as_is: true, ..found },
        }
    }
}

/// The values of elements called `name`; `None` for what is no XML, or too long.
pub(super) fn values(content: &[u8], name: &str) -> Option<Values> {
    let body = opened(content);
    if !body.starts_with(b"<") || content.len() > LONGEST {
        return None;
    }
    let (items, outcome) = items(body);
    let mut found = Values { values: Vec::new(), readable: outcome != Outcome::Odd };
    let mut value: Option<Vec<u8>> = None;
    for (_, item) in items {
        match (item, &mut value) {
            (Item::Start(_) | Item::Empty(_), Some(_)) => {
                found.values.push(None);
                value = None;
            }
            (Item::Start(other), None) => value = is_called(other, name).then(Vec::new),
            (Item::Empty(other), None) if is_called(other, name) => found.values.push(None),
            (Item::End, Some(characters)) => {
                found.values.push(plain(characters));
                value = None;
            }
            (Item::Text(text), Some(characters)) => characters.extend_from_slice(text),
            (Item::Section(text), Some(characters)) => {
                for byte in text {
                    characters.extend_from_slice(if *byte == b'&' { b"&amp;" } else { std::slice::from_ref(byte) });
                }
            }
            (Item::Empty(_) | Item::End | Item::Text(_) | Item::Section(_), None) => {}
        }
    }
    Some(found)
}

/// Without whitespace, a byte order mark, and whitespace again.
fn opened(bytes: &[u8]) -> &[u8] {
    let bytes = trimmed(bytes);
    bytes.strip_prefix(MARK).map_or(bytes, trimmed)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !b" \t\r\n".contains(byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn document(bytes: &[u8]) -> Outcome {
    let bytes = trimmed(bytes);
    let body = opened(bytes);
    let skipped = bytes.len() - body.len();
    let outcome = match body.first() {
        None => return Outcome::Open,
        Some(b'<') => element(body),
        Some(b'{') => object(body),
        Some(_) if skipped == 0 && MARK.starts_with(body) => return Outcome::Open,
        Some(_) => return Outcome::Odd,
    };
    match outcome {
        Outcome::Whole(end) => Outcome::Whole(skipped + end),
        Outcome::Open | Outcome::Odd => outcome,
    }
}

fn object(body: &[u8]) -> Outcome {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (index, byte) in body.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Outcome::Whole(index + 1);
        }
    }
    Outcome::Open
}

fn element(body: &[u8]) -> Outcome {
    let (items, outcome) = items(body);
    let mut depth = 0;
    for (end, item) in items {
        match item {
            Item::Start(_) => depth += 1,
            Item::Empty(_) if depth == 0 => return Outcome::Whole(end),
            Item::End if depth == 1 => return Outcome::Whole(end),
            Item::End if depth == 0 => return Outcome::Odd,
            Item::End => depth -= 1,
            Item::Text(text) if depth == 0 && !trimmed(text).is_empty() => return Outcome::Odd,
            Item::Section(_) if depth == 0 => return Outcome::Odd,
            Item::Empty(_) | Item::Text(_) | Item::Section(_) => {}
        }
    }
    outcome
}

/// Everything that stands in the body, each with its end, and why there is no more.
fn items(body: &[u8]) -> (Vec<(usize, Item<'_>)>, Outcome) {
    let mut items = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let rest = &body[at..];
        let outcome = if rest[0] != b'<' {
            let end = find(rest, b"<", 0).map_or(rest.len(), |found| found - 1);
            items.push((at + end, Item::Text(&rest[..end])));
            Outcome::Whole(end)
        } else if rest.starts_with(b"<!--") {
            find(rest, b"-->", 4).map_or(Outcome::Open, Outcome::Whole)
        } else if rest.starts_with(b"<![CDATA[") {
            let end = find(rest, b"]]>", 9);
            let text = &rest[9..end.map_or(rest.len(), |end| end - 3)];
            items.push((at + end.unwrap_or(rest.len()), Item::Section(text)));
            end.map_or(Outcome::Open, Outcome::Whole)
        } else if rest.starts_with(b"<?") {
            find(rest, b"?>", 2).map_or(Outcome::Open, Outcome::Whole)
        } else if rest.starts_with(b"</") {
            match (find(rest, b">", 2), find(rest, b"<", 2)) {
                (Some(end), other) if other.is_none_or(|other| other > end) => {
                    items.push((at + end, Item::End));
                    Outcome::Whole(end)
                }
                (None, None) => Outcome::Open,
                _ => Outcome::Odd,
            }
        } else if b"<!--".starts_with(rest) || b"<![CDATA[".starts_with(rest) {
            Outcome::Open
        } else if rest.starts_with(b"<!") {
            Outcome::Odd
        } else {
            let (outcome, item) = start(rest);
            if let (Outcome::Whole(end), Some(item)) = (outcome, item) {
                items.push((at + end, item));
            }
            outcome
        };
        match outcome {
            Outcome::Whole(end) => at += end,
            Outcome::Open | Outcome::Odd => return (items, outcome),
        }
    }
    (items, Outcome::Open)
}

fn start(tag: &[u8]) -> (Outcome, Option<Item<'_>>) {
    let length = tag[1..].iter().position(|byte| b" \t\r\n/><=\"'&".contains(byte)).unwrap_or(tag.len() - 1);
    let name = &tag[1..=length];
    if name.is_empty() {
        return (Outcome::Odd, None);
    }
    let mut at = length + 1;
    while let Some(byte) = tag.get(at) {
        at += 1;
        match byte {
            b'>' => return (Outcome::Whole(at), Some(Item::Start(name))),
            b'<' => return (Outcome::Odd, None),
            b'/' if tag.get(at) == Some(&b'>') => return (Outcome::Whole(at + 1), Some(Item::Empty(name))),
            b'/' if tag.len() > at => return (Outcome::Odd, None),
            b'"' | b'\'' => match find(tag, &[*byte], at) {
                Some(end) => at = end,
                None => return (Outcome::Open, None),
            },
            _ => {}
        }
    }
    (Outcome::Open, None)
}

/// The end of the first `word` from `from` on.
fn find(bytes: &[u8], word: &[u8], from: usize) -> Option<usize> {
    let found = bytes[from..].windows(word.len()).position(|window| window == word);
    found.map(|at| from + at + word.len())
}

fn is_called(tag: &[u8], name: &str) -> bool {
    let own = tag.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    own.eq_ignore_ascii_case(name.as_bytes())
}

/// Characters with their references resolved.
fn plain(characters: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8(characters.to_vec());
    let text = text.unwrap_or_else(|_| characters.iter().map(|byte| char::from(*byte)).collect());
    let mut parts = text.trim_matches([' ', '\t', '\r', '\n']).split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part.split_once(';')?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "#233" => '\u{e9}',
            _ => return None,
        });
        out.push_str(after);
    }
    Some(out.into_bytes())
}
