//! Paths: of files on this machine, and of URLs. Separate from names, because their case counts.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::policy::route::PathPrefix;

use super::{Leaf, Refusal, leaves, matching, quoted};

/// A file or folder on this machine; relative ones start from the configuration file's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

/// A path prefix that names an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub PathPrefix);

/// What a probe asks an XSP for: a path and perhaps a query, in visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePath(pub String);

impl Leaf for FilePath {
    fn expected() -> String {
        "the path of a file such as \"certs/key.pem\"".into()
    }

    fn schema() -> Value {
        json!({"type": "string", "minLength": 1})
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: &str| Err(Refusal::new(format!("{} is not a path: {why}", quoted(text))));
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.contains('\0') {
            return refuse("it holds a NUL");
        }
        if text.starts_with("~/") {
            return refuse("'~' is the shell's").map_err(|refusal: Refusal| refusal.help("write the whole path"));
        }
        Ok(Self(text.into()))
    }
}

impl Leaf for Prefix {
    fn expected() -> String {
        "a path such as \"/com.broadsoft.xsi-actions/\"".into()
    }

    fn schema() -> Value {
        matching("/[A-Za-z0-9._~!$&'()*+,=:@/-]+")
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        text.parse().map(Self).map_err(|why: <PathPrefix as std::str::FromStr>::Err| {
            Refusal::new(format!("{} is not a path prefix: {why}", quoted(text)))
        })
    }
}

impl Leaf for ProbePath {
    fn expected() -> String {
        "a path such as \"/com.broadsoft.xsi-actions/v2.0/versions\"".into()
    }

    fn schema() -> Value {
        matching("/[!\"$-~]*")
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: String| Refusal::new(format!("{} is not a path: {why}", quoted(text)));
        if !text.starts_with('/') || text.starts_with("//") {
            return Err(refuse("it does not start with one '/'".into()));
        }
        if text.len() > 1024 {
            return Err(refuse("it is longer than 1024 characters".into()));
        }
        match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            Some(odd) => Err(refuse(format!("it holds {odd:?}")).help("escape it: %20 for a space, for example")),
            None => Ok(Self(text.to_owned())),
        }
    }
}

leaves!(FilePath, Prefix, ProbePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_paths_are_ready_to_be_sent() {
        for text in ["/", "/a/b?c=d&e=*", "/authService/token"] {
            assert_eq!(ProbePath::text(text).unwrap().0, text);
        }
        for text in ["", "a", "//a", "/a b", "/a#b", "/ä", "/a\r\nX: y", "http://x/"] {
            assert!(ProbePath::text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn file_paths_are_not_empty() {
        assert!(FilePath::text("certs/a b.pem").is_ok());
        for text in ["", "a\0b", "~/a"] {
            assert!(FilePath::text(text).is_err(), "{text:?}");
        }
    }
}
