//! The sampler: one task beside an attempt, in which every reader reads again and again at its own pace.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::series::{ForeignUse, Moment, Reading, Tag};

/// A reader that does not answer within this has no reading at that moment.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one reader saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The figures.
    pub readings: Vec<Reading>,
    /// Who else was on the GPUs.
    pub foreign: Vec<ForeignUse>,
    /// What is wrong, in sentences; each is told once.
    pub problems: Vec<String>,
}

/// Something that can be read again and again. A reading that is not there is left out.
pub trait Reader: Send {
    /// Reads now. Dropped when the sampler ends or its patience does.
    fn read(&mut self) -> BoxFuture<'_, Seen>;

    /// Ends what it keeps going.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

/// Samples beside an attempt until it is stopped or dropped.
#[derive(Debug)]
pub struct Sampler {
    shared: Arc<Mutex<Shared>>,
    add: UnboundedSender<Box<dyn Reader>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
    _ends_with_it: DropGuard,
}

#[derive(Debug)]
struct Shared {
    tag: Tag,
    /// How often the tag changed.
    changes: u64,
    moments: Vec<Moment>,
    problems: BTreeSet<String>,
}

impl Sampler {
    /// Starts with the tag `boot` and no readers. `began` is the zero of all offsets.
    #[must_use]
    pub fn start(interval: Duration, began: Instant) -> Self {
        let shared = Shared { tag: Tag::Boot, changes: 0, moments: Vec::new(), problems: BTreeSet::new() };
        let shared = Arc::new(Mutex::new(shared));
        let cancel = CancellationToken::new();
        let (add, added) = unbounded_channel();
        let task = tokio::spawn(run(Arc::clone(&shared), added, began, interval, cancel.clone()));
        Self { shared, add, task, _ends_with_it: cancel.clone().drop_guard(), cancel }
    }

    /// Reads this as well from now on.
    pub fn add(&self, reader: Box<dyn Reader>) {
        // The receiver lives as long as the task, and the task as long as we do.
        let _ = self.add.send(reader);
    }

    /// Says what goes on from now on.
    pub fn tag(&self, tag: Tag) {
        let mut shared = lock(&self.shared);
        if shared.tag != tag {
            shared.tag = tag;
            shared.changes += 1;
        }
    }

    /// What was sampled since this was asked last.
    #[must_use]
    pub fn take(&self) -> Vec<Moment> {
        std::mem::take(&mut lock(&self.shared).moments)
    }

    /// Ends the task, waits for its end, and gives the rest of the samples and what was wrong.
    pub async fn stop(self) -> (Vec<Moment>, Vec<String>) {
        self.cancel.cancel();
        // It ends at its next await; a panic in it has lost samples and nothing else.
        let _ = self.task.await;
        let mut shared = lock(&self.shared);
        (std::mem::take(&mut shared.moments), std::mem::take(&mut shared.problems).into_iter().collect())
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task: looks after the readers until the cancel, then ends each.
async fn run(
    shared: Arc<Mutex<Shared>>,
    mut added: UnboundedReceiver<Box<dyn Reader>>,
    began: Instant,
    interval: Duration,
    cancel: CancellationToken,
) {
    let mut lines = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(reader) = added.recv() => {
                let line = Line { shared: Arc::clone(&shared), reader, began, changes_before: 0, patience: PATIENCE };
                lines.push(line.run(interval, cancel.clone()));
            }
            Some(()) = lines.next() => {}
        }
    }
    while lines.next().await.is_some() {}
}

/// One reader with its own pace: a slow one does not hold up the others (Docker 20.10 takes a second for a container's figures).
struct Line {
    shared: Arc<Mutex<Shared>>,
    reader: Box<dyn Reader>,
    began: Instant,
    /// Changes of the tag up to the sample before.
    changes_before: u64,
    /// How long a reading may take.
    patience: Duration,
}

impl Line {
    async fn run(mut self, interval: Duration, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sampling = async {
            loop {
                ticks.tick().await;
                self.sample().await;
            }
        };
        cancel.run_until_cancelled(sampling).await;
        self.reader.close().await;
    }

    async fn sample(&mut self) {
        let (tag, changes) = {
            let shared = lock(&self.shared);
            (shared.tag, shared.changes)
        };
        let at_ms = self.began.elapsed().as_secs_f64() * 1_000.0;
        let Ok(seen) = tokio::time::timeout(self.patience, self.reader.read()).await else { return };
        let Seen { mut readings, foreign, problems } = seen;
        if changes != self.changes_before {
            readings.retain(|r| !r.series.is_rate());
        }
        self.changes_before = changes;
        let mut shared = lock(&self.shared);
        shared.problems.extend(problems);
        // What was read while something else began belongs to neither.
        if shared.changes == changes && !readings.is_empty() {
            shared.moments.push(Moment { at_ms, tag, readings, foreign });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::series::{Series, Source};

    /// Gives a gauge, a rate and a problem.
    struct Steady;

    impl Reader for Steady {
        fn read(&mut self) -> BoxFuture<'_, Seen> {
            let reading = |series| Reading { source: Source::Host, series, value: 1.0 };
            let problems = vec!["it is hot".to_owned()];
            let readings = vec![reading(Series::HostLoad), reading(Series::HostCpu)];
            std::future::ready(Seen { readings, problems, ..Seen::default() }).boxed()
        }
    }

    /// Changes the tag while it reads.
    struct Meddler(Arc<Mutex<Shared>>);

    impl Reader for Meddler {
        fn read(&mut self) -> BoxFuture<'_, Seen> {
            lock(&self.0).changes += 1;
            let readings = vec![Reading { source: Source::Host, series: Series::HostLoad, value: 1.0 }];
            std::future::ready(Seen { readings, ..Seen::default() }).boxed()
        }
    }

    struct Stuck;

    impl Reader for Stuck {
        fn read(&mut self) -> BoxFuture<'_, Seen> {
            std::future::pending().boxed()
        }
    }

    fn line(reader: impl Reader + 'static) -> Line {
        let shared = Shared { tag: Tag::Boot, changes: 0, moments: Vec::new(), problems: BTreeSet::new() };
        let (shared, reader) = (Arc::new(Mutex::new(shared)), Box::new(reader));
        Line { shared, reader, began: Instant::now(), changes_before: 0, patience: Duration::from_millis(20) }
    }

    fn change(line: &Line, tag: Tag) {
        let mut shared = lock(&line.shared);
        (shared.tag, shared.changes) = (tag, shared.changes + 1);
    }

    #[tokio::test]
    async fn samples_carry_the_tag_of_their_time_and_a_rate_over_two_tags_is_left_out() {
        let mut line = line(Steady);
        line.sample().await;
        change(&line, Tag::Idle);
        line.sample().await;
        line.sample().await;
        let shared = lock(&line.shared);
        let tags: Vec<Tag> = shared.moments.iter().map(|m| m.tag).collect();
        assert_eq!(tags, [Tag::Boot, Tag::Idle, Tag::Idle]);
        let rates: Vec<bool> =
            shared.moments.iter().map(|m| m.value(Source::Host, Series::HostCpu).is_some()).collect();
        assert_eq!(rates, [true, false, true]);
        assert_eq!(shared.problems.len(), 1, "a problem is told once");
    }

    #[tokio::test]
    async fn a_reading_that_takes_too_long_is_none() {
        let mut line = line(Stuck);
        line.sample().await;
        assert_eq!(lock(&line.shared).moments, []);
    }

    #[tokio::test]
    async fn what_is_read_while_something_else_begins_belongs_to_neither() {
        let mut line = line(Steady);
        line.reader = Box::new(Meddler(Arc::clone(&line.shared)));
        line.sample().await;
        assert_eq!(lock(&line.shared).moments, []);
    }

    #[tokio::test]
    async fn a_reader_that_hangs_holds_up_no_other_and_no_end() {
        let sampler = Sampler::start(Duration::from_millis(1), Instant::now());
        sampler.add(Box::new(Stuck));
        sampler.add(Box::new(Steady));
        let mut moments = Vec::new();
        while moments.len() < 3 {
            tokio::task::yield_now().await;
            moments.extend(sampler.take());
        }
        assert_eq!(moments[0].tag, Tag::Boot);
        let (_, problems) = sampler.stop().await;
        assert_eq!(problems, ["it is hot"]);
    }
}
