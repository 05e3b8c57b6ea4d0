//! The engine over a model that only notes what is asked of it.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use atelier_core::TenantId;
use atelier_inference::InferenceError;

use super::{owner::Cycle, *};

/// What the model was asked, in order: the jobs of each step, by name.
type Notes = Arc<Mutex<Vec<Vec<u32>>>>;

#[derive(Clone, Copy, Debug)]
struct Order {
    name: u32,
    steps: usize,
    /// Orders of one size can share a run.
    size: u32,
    behaviour: Behaviour,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Good,
    Fails,
    Panics,
    /// Its steps end only by being cancelled.
    Hangs,
}

struct Fake {
    notes: Notes,
}

struct FakeJob {
    order: Order,
    step: usize,
}

impl Painter for Fake {
    type Request = Order;
    type Job = FakeJob;

    fn begin(&mut self, order: &Order, _: &RunControl) -> Result<FakeJob, ImageError> {
        Ok(FakeJob { order: *order, step: 0 })
    }

    fn step(&mut self, jobs: &mut [&mut FakeJob], control: &RunControl) -> Result<(), ImageError> {
        self.notes.lock().unwrap().push(jobs.iter().map(|job| job.order.name).collect());
        for job in jobs {
            job.step += 1;
            match job.order.behaviour {
                Behaviour::Good => {}
                Behaviour::Fails => return Err(InferenceError::InvalidRun("as asked".into()).into()),
                Behaviour::Panics => panic!("as asked"),
                Behaviour::Hangs => {
                    while !control.is_cancelled() {
                        thread::park_timeout(Duration::from_millis(1));
                    }
                    return Err(InferenceError::Cancelled.into());
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, job: FakeJob, _: &RunControl) -> Result<Vec<RgbaImage>, ImageError> {
        Ok(vec![RgbaImage::new(job.order.name, 1)])
    }

    fn preview(&self, job: &FakeJob) -> Vec<RgbaImage> {
        vec![RgbaImage::new(job.order.name, 2)]
    }

    fn progress(job: &FakeJob) -> (usize, usize) {
        (job.step, job.order.steps)
    }

    fn compatible(one: &FakeJob, other: &FakeJob) -> bool {
        one.order.size == other.order.size
    }

    fn work(_: &FakeJob) -> f64 {
        1.0
    }

    fn bytes(_: &FakeJob) -> u64 {
        100
    }

    fn facts(job: &FakeJob) -> Facts {
        Facts { steps: job.step, ..Facts::default() }
    }
}

fn good(name: u32, steps: usize, size: u32) -> Order {
    Order { name, steps, size, behaviour: Behaviour::Good }
}

fn call(request: Order) -> Call<Order> {
    let tenant = TenantId::default_tenant();
    Call { request, preview_every: 0, tenant, deadline: None, arrived: Instant::now() }
}

/// An engine whose turns the test takes.
struct Bench {
    owner: Owner<Fake>,
    lobby: Arc<Lobby<Admitted<Order>>>,
    notes: Notes,
    next_id: u64,
}

impl Bench {
    fn new(config: &EngineConfig) -> Self {
        let notes = Notes::default();
        let fake = Fake { notes: Arc::clone(&notes) };
        let lobby = Arc::new(Lobby::new(config.max_queue, config.max_active));
        Self { owner: Owner::new(fake, config, Meters::new("fake")), lobby, notes, next_id: 0 }
    }

    fn submit(&mut self, call: Call<Order>) -> Result<Events<Order>, Refused> {
        let id = self.next_id;
        self.next_id += 1;
        let (events, receiver) = mpsc::channel(EVENTS);
        self.lobby.submit(Admitted { id, call, events })?;
        Ok(Events { id, receiver, lobby: Arc::clone(&self.lobby) })
    }

    fn run(&mut self) {
        for _ in 0..1_000 {
            if self.owner.cycle(&self.lobby) == Cycle::Idle {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    fn steps(&self) -> Vec<Vec<u32>> {
        self.notes.lock().unwrap().clone()
    }
}

fn finished(events: &mut Events<Order>) -> Result<Finished, ImageError> {
    loop {
        match events.receiver.try_recv().expect("the call has ended")? {
            Event::Progress(_) => {}
            Event::Finished(finished) => return Ok(*finished),
        }
    }
}

#[test]
fn a_short_call_does_not_wait_for_the_end_of_a_long_one() {
    let mut bench = Bench::new(&EngineConfig::default());
    let mut long = bench.submit(call(good(1, 20, 8))).unwrap();
    let mut short = bench.submit(call(good(2, 2, 16))).unwrap();
    bench.run();
    let steps = bench.steps();
    let last_of_short = steps.iter().rposition(|step| step.contains(&2)).unwrap();
    assert!(last_of_short <= 4, "they take turns: {steps:?}");
    assert_eq!(steps.len(), 22);
    assert_eq!(finished(&mut long).unwrap().facts.steps, 20);
    assert_eq!(finished(&mut short).unwrap().pictures[0].dimensions(), (2, 1));
}

#[test]
fn calls_of_one_shape_share_runs_and_others_never_do() {
    let mut bench = Bench::new(&EngineConfig::default());
    let calls: Vec<_> = [(1, 8), (2, 8), (3, 16)]
        .into_iter()
        .map(|(name, size)| bench.submit(call(good(name, 40, size))).unwrap())
        .collect();
    bench.run();
    let steps = bench.steps();
    assert!(steps.iter().any(|step| step.len() == 2), "{steps:?}");
    assert!(steps.iter().all(|step| step.len() == 1 || !step.contains(&3)), "{steps:?}");
    for name in 1..=3 {
        assert_eq!(steps.iter().filter(|step| step.contains(&name)).count(), 40);
    }
    drop(calls);
}

#[test]
fn places_are_bounded_by_number_and_by_memory() {
    for config in [
        EngineConfig { max_active: 2, max_batch_calls: 1, ..EngineConfig::default() },
        EngineConfig { max_active: 9, max_active_bytes: 150, max_batch_calls: 1, ..EngineConfig::default() },
    ] {
        let mut bench = Bench::new(&config);
        let _calls: Vec<_> = (1..=4).map(|name| bench.submit(call(good(name, 5, 8))).unwrap()).collect();
        bench.run();
        let first_of_third = bench.steps().iter().position(|step| step == &[3]).unwrap();
        let before: Vec<_> = bench.steps()[..first_of_third].concat();
        let done = |name| before.iter().filter(|&&step| step == name).count() == 5;
        assert!(done(1) || done(2), "the third begins when one of the first two is done: {before:?}");
    }
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let mut bench = Bench::new(&EngineConfig { max_queue: 1, ..EngineConfig::default() });
    let _waiting = bench.submit(call(good(1, 1, 8))).unwrap();
    assert!(matches!(bench.submit(call(good(2, 1, 8))), Err(Refused::Full(after)) if !after.is_zero()));
}

#[test]
fn who_leaves_costs_no_further_step() {
    let mut bench = Bench::new(&EngineConfig { max_batch_calls: 1, ..EngineConfig::default() });
    let leaving = bench.submit(call(good(1, 50, 8))).unwrap();
    let mut staying = bench.submit(call(good(2, 3, 8))).unwrap();
    let late = bench.submit(Call { deadline: Some(Instant::now()), ..call(good(3, 3, 8)) }).unwrap();
    bench.owner.cycle(&bench.lobby);
    drop(leaving);
    bench.run();
    let steps = bench.steps();
    assert!(steps.iter().filter(|step| step.contains(&1)).count() <= 1, "{steps:?}");
    assert!(steps.iter().all(|step| !step.contains(&3)));
    assert!(finished(&mut staying).is_ok());
    let mut late = late;
    assert!(matches!(finished(&mut late), Err(ImageError::DeadlineExceeded)));
}

#[test]
fn failures_and_panics_end_their_own_call() {
    for (behaviour, expected) in
        [(Behaviour::Fails, "invalid run: as asked"), (Behaviour::Panics, "a run panicked")]
    {
        let mut bench = Bench::new(&EngineConfig { max_batch_calls: 1, ..EngineConfig::default() });
        let mut bad = bench.submit(call(Order { behaviour, ..good(1, 3, 8) })).unwrap();
        let mut fine = bench.submit(call(good(2, 3, 8))).unwrap();
        bench.run();
        assert_eq!(finished(&mut bad).unwrap_err().to_string(), expected);
        assert!(finished(&mut fine).is_ok());
    }
}

#[test]
fn progress_tells_steps_and_previews_and_always_leaves_room_for_the_end() {
    let mut bench = Bench::new(&EngineConfig::default());
    let mut events = bench.submit(Call { preview_every: 2, ..call(good(7, 5, 8)) }).unwrap();
    bench.run();
    let mut told = Vec::new();
    while let Ok(Ok(Event::Progress(progress))) = events.receiver.try_recv() {
        assert_eq!(progress.total_steps, 5);
        told.push((progress.step, progress.previews.len()));
    }
    assert_eq!(told, [(1, 0), (2, 1), (3, 0), (4, 1), (5, 0)]);

    let mut slow = bench.submit(call(good(8, 100, 8))).unwrap();
    bench.run();
    assert_eq!(finished(&mut slow).unwrap().facts.steps, 100);
}

#[tokio::test]
async fn a_step_that_nobody_waits_for_is_stopped_and_closing_ends_all() {
    let notes = Notes::default();
    let config = EngineConfig { max_batch_calls: 1, ..EngineConfig::default() };
    let engine = Engine::start("fake", &config, Fake { notes: Arc::clone(&notes) }).unwrap();
    let hanging = engine.submit(call(Order { behaviour: Behaviour::Hangs, ..good(1, 5, 8) })).unwrap();
    while notes.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(hanging);
    let next = engine.submit(call(good(2, 1, 8))).unwrap();
    assert!(next.finished().await.is_ok(), "the place is free again");

    let hanging = engine.submit(call(Order { behaviour: Behaviour::Hangs, ..good(3, 5, 8) })).unwrap();
    engine.close().await;
    assert!(matches!(engine.submit(call(good(4, 1, 8))), Err(ImageError::Draining)));
    assert!(hanging.finished().await.is_err());
}
