//! How nginx and Tomcat's connector (Coyote) take a request off a connection, as small models of what their sources do: where
//! its lines end, which field says where its body ends, and where the next request begins. They are lenient where the two are.

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Nginx,
    Tomcat,
}

/// A request as a server sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) host: Option<String>,
    pub(crate) body: Vec<u8>,
    /// How many bytes it had.
    pub(crate) length: usize,
}

impl Server {
    /// The request that `bytes` begin with; `None` if the server refuses it.
    pub(crate) fn read(self, bytes: &[u8]) -> Option<Seen> {
        let mut rest = Rest { bytes, at: 0 };
        while matches!(rest.bytes.get(rest.at), Some(b'\r' | b'\n')) {
            rest.at += 1;
        }
        let line = rest.line()?;
        let (method, line) = line.split_once(' ')?;
        let (target, version) = line.rsplit_once(' ')?;
        if self == Self::Nginx && !method.bytes().all(|byte| byte.is_ascii_uppercase() || b"_-".contains(&byte)) {
            return None;
        }
        let is_spoken = match self {
            Self::Nginx => version.starts_with("HTTP/1."),
            Self::Tomcat => matches!(version, "HTTP/1.0" | "HTTP/1.1"),
        };
        let fields = self.fields(&mut rest)?;
        let values = |name: &str| -> Vec<&str> {
            fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
        };
        let hosts = values("host");
        if !is_spoken || hosts.len() > 1 || hosts.is_empty() && version != "HTTP/1.0" {
            return None;
        }
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        let body = match (self, lengths.as_slice(), codings.as_slice()) {
            (_, [], []) => Vec::new(),
            (_, [length], []) => rest.take(length.parse().ok()?)?,
            (Self::Nginx, [], [coding]) if version != "HTTP/1.0" => {
                if !coding.eq_ignore_ascii_case("chunked") {
                    return None;
                }
                rest.chunks()?
            }
            (Self::Nginx, ..) => return None,
            // What stands in several fields is one list, whose last member counts, and more than Content-Length.
            (Self::Tomcat, [] | [_], [.., last]) => match last.rsplit(',').next().map(str::trim) {
                Some(coding) if coding.eq_ignore_ascii_case("chunked") => rest.chunks()?,
                Some(_) | None => return None,
            },
            (Self::Tomcat, ..) => return None,
        };
        let target = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => &rest[rest.find('/')?..],
            Some(_) | None => target,
        };
        let host = hosts.first().map(|host| (*host).to_owned());
        Some(Seen { method: method.to_owned(), target: target.to_owned(), host, body, length: rest.at })
    }

    fn fields(self, rest: &mut Rest<'_>) -> Option<Vec<(String, String)>> {
        let mut fields: Vec<(String, String)> = Vec::new();
        loop {
            let line = rest.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            if self == Self::Tomcat && line.starts_with([' ', '\t']) {
                fields.last_mut()?.1.push_str(&line);
                continue;
            }
            // nginx leaves a line out that it can't read, Tomcat one whose name is no token.
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.is_empty() || name.contains([' ', '\t']) {
                continue;
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }
}

struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    /// Up to the next LF, without that and without a CR before it. Bytes are characters here.
    fn line(&mut self) -> Option<String> {
        let length = self.bytes[self.at..].iter().position(|&byte| byte == b'\n')?;
        let line = &self.bytes[self.at..self.at + length];
        self.at += length + 1;
        Some(line.strip_suffix(b"\r").unwrap_or(line).iter().map(|&byte| char::from(byte)).collect())
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?.to_vec();
        self.at += length;
        Some(taken)
    }

    /// Sizes up to anything that is no digit, data, and what follows the last chunk up to an empty line.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits: String = line.chars().take_while(char::is_ascii_hexdigit).collect();
            let size = usize::from_str_radix(&digits, 16).ok()?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Some(body);
            }
            body.extend(self.take(size)?);
            if !self.line()?.is_empty() {
                return None;
            }
        }
    }
}
