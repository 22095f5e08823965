//! The affinity key file: one base64 key of 32 bytes a line. Separate from certificates, because all gateways share it and it
//! rotates by hand. No message ever shows a line.

use std::ops::Range;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::pem;
use crate::config::error::Problem;

const HELP: &str = "each line is one key: 32 bytes in base64, as `xspgate certs affinity-key` makes it";

/// The keys in file order; `None` after an error. Empty lines and lines that begin with `#` are skipped.
pub(super) fn load(path: &Path, span: Option<Range<usize>>, problems: &mut Vec<Problem>) -> Option<Vec<[u8; 32]>> {
    let bytes = pem::secret(path, &span).map_err(|problem| problems.push(problem)).ok()?;
    let mut keys: Vec<[u8; 32]> = Vec::new();
    let mut good = true;
    // Some editors put a mark before a text.
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let place = format!("line {} of {}", index + 1, path.display());
        match key(line) {
            Ok(key) if keys.contains(&key) => {
                problems.push(Problem::warning(span.clone(), format!("{place} repeats an earlier key")));
            }
            Ok(key) => keys.push(key),
            Err(why) => {
                good = false;
                problems.push(Problem::error(span.clone(), format!("{place} is not a key: {why}")).help(HELP));
            }
        }
    }
    if good && keys.is_empty() {
        good = false;
        problems.push(Problem::error(span, format!("{} holds no key", path.display())).help(HELP));
    }
    good.then_some(keys)
}

fn key(line: &[u8]) -> Result<[u8; 32], String> {
    let bytes = STANDARD.decode(line).map_err(|_| "it is not base64".to_owned())?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| format!("it has {length} bytes"))
}
