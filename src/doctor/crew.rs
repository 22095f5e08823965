//! Several checks side by side, few at a time, and all of them over at some time. Separate from the checks, which know nothing
//! of one another.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::finding::{Finding, Subject};

/// Checks that run at the same time. A deployment is looked at, not put under load.
const HANDS: usize = 8;

/// Something to look at.
pub(super) struct Job<T> {
    name: String,
    work: Pin<Box<dyn Future<Output = (Subject, T)> + Send>>,
}

impl<T> Job<T> {
    /// Looks at `name`: `work` fills the subject of that name.
    pub(super) fn new<F>(name: String, work: impl FnOnce(Subject) -> F) -> Self
    where
        F: Future<Output = (Subject, T)> + Send + 'static,
    {
        let work = Box::pin(work(Subject::new(&name)));
        Self { name, work }
    }
}

/// Does all `jobs`, and returns what came of them in their order; nothing but a failure comes of those that are not done at
/// `deadline`.
pub(super) async fn all<T: Default + Send + 'static>(jobs: Vec<Job<T>>, deadline: Instant) -> Vec<(Subject, T)> {
    let hands = Arc::new(Semaphore::new(HANDS));
    let mut tasks = JoinSet::new();
    for (index, job) in jobs.into_iter().enumerate() {
        let hands = Arc::clone(&hands);
        tasks.spawn(async move {
            let working = async {
                let _hand = hands.acquire().await;
                job.work.await
            };
            let done = timeout_at(deadline, working).await;
            (index, done.unwrap_or_else(|_| (unfinished(&job.name), T::default())))
        });
    }
    let mut done = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        // A check that panics on what a peer says takes the whole program along: nothing better is known of it.
        done.push(joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn unfinished(name: &str) -> Subject {
    Subject::new(name).with([Finding::fail(
        "time",
        "not done when the time for the whole was over",
        "too much is slow or silent: look at what failed first, or give each step less with --timeout",
    )])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::Standing;

    #[tokio::test(start_paused = true)]
    async fn what_is_never_done_fails_and_the_others_keep_their_order() {
        let job = |index: u64| {
            Job::new(format!("job {index}"), move |subject| async move {
                tokio::time::sleep(Duration::from_secs(if index == 1 { 1000 } else { 20 - index })).await;
                (subject.with([Finding::ok("x", "")]), Some(index))
            })
        };
        let done = all((0..10).map(job).collect(), Instant::now() + Duration::from_secs(60)).await;
        let results: Vec<_> = done.iter().map(|(_, result)| *result).collect();
        let expected: Vec<_> = (0..10).map(|index| (index != 1).then_some(index)).collect();
        assert_eq!(results, expected);
        assert_eq!((done[1].0.name.as_str(), done[1].0.findings[0].standing), ("job 1", Standing::Fail));
    }
}
