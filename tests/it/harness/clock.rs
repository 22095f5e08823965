//! Another time for a program and for all that it starts. Separate from the program, because its clock goes on being wrong
//! or right while it runs. What waits goes by the machine's own clock as ever.

use std::fs;
use std::path::{Path, PathBuf};

use super::Tool;

/// By how much clocks are wrong.
pub(crate) struct Clock {
    library: String,
    shift: PathBuf,
}

impl Clock {
    /// One that is wrong by `shift`, such as `-2d` or `+400d`; it is kept in `folder`. `None`: the test has to be left out.
    pub(crate) fn wrong_by(shift: &str, folder: &Path) -> Option<Self> {
        let library = Tool::library("libfaketimeMT.so.1", &["libfaketime"])?.display().to_string();
        let clock = Self { library, shift: folder.join("clock") };
        clock.set(shift);
        Some(clock)
    }

    /// Sets the clocks of programs that run already, too.
    pub(crate) fn set(&self, shift: &str) {
        let new = self.shift.with_extension("new");
        fs::write(&new, format!("{shift}\n")).unwrap();
        fs::rename(new, &self.shift).unwrap();
    }

    /// What a program has to have in its environment.
    pub(crate) fn environment(&self) -> [(&str, &str); 6] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", self.shift.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
            ("NO_FAKE_STAT", "1"),
        ]
    }
}
