//! Looks for threads of this process that wait for each other's locks for ever: every gateway that runs in it is watched.

use std::sync::Once;
use std::time::Duration;

use parking_lot::deadlock::check_deadlock;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(200);

/// Ends the process, with the backtraces, once threads are found that wait so: whatever else is tested would hang.
pub(crate) fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        drop(std::thread::spawn(|| {
            loop {
                std::thread::sleep(EVERY);
                let deadlocks = check_deadlock();
                for (number, threads) in deadlocks.iter().enumerate() {
                    for thread in threads {
                        eprintln!("deadlock {number}, thread {:?}:\n{:?}", thread.thread_id(), thread.backtrace());
                    }
                }
                if !deadlocks.is_empty() {
                    std::process::abort();
                }
            }
        }));
    });
}
