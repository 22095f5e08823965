//! The naive reading of a chunked body: whole lines of a whole buffer, no states. Separate from what it judges, so that
//! the two share nothing but the outcome's type.

use crate::http1::head::{Fields, Sender};

/// What a chunked body held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::http1) struct Body {
    chunks: Vec<Chunk>,
    outcome: Outcome,
}

#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    announced: u64,
    data: Vec<u8>,
    complete: Complete,
}

#[derive(Debug, PartialEq, Eq)]
enum Complete {
    No,
    Yes,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Outcome {
    #[default]
    Open,
    Malformed,
    Ended {
        trailers: Lines,
        used: usize,
    },
}

impl Body {
    pub(super) fn begin(&mut self, announced: u64) {
        self.chunks.push(Chunk { announced, data: Vec::new(), complete: Complete::No });
    }

    pub(super) fn extend(&mut self, data: &[u8]) {
        assert!(!data.is_empty());
        self.chunks.last_mut().expect("data comes in a chunk").data.extend_from_slice(data);
    }

    pub(super) fn finish(&mut self) {
        self.chunks.last_mut().expect("a chunk began before it ended").complete = Complete::Yes;
    }

    pub(super) fn is_malformed(&self) -> bool {
        self.outcome == Outcome::Malformed
    }

    pub(super) fn malformed(self) -> Self {
        Self { outcome: Outcome::Malformed, ..self }
    }

    pub(super) fn ended(self, trailers: &Fields, used: usize) -> Self {
        let trailers = trailers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        Self { outcome: Outcome::Ended { trailers, used }, ..self }
    }
}

/// Reads `body`, which may be cut off anywhere.
pub(super) fn decode(body: &[u8], sender: Sender) -> Body {
    let mut read = Body::default();
    let mut rest = body;
    loop {
        let Some(line) = find(rest, b"\r\n") else {
            return if may_become_size(rest, sender) { read } else { read.malformed() };
        };
        let Some(size) = size(&rest[..line], sender) else { return read.malformed() };
        rest = &rest[line + 2..];
        if size == 0 {
            return match trailers(rest, sender) {
                Some(Ok((fields, length))) => {
                    let used = body.len() - rest.len() + length;
                    Body { outcome: Outcome::Ended { trailers: fields, used }, ..read }
                }
                Some(Err(())) => read.malformed(),
                None => read,
            };
        }
        read.begin(size);
        let data = &rest[..rest.len().min(usize::try_from(size).unwrap_or(usize::MAX))];
        if !data.is_empty() {
            read.extend(data);
        }
        rest = &rest[data.len()..];
        if (data.len() as u64) < size || rest.is_empty() || rest == b"\r" {
            return read;
        }
        let Some(after) = rest.strip_prefix(b"\r\n") else { return read.malformed() };
        read.finish();
        rest = after;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn size(line: &[u8], sender: Sender) -> Option<u64> {
    let digits = match sender {
        Sender::Client => line,
        Sender::Xsp => {
            let end = line.iter().position(|byte| b" \t;".contains(byte)).unwrap_or(line.len());
            let (digits, rest) = line.split_at(end);
            let extension = trim(rest);
            let sound = rest.len() <= 1024 && is_text(rest) && (extension.is_empty() || extension.starts_with(b";"));
            sound.then_some(digits)?
        }
    };
    let digits = str::from_utf8(digits).ok()?;
    let plain = digits.len() <= 16 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| plain)
}

fn may_become_size(rest: &[u8], sender: Sender) -> bool {
    let line = rest.strip_suffix(b"\r").unwrap_or(rest);
    rest.is_empty() || size(line, sender).is_some()
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;
type Trailers = (Lines, usize);

/// The trailers and the length of their section; `None` while it is open.
fn trailers(section: &[u8], sender: Sender) -> Option<Result<Trailers, ()>> {
    let mut fields = Lines::new();
    let mut rest = section;
    while let Some(line) = find(rest, b"\r\n") {
        if line == 0 {
            let used = section.len() - rest.len() + 2;
            let late = fields.iter().any(|(name, _)| is_late(name));
            if used > 8192 || late && sender == Sender::Client {
                return Some(Err(()));
            }
            fields.retain(|(name, _)| !is_late(name));
            return Some(Ok((fields, used)));
        }
        if folds(rest, &fields, sender) {
            if !is_text(&rest[..line]) {
                return Some(Err(()));
            }
            let (_, value) = fields.last_mut()?;
            *value = trim(&[value.as_slice(), b" ", &trim(&rest[..line])].concat());
        } else {
            let Some(field) = field(&rest[..line], sender) else { return Some(Err(())) };
            fields.push(field);
        }
        if fields.len() > 32 {
            return Some(Err(()));
        }
        rest = &rest[line + 2..];
    }
    let open = rest.strip_suffix(b"\r").unwrap_or(rest);
    let is_fold = folds(rest, &fields, sender);
    let fits = match rest.contains(&b':') {
        _ if is_fold => is_text(open),
        true => field(open, sender).is_some(),
        false => rest == open && is_open_name(rest, sender) || rest == b"\r",
    };
    let starts_too_many = fields.len() == 32 && !open.is_empty() && !is_fold;
    (!fits || starts_too_many || section.len() >= 8192).then_some(Err(()))
}

fn folds(rest: &[u8], fields: &Lines, sender: Sender) -> bool {
    sender == Sender::Xsp && !fields.is_empty() && rest.first().is_some_and(|byte| b" \t".contains(byte))
}

fn is_open_name(rest: &[u8], sender: Sender) -> bool {
    let name = match sender {
        Sender::Client => rest.to_vec(),
        Sender::Xsp => trim_end(rest),
    };
    name.iter().all(|&byte| is_name(byte)) && (rest.is_empty() || !name.is_empty())
}

fn field(line: &[u8], sender: Sender) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let name = if sender == Sender::Xsp { trim_end(name) } else { name.to_vec() };
    let sound = !name.is_empty() && name.iter().all(|&byte| is_name(byte)) && is_text(value);
    sound.then(|| (name, trim(value)))
}

fn is_text(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control())
}

fn trim_end(value: &[u8]) -> Vec<u8> {
    let end = value.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
    value[..end].to_vec()
}

fn trim(value: &[u8]) -> Vec<u8> {
    let is_text = |&byte: &u8| byte != b' ' && byte != b'\t';
    let Some(start) = value.iter().position(is_text) else { return Vec::new() };
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    value[start..end].to_vec()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte)
}

fn is_late(name: &[u8]) -> bool {
    const LATE: &str = " authorization connection content-encoding content-length content-range content-type cookie \
        expect forwarded host keep-alive proxy-authenticate proxy-authorization proxy-connection set-cookie te trailer \
        transfer-encoding upgrade www-authenticate ";
    let name = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
    LATE.contains(&format!(" {name} ")) || name.starts_with("x-forwarded-")
}
