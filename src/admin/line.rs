//! Questions that one thread asks another one, each with an end to the wait. Separate from what is asked, because both the
//! admin listener and the control socket stay able to answer when the other thread is not.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions that may wait.
const QUEUED: usize = 64;

/// The asking end; cheap to clone.
#[derive(Debug)]
pub struct Line<Q, A>(mpsc::Sender<Call<Q, A>>);

/// The answering end.
#[derive(Debug)]
pub struct Calls<Q, A>(mpsc::Receiver<Call<Q, A>>);

/// A question, and its answer's way back.
#[derive(Debug)]
pub struct Call<Q, A> {
    /// What is asked.
    pub question: Q,
    answer: oneshot::Sender<A>,
}

/// The other thread has not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control thread does not answer")]
pub struct Silence;

/// A line between two threads: the end that asks, and the one that answers.
pub fn line<Q, A>() -> (Line<Q, A>, Calls<Q, A>) {
    let (sender, receiver) = mpsc::channel(QUEUED);
    (Line(sender), Calls(receiver))
}

impl<Q, A> Clone for Line<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q, A> Line<Q, A> {
    /// Asks, and waits for the answer for a moment.
    ///
    /// # Errors
    /// When none has come. What was asked is not done later, unless it had begun.
    pub async fn ask(&self, question: Q) -> Result<A, Silence> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.0.send(Call { question, answer }).await.map_err(|_| Silence)?;
            answered.await.map_err(|_| Silence)
        };
        timeout(PATIENCE, asking).await.map_err(|_| Silence)?
    }
}

impl<Q, A> Calls<Q, A> {
    /// The next question whose asker still waits; for ever if nobody asks any more.
    pub async fn next(&mut self) -> Call<Q, A> {
        loop {
            match self.0.recv().await {
                Some(call) if call.answer.is_closed() => {}
                Some(call) => return call,
                None => std::future::pending().await,
            }
        }
    }
}

impl<Q, A> Call<Q, A> {
    /// Answers it.
    pub fn answer(self, answer: A) {
        // The error says that the asker waits no longer.
        self.answer.send(answer).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_waits_a_moment_and_what_nobody_waits_for_is_not_done() {
        let (line, mut calls) = line::<u32, u32>();
        let begun = tokio::time::Instant::now();
        for question in 0..u32::try_from(QUEUED).unwrap() + 1 {
            assert_eq!(line.ask(question).await, Err(Silence));
        }
        assert_eq!(begun.elapsed(), PATIENCE * u32::try_from(QUEUED + 1).unwrap());
        let answering = async {
            let call = calls.next().await;
            let question = call.question;
            call.answer(question + 1);
        };
        let (answer, ()) = tokio::join!(line.ask(100), answering);
        assert_eq!(answer, Ok(101));
        drop(calls);
        assert_eq!(line.ask(1).await, Err(Silence));
    }
}
