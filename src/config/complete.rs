//! The complete file, key for key: what stands there, and what its comments say. Separate from reading, because here comments
//! count, and names stand for any name.

/// The complete file: every key with its unit, range and default. `xspgate check --print-defaults` prints it.
pub const COMPLETE: &str = include_str!("../../config/xspgate.toml");

/// A section's header, or a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The header above, with NAME for the names in it: `[[farm.NAME.site]]`; empty at the top.
    header: String,
    /// `None`: the header itself.
    pub key: Option<&'static str>,
    /// The comment above, on one line.
    pub about: String,
    /// `key = value` as it could be read.
    line: String,
    /// What the value is there for.
    pub standing: Standing,
}

/// What a value in the complete file is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no default.
    InForce,
    /// It is the default.
    Default,
    /// It is an example of what has no default.
    Example,
}

impl Entry {
    /// The header as it is written: `[[farm.NAME.site]]`; empty at the top.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The section without brackets: `farm.NAME.site`.
    pub(super) fn section(&self) -> &str {
        self.header.trim_matches(['[', ']'])
    }

    /// The key's value.
    pub fn value(&self) -> Option<toml::Value> {
        toml::from_str::<toml::Table>(&self.line).ok()?.remove(self.key?)
    }
}

/// What the complete file says of itself before its first key: one paragraph an element.
pub fn preface() -> Vec<String> {
    let comments = COMPLETE.lines().map_while(|line| line.strip_prefix('#'));
    let mut paragraphs = vec![String::new()];
    for line in comments {
        match line.strip_prefix(' ') {
            Some(text) if !text.starts_with("  ") => paragraphs.last_mut().expect("there is one").extend([text, " "]),
            Some(_) | None => paragraphs.push(String::new()),
        }
    }
    paragraphs.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

/// Every header and key, in order.
pub fn entries() -> Vec<Entry> {
    let (mut entries, mut header, mut about) = (Vec::<Entry>::new(), String::new(), Vec::new());
    let mut lines = COMPLETE.lines();
    while let Some(line) = lines.next() {
        let (standing, rest) = standing(line);
        let mut entry = |header: &str, key| Entry {
            header: header.to_owned(),
            key,
            about: std::mem::take(&mut about).join(" "),
            line: rest.to_owned(),
            standing,
        };
        if let Some(word) = line.split_whitespace().next().filter(|word| word.starts_with('[')) {
            header = general(word);
            entries.push(entry(&header, None));
        } else if let Some(key) = assigned(rest) {
            let mut entry = entry(&header, Some(key));
            if rest.ends_with('[') {
                let within = lines.by_ref().map(|line| self::standing(line).1);
                entry.line.extend(within.take_while(|line| *line != "]").chain(["]"]));
            }
            entries.push(entry);
        } else if let Some(comment) = line.strip_prefix("# ") {
            about.push(comment);
        } else {
            about.clear();
        }
    }
    entries
}

/// The sections that have a key, as they are written, with NAME for the names in them.
pub(super) fn sections_with(key: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for entry in entries().into_iter().filter(|entry| entry.key == Some(key)) {
        let section = match entry.header.as_str() {
            "" => "the top of the file".to_owned(),
            header => format!("`{header}`"),
        };
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    sections
}

fn standing(line: &str) -> (Standing, &str) {
    if let Some(rest) = line.strip_prefix("# e.g. ") {
        return (Standing::Example, rest);
    }
    line.strip_prefix("# ").map_or((Standing::InForce, line), |rest| (Standing::Default, rest))
}

/// The key, if that is `key = value`.
fn assigned(text: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.split_once(" = ").map(|(key, _)| key).filter(|key| !key.is_empty() && key.bytes().all(plain))
}

/// `[farm.xsp.pool]` -> `[farm.NAME.pool]`.
fn general(header: &str) -> String {
    let parts = header.split('.').collect::<Vec<_>>();
    let named = match parts[0].trim_start_matches('[') {
        "farm" | "certificate" | "trust" => 1,
        "https" => 2,
        _ => usize::MAX,
    };
    let general = parts.iter().enumerate().map(|(index, part)| match (index == named, part.find(']')) {
        (true, Some(end)) => format!("NAME{}", &part[end..]),
        (true, None) => "NAME".to_owned(),
        (false, _) => (*part).to_owned(),
    });
    general.collect::<Vec<_>>().join(".")
}
