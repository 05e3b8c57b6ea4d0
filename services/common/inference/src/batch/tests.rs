use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize},
    mpsc,
};

use super::*;

/// Doubles numbers. Each run takes one permit, so a test decides when runs end.
struct Doubler {
    permits: mpsc::Receiver<()>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    batches: Mutex<Vec<Vec<u64>>>,
    started: AtomicUsize,
    cancelled: AtomicBool,
}

impl BatchModel for Doubler {
    type Input = u64;
    type Output = u64;

    fn cost(_: &u64) -> usize {
        1
    }

    fn run(&mut self, batch: &[u64], control: &RunControl) -> Result<Vec<u64>, InferenceError> {
        self.seen.batches.lock().unwrap().push(batch.to_vec());
        self.seen.started.fetch_add(1, Ordering::SeqCst);
        while self.permits.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            if control.is_cancelled() {
                self.seen.cancelled.store(true, Ordering::SeqCst);
                return Err(InferenceError::Cancelled);
            }
        }
        match batch {
            [13, ..] => Err(InferenceError::run_failed("unlucky")),
            [14, ..] => panic!("more than unlucky"),
            [15, ..] => Ok(Vec::new()),
            _ => Ok(batch.iter().map(|n| n * 2).collect()),
        }
    }
}

struct Bench {
    batcher: Batcher<Doubler>,
    seen: Arc<Seen>,
    permit: mpsc::SyncSender<()>,
}

impl Bench {
    fn new(config: &BatcherConfig) -> Self {
        let (permit, permits) = mpsc::sync_channel(64);
        let seen = Arc::new(Seen::default());
        let model = Doubler { permits, seen: Arc::clone(&seen) };
        let batcher = Batcher::start("doubler", config, vec![model]).unwrap();
        Self { batcher, seen, permit }
    }

    fn submit(&self, input: u64) -> tokio::task::JoinHandle<Result<u64, InferenceError>> {
        self.submit_until(input, None)
    }

    fn submit_until(
        &self,
        input: u64,
        deadline: Option<Instant>,
    ) -> tokio::task::JoinHandle<Result<u64, InferenceError>> {
        let batcher = self.batcher.clone();
        let ticket = Ticket { deadline, tenant: TenantId::default_tenant() };
        tokio::spawn(async move { batcher.submit(input, ticket).await })
    }

    /// Submits one item and waits until its run has begun, so that what follows queues behind it.
    async fn occupy(&self, input: u64) -> tokio::task::JoinHandle<Result<u64, InferenceError>> {
        let before = self.seen.started.load(Ordering::SeqCst);
        let task = self.submit(input);
        until(|| self.seen.started.load(Ordering::SeqCst) > before).await;
        task
    }

    fn permit(&self, runs: usize) {
        for _ in 0..runs {
            self.permit.send(()).unwrap();
        }
    }

    fn batches(&self) -> Vec<Vec<u64>> {
        self.seen.batches.lock().unwrap().clone()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < limit, "nothing happened for 10 s");
        time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn items_that_wait_run_together_and_each_gets_its_own_answer() {
    let bench = Bench::new(&BatcherConfig::default());
    let first = bench.occupy(1).await;
    let others: Vec<_> = (2..10).map(|n| bench.submit(n)).collect();
    until(|| bench.batcher.queue_depth() == 8).await;
    bench.permit(2);
    assert_eq!(first.await.unwrap().unwrap(), 2);
    for (n, other) in (2..10).zip(others) {
        assert_eq!(other.await.unwrap().unwrap(), n * 2);
    }
    assert_eq!(bench.batches(), [vec![1], (2..10).collect()]);
}

#[tokio::test]
async fn answers_of_a_run_do_not_wait_for_the_next_run() {
    let bench = Bench::new(&BatcherConfig { max_batch_items: 2, ..BatcherConfig::default() });
    let running = bench.occupy(1).await;
    let first = [bench.submit(2), bench.submit(3)];
    until(|| bench.batcher.queue_depth() == 2).await;
    let second = [bench.submit(4), bench.submit(5)];
    until(|| bench.batcher.queue_depth() == 4).await;
    bench.permit(2);
    running.await.unwrap().unwrap();
    for task in first {
        task.await.unwrap().unwrap();
    }
    until(|| bench.batches().len() == 3).await;
    assert!(second.iter().all(|task| !task.is_finished()), "the last run has no permit yet");
    bench.permit(1);
    for task in second {
        task.await.unwrap().unwrap();
    }
    assert_eq!(bench.batches(), [vec![1], vec![2, 3], vec![4, 5]]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_says_when_to_retry() {
    let bench = Bench::new(&BatcherConfig { max_queue: 2, ..BatcherConfig::default() });
    let running = bench.occupy(1).await;
    let waiting = [bench.submit(2), bench.submit(3)];
    until(|| bench.batcher.queue_depth() == 2).await;
    let InferenceError::QueueFull { retry_after } = bench.submit(4).await.unwrap().unwrap_err() else {
        panic!("the queue took a third item")
    };
    assert!(retry_after > Duration::ZERO);
    bench.permit(2);
    assert_eq!(running.await.unwrap().unwrap(), 2);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_caller_who_leaves_frees_its_place_and_is_never_run() {
    let bench = Bench::new(&BatcherConfig { max_queue: 1, ..BatcherConfig::default() });
    let running = bench.occupy(1).await;
    let leaver = bench.submit(2);
    until(|| bench.batcher.queue_depth() == 1).await;
    leaver.abort();
    until(|| bench.batcher.queue_depth() == 0).await;
    let stayer = bench.submit(3);
    until(|| bench.batcher.queue_depth() == 1).await;
    bench.permit(2);
    running.await.unwrap().unwrap();
    assert_eq!(stayer.await.unwrap().unwrap(), 6);
    assert_eq!(bench.batches(), [[1], [3]]);
}

#[tokio::test]
async fn a_run_ends_when_its_last_caller_leaves_and_not_before() {
    let bench = Bench::new(&BatcherConfig::default());
    let blocker = bench.occupy(1).await;
    let pair = [bench.submit(2), bench.submit(3)];
    until(|| bench.batcher.queue_depth() == 2).await;
    bench.permit(1);
    blocker.await.unwrap().unwrap();
    until(|| bench.batches().len() == 2).await;
    pair[0].abort();
    time::sleep(Duration::from_millis(20)).await;
    assert!(!bench.seen.cancelled.load(Ordering::SeqCst), "one caller still waits");
    pair[1].abort();
    until(|| bench.seen.cancelled.load(Ordering::SeqCst)).await;
    bench.permit(1);
    assert_eq!(bench.submit(4).await.unwrap().unwrap(), 8, "the owner goes on");
}

#[tokio::test]
async fn items_past_their_deadline_are_answered_and_never_run() {
    let bench = Bench::new(&BatcherConfig::default());
    let past = bench.submit_until(9, Some(Instant::now())).await.unwrap();
    assert!(matches!(past, Err(InferenceError::DeadlineExceeded)));
    let running = bench.occupy(1).await;
    let late = bench.submit_until(2, Some(Instant::now() + Duration::from_millis(20)));
    assert!(matches!(late.await.unwrap(), Err(InferenceError::DeadlineExceeded)));
    assert_eq!(bench.batcher.queue_depth(), 0);
    bench.permit(1);
    running.await.unwrap().unwrap();
    assert_eq!(bench.batches(), [[1]]);
}

#[tokio::test]
async fn a_failed_run_is_answered_to_each_caller_and_the_owner_survives() {
    for (input, expected) in [(13, "unlucky"), (14, "more than unlucky"), (15, "0 outputs for 2 inputs")] {
        let bench = Bench::new(&BatcherConfig::default());
        let blocker = bench.occupy(1).await;
        let first = bench.submit(input);
        until(|| bench.batcher.queue_depth() == 1).await;
        let second = bench.submit(20);
        until(|| bench.batcher.queue_depth() == 2).await;
        bench.permit(3);
        blocker.await.unwrap().unwrap();
        for task in [first, second] {
            let error = task.await.unwrap().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(bench.submit(5).await.unwrap().unwrap(), 10);
    }
}

#[tokio::test]
async fn closing_answers_those_who_wait_and_lets_the_run_finish() {
    let bench = Bench::new(&BatcherConfig::default());
    let running = bench.occupy(1).await;
    let waiting = bench.submit(2);
    until(|| bench.batcher.queue_depth() == 1).await;
    bench.batcher.close();
    assert!(matches!(waiting.await.unwrap(), Err(InferenceError::Closed)));
    assert!(matches!(bench.submit(3).await.unwrap(), Err(InferenceError::Closed)));
    bench.permit(1);
    assert_eq!(running.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_owner() {
    let bench = Bench::new(&BatcherConfig::default());
    let Bench { batcher, seen, permit } = bench;
    drop(batcher.clone());
    permit.send(()).unwrap();
    let ticket = Ticket { deadline: None, tenant: TenantId::default_tenant() };
    assert_eq!(batcher.submit(4, ticket).await.unwrap(), 8);
    drop(batcher);
    // The owner's model, and with it its clone of `seen`, is gone once the thread has ended.
    until(|| Arc::strong_count(&seen) == 1).await;
}

#[tokio::test]
async fn an_idle_owner_runs_an_item_at_once() {
    let bench = Bench::new(&BatcherConfig::default());
    let mut best = Duration::MAX;
    for n in 0..50 {
        bench.permit(1);
        let began = Instant::now();
        bench.submit(100 + n).await.unwrap().unwrap();
        best = best.min(began.elapsed());
    }
    // The best of many: the hand-over itself, whatever else the machine does.
    assert!(best < Duration::from_millis(1), "{best:?}");
}
