//! Many at once: tasks that are joined or, when anything fails, ended together; and pauses.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

/// Gives 0, 1, 2, … below a count, each to one of its clones only.
#[derive(Clone)]
pub(super) struct Numbers {
    next: Arc<AtomicUsize>,
    count: usize,
}

impl Numbers {
    pub(super) fn up_to(count: usize) -> Self {
        Self { next: Arc::default(), count }
    }
}

impl Iterator for Numbers {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then_some(number)
    }
}

/// Runs so many tasks to their end; the first error ends them all.
pub(super) async fn together<T, F>(count: usize, task: impl Fn(usize) -> F) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let tasks: JoinSet<_> = (0..count).map(task).collect();
    joined(tasks).await
}

/// What tasks gave that were started before.
pub(super) async fn joined<T: Send + 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        results.push(ended??);
    }
    Ok(results)
}

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "a load has a pace, and another process is waited for by looking again")]
pub(super) async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}
