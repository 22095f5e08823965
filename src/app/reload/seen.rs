//! How everything on disk looks that may have to be read again, and when it may be read. Separate from reading it, because a
//! file that looks different may not be whole yet.

use std::io::ErrorKind;

use super::super::running::Running;
use crate::config::model::Reloads;
use crate::renewal::Look;
use crate::tls::certs::files::Stamps;

/// So many looks find a configuration that has become shorter before it is read: somebody may be about to write the rest.
const SHRUNK: u32 = 4;

/// How everything on disk looks, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) files: Stamps,
    /// What the configuration itself holds, if it is to be followed.
    pub(super) config: Option<Result<Vec<u8>, ErrorKind>>,
}

impl Look for Seen {
    fn looks(&self, read: &Self) -> u32 {
        let length = |seen: &Self| seen.config.as_ref().map(|config| config.as_ref().map_or(0, Vec::len));
        if length(self) < length(read) { SHRUNK } else { 2 }
    }

    fn is_waited_for(&self, read: &Self) -> bool {
        self.config != read.config
    }
}

/// How it looked when what is in use was read.
pub(super) fn seen_when_read(running: &Running) -> Seen {
    let config = match running.config.reloads {
        Reloads::OnChange => Some(Ok(running.source.text.as_bytes().to_vec())),
        Reloads::WhenAsked => None,
    };
    Seen { files: running.material.read.stamps().clone(), config }
}
