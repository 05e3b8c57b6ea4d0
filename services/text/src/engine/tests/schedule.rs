//! Random schedules, turn by turn: arrivals, readers that dawdle, callers that leave, steps that fail.

use proptest::prelude::*;

use super::*;
use crate::engine::call::Admitted;

#[derive(Clone, Debug)]
enum Act {
    Submit { tenant: u8, priority: Priority, prompt: Prompt, max_tokens: usize, reads: bool, beams: usize },
    Leave(prop::sample::Index),
    Read(prop::sample::Index, usize),
    Turn,
}

/// As many tokens that all prompts begin with, then as many of its own.
type Prompt = (usize, usize);

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let prompt = prop_oneof![(Just(0), 1_usize..60), (1_usize..40, 0_usize..20)];
    let priority = prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High]);
    let beams = prop_oneof![3 => Just(1), 1 => 2_usize..5];
    let submit = (0_u8..3, priority, prompt, 1_usize..20, any::<bool>(), beams).prop_map(
        |(tenant, priority, prompt, max_tokens, reads, beams)| Act::Submit {
            tenant,
            priority,
            prompt,
            max_tokens,
            reads,
            beams,
        },
    );
    let act = prop_oneof![
        2 => submit,
        1 => any::<prop::sample::Index>().prop_map(Act::Leave),
        2 => (any::<prop::sample::Index>(), 1_usize..6).prop_map(|(who, events)| Act::Read(who, events)),
        6 => Just(Act::Turn),
    ];
    prop::collection::vec(act, 1..120)
}

/// A caller and what it has heard.
pub(super) struct Caller {
    events: Option<Events>,
    pub(super) expected: (String, usize),
    pub(super) text: String,
    pub(super) end: Option<Result<Finished, TextError>>,
    reads: bool,
}

impl Caller {
    pub(super) fn read(&mut self, most: usize) {
        let Some(events) = &mut self.events else { return };
        for _ in 0..most {
            match events.receiver.try_recv() {
                Ok(event) => {
                    assert!(self.end.is_none(), "something came after the end");
                    match event {
                        Ok(Event::Delta { text, .. }) => self.text += &text,
                        Ok(Event::Finished(finished)) => self.end = Some(Ok(finished)),
                        Err(error) => self.end = Some(Err(error)),
                    }
                }
                Err(_) => break,
            }
        }
    }
}

pub(super) struct Bench {
    pub(super) scheduler: Scheduler,
    pub(super) shared: Arc<Shared>,
    pub(super) callers: Vec<Caller>,
    context_length: usize,
    rows: Rows,
    unit: usize,
    /// Beams of the next calls.
    pub(super) beams: usize,
    /// What a test wants of all calls.
    pub(super) adjust: Box<dyn Fn(&mut GenerationCall)>,
}

impl Bench {
    pub(super) fn new(behaviour: Behaviour, max_queue: usize) -> Self {
        let rows = behaviour.rows;
        let pace = Pace::new(CHUNK, behaviour.budget, 2.0);
        let unit = if rows == Rows::Width { CHUNK } else { 4 };
        let shared = Arc::new(Shared::new(max_queue, behaviour.slots, Meters::new("fake")));
        let context_length = behaviour.context_length;
        let config = PrefixCacheConfig { slots: behaviour.keep, ..PrefixCacheConfig::default() };
        let cache = PrefixCache::new(&config, behaviour.slots, unit);
        let scheduler = Scheduler::new(FakeDecoder::new(behaviour), pace, cache, "fake".into());
        Self {
            scheduler,
            shared,
            callers: Vec::new(),
            context_length,
            rows,
            unit,
            beams: 1,
            adjust: Box::new(|_| {}),
        }
    }

    /// Submits a call of normal priority.
    pub(super) fn submit(&mut self, tenant: u8, prompt: Prompt, max_tokens: usize, reads: bool) {
        assert!(self.submit_at(Priority::Normal, tenant, prompt, max_tokens, reads), "the queue is full");
    }

    /// Submits a call; whether it was taken.
    pub(super) fn submit_at(
        &mut self,
        priority: Priority,
        tenant: u8,
        (shared, own): Prompt,
        max_tokens: usize,
        reads: bool,
    ) -> bool {
        let id = self.callers.len() as u64;
        let shared = (0..shared as u32).map(|n| n * 29);
        let own = (0..own as u32).map(|n| n * 31 + id as u32 * 17);
        let prompt: Vec<u32> = shared.chain(own).map(|token| token % VOCABULARY as u32).collect();
        let mut call = call(prompt, id, max_tokens);
        call.tenant = TenantId::new(&format!("t{tenant}")).expect("the name is valid");
        call.priority = priority;
        (self.adjust)(&mut call);
        let search = BeamSearch { count: self.beams, length_penalty: 1.0 };
        call.beams = (self.beams > 1).then_some(search);
        let expected = match call.beams {
            Some(search) => {
                let limit = max_tokens.min(self.context_length - call.prompt.len());
                searched(self.rows, &call.prompt, &call.sampling, search, limit)
            }
            None => alone(self.rows, &call.prompt, &call.sampling, max_tokens, self.context_length),
        };
        let (events, receiver) = mpsc::channel(4);
        let taken = self.shared.submit(Admitted { id, call, events, progress: None });
        match taken {
            Ok(()) => {
                let events = Some(Events { id, receiver, shared: Arc::clone(&self.shared) });
                self.callers.push(Caller { events, expected, text: String::new(), end: None, reads });
                true
            }
            Err(TextError::QueueFull { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    /// Runs turns, with everyone reading, until nothing is left to do. Gives the number of turns.
    pub(super) fn settle(&mut self) -> usize {
        for turn in 0..20_000 {
            self.callers.iter_mut().for_each(|caller| caller.read(usize::MAX));
            let idle = matches!(cycle(&mut self.scheduler, &self.shared), Cycle::Idle { .. });
            if idle && self.scheduler.slots_in_use() == 0 && self.shared.lock().queue.is_empty() {
                self.callers.iter_mut().for_each(|caller| caller.read(usize::MAX));
                return turn;
            }
        }
        panic!("the engine does not come to rest");
    }
}

/// Every call has ended and written what it writes alone.
pub(super) fn assert_whole(bench: &Bench) {
    for (at, caller) in bench.callers.iter().enumerate() {
        assert_eq!(caller.text, caller.expected.0, "call {at}");
        let written =
            matches!(&caller.end, Some(Ok(finished)) if finished.completion_tokens == caller.expected.1);
        assert!(written, "call {at} has ended as {:?}", caller.end);
    }
}

fn index(pick: prop::sample::Index, callers: &[Caller]) -> Option<usize> {
    (!callers.is_empty()).then(|| pick.index(callers.len()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_and_writes_what_it_writes_alone(
        acts in acts(),
        slots in 1_usize..5,
        keep in 0_usize..4,
        budget in 8_usize..20,
        rows in prop::sample::select(vec![Rows::Exact, Rows::Single, Rows::Width, Rows::Run]),
        lookahead in 0_usize..7,
    ) {
        let behaviour = Behaviour { budget, keep, rows, ..Behaviour::new(slots) };
        let mut bench = Bench::new(behaviour, 4);
        bench.adjust = Box::new(move |call| {
            call.lookahead = if rows == Rows::Exact { lookahead } else { 0 };
            // Where even the run's other rows count, only what shares no run is the same.
            call.deterministic = rows == Rows::Run;
        });
        let unit = bench.unit;
        let mut left = Vec::new();
        for act in acts {
            match act {
                Act::Submit { tenant, priority, prompt, max_tokens, reads, beams } => {
                    // Rows of a search share their run.
                    bench.beams = if rows == Rows::Run { 1 } else { beams.min(slots) };
                    let waiting = bench.shared.lock().queue.len();
                    let taken = bench.submit_at(priority, tenant, prompt, max_tokens, reads);
                    // Calls that made room for a search wait too, and count.
                    prop_assert!(taken || waiting >= 4);
                }
                Act::Leave(pick) => if let Some(at) = index(pick, &bench.callers) {
                    bench.callers[at].events = None;
                    left.push(at);
                },
                Act::Read(pick, events) => if let Some(at) = index(pick, &bench.callers) {
                    bench.callers[at].read(events);
                },
                Act::Turn => {
                    cycle(&mut bench.scheduler, &bench.shared);
                    bench.callers.iter_mut().filter(|caller| caller.reads).for_each(|caller| caller.read(usize::MAX));
                }
            }
            // A caller that left holds no slot after the next turn, and calls fill the first slots.
            prop_assert!(bench.scheduler.slots_in_use() <= slots);
        }
        bench.settle();
        for (at, caller) in bench.callers.iter().enumerate() {
            if left.contains(&at) {
                prop_assert!(caller.expected.0.starts_with(&caller.text));
                continue;
            }
            prop_assert_eq!(&caller.text, &caller.expected.0);
            let Some(Ok(finished)) = &caller.end else { panic!("call {at} has no end") };
            prop_assert_eq!(finished.completion_tokens, caller.expected.1);
            prop_assert!(finished.cached_tokens % unit == 0 && finished.cached_tokens < finished.prompt_tokens);
            prop_assert!(keep > 0 || finished.cached_tokens == 0);
        }
    }

    #[test]
    fn a_failing_step_ends_its_own_calls_only(fails in prop::collection::hash_set(0_usize..40, 1..6), panics in any::<bool>()) {
        let before = move |step: usize, _: &RunControl| match (fails.contains(&step), panics) {
            (false, _) => Ok(()),
            (true, false) => Err(InferenceError::InvalidRun("as the test wants it".into())),
            (true, true) => panic!("as the test wants it"),
        };
        let mut bench = Bench::new(Behaviour { before: Arc::new(before), ..Behaviour::new(2) }, 16);
        for n in 0..10 {
            bench.submit(n % 3, (usize::from(n) * 4, 3 + usize::from(n)), 9, true);
        }
        bench.settle();
        for caller in &bench.callers {
            match caller.end.as_ref().expect("every call ends") {
                Ok(_) => prop_assert_eq!(&caller.text, &caller.expected.0),
                Err(error) => {
                    prop_assert!(matches!(error, TextError::Inference(_)), "{}", error);
                    prop_assert!(caller.expected.0.starts_with(&caller.text));
                }
            }
        }
    }
}

#[test]
fn right_guesses_save_steps_and_change_nothing() {
    let steps = |lookahead: usize| {
        let behaviour = Behaviour { rows: Rows::Exact, context_length: 500, ..Behaviour::new(1) };
        let count = Arc::clone(&behaviour.steps);
        let mut bench = Bench::new(behaviour, 4);
        bench.adjust = Box::new(move |call| {
            call.lookahead = lookahead;
            call.sampling.temperature = 0.0;
            call.sampling.repetition_penalty = 1.0;
            call.sampling.logit_bias = vec![(END, -100.0)];
        });
        bench.submit(0, (0, 12), 400, true);
        bench.settle();
        assert_eq!(bench.callers[0].text, bench.callers[0].expected.0);
        (count.load(Ordering::SeqCst), bench.callers[0].expected.1)
    };
    let (plain, written) = steps(0);
    let (guessing, _) = steps(8);
    assert_eq!(written, 400);
    assert!(guessing < plain / 2, "{guessing} steps instead of {plain}");
}

#[test]
fn nobody_starves() {
    // A tenant with many long calls, and another with one short call behind them.
    let mut bench = Bench::new(Behaviour { budget: 8, ..Behaviour::new(2) }, 64);
    for _ in 0..20 {
        bench.submit(0, (0, 40), 20, true);
    }
    bench.submit(1, (0, 4), 3, true);
    for _ in 0..60 {
        cycle(&mut bench.scheduler, &bench.shared);
        bench.callers.iter_mut().for_each(|caller| caller.read(usize::MAX));
    }
    // Alone in line it would have waited for twenty calls of at least five prefill steps each.
    assert!(bench.callers[20].end.is_some());
    assert!(bench.callers[19].end.is_none());
}

#[test]
fn prefilling_calls_take_turns() {
    let mut bench = Bench::new(Behaviour { budget: 8, ..Behaviour::new(2) }, 64);
    bench.submit(0, (0, 60), 1, true);
    bench.submit(0, (0, 9), 1, true);
    let turns = |bench: &mut Bench, at: usize| {
        for turn in 0.. {
            bench.callers[at].read(usize::MAX);
            if bench.callers[at].end.is_some() {
                return turn;
            }
            cycle(&mut bench.scheduler, &bench.shared);
        }
        unreachable!("the loop has no end");
    };
    // Two chunks each in turn, not eight of the first one before.
    assert!(turns(&mut bench, 1) <= 4);
}

#[test]
fn a_slow_reader_sits_out_and_loses_nothing() {
    let mut bench = Bench::new(Behaviour { before: Arc::new(|_, _| Ok(())), ..Behaviour::new(2) }, 4);
    // Seeds whose answers are long; picked by looking.
    let mut long = None;
    for n in 0..4 {
        bench.submit(0, (0, 5 + n), 30, false);
        if bench.callers[n].expected.1 >= 8 && long.is_none() {
            long = Some(n);
        }
    }
    let long = long.expect("one of the answers is long");
    for _ in 0..200 {
        cycle(&mut bench.scheduler, &bench.shared);
        bench
            .callers
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| *at != long)
            .for_each(|(_, caller)| caller.read(9));
    }
    for (at, caller) in bench.callers.iter().enumerate() {
        assert_eq!(caller.end.is_some(), at != long, "call {at}");
    }
    // It holds its slot and waits for room.
    assert!(matches!(cycle(&mut bench.scheduler, &bench.shared), Cycle::Idle { until: None }));
    assert_eq!(bench.scheduler.slots_in_use(), 1);
    bench.settle();
    assert_eq!(bench.callers[long].text, bench.callers[long].expected.0);
}

#[test]
fn a_call_that_left_is_gone_before_the_next_step() {
    let mut bench = Bench::new(Behaviour::new(2), 4);
    bench.submit(0, (0, 30), 30, true);
    bench.submit(0, (0, 30), 30, true);
    cycle(&mut bench.scheduler, &bench.shared);
    assert_eq!(bench.scheduler.slots_in_use(), 2);
    bench.callers[0].events = None;
    cycle(&mut bench.scheduler, &bench.shared);
    assert_eq!(bench.scheduler.slots_in_use(), 1);
}

/// Tokens that each call, in the order of arrival, did not run again.
fn cached(bench: &Bench) -> Vec<usize> {
    let ended = |caller: &Caller| match &caller.end {
        Some(Ok(finished)) => finished.cached_tokens,
        other => panic!("no end but {other:?}"),
    };
    bench.callers.iter().map(ended).collect()
}

#[test]
fn a_prompt_that_begins_like_an_earlier_one_is_run_from_where_they_part() {
    let mut bench = Bench::new(Behaviour { budget: CHUNK, ..Behaviour::new(1) }, 8);
    bench.submit(0, (40, 5), 3, true);
    let whole = bench.settle();
    bench.submit(0, (40, 6), 3, true);
    let rest = bench.settle();
    assert_eq!(cached(&bench), [0, 40]);
    assert!(rest + 5 <= whole, "{rest} turns of {whole}: five chunks are not run again");
    // The same prompt once more, whose last tokens are run for their logits; and one of another tenant, as if it were new.
    bench.submit(0, (40, 0), 3, true);
    bench.submit(1, (40, 6), 3, true);
    bench.settle();
    assert_eq!(cached(&bench), [0, 40, 36, 0]);
    assert_whole(&bench);
}

#[test]
fn a_running_call_lends_what_it_has_taken_in() {
    let mut bench = Bench::new(Behaviour { budget: CHUNK, ..Behaviour::new(2) }, 8);
    bench.submit(0, (40, 9), 1, true);
    for _ in 0..3 {
        cycle(&mut bench.scheduler, &bench.shared);
    }
    bench.submit(0, (40, 7), 1, true);
    bench.settle();
    assert_eq!(cached(&bench), [0, 24]);
}

#[test]
fn a_failed_step_leaves_nothing_to_take_over() {
    let before = |step: usize, _: &RunControl| match step {
        3 => Err(InferenceError::InvalidRun("as the test wants it".into())),
        _ => Ok(()),
    };
    let mut bench = Bench::new(Behaviour { budget: CHUNK, before: Arc::new(before), ..Behaviour::new(1) }, 8);
    bench.submit(0, (40, 9), 1, true);
    bench.settle();
    assert!(matches!(bench.callers[0].end, Some(Err(TextError::Inference(_)))));
    bench.submit(0, (40, 9), 1, true);
    bench.settle();
    let Some(Ok(finished)) = &bench.callers[1].end else { panic!("it ends well") };
    assert_eq!(finished.cached_tokens, 0);
}

/// Turns until a call has ended, with everyone reading.
pub(super) fn until_end(bench: &mut Bench, at: usize) {
    for _ in 0..1000 {
        bench.callers.iter_mut().for_each(|caller| caller.read(usize::MAX));
        if bench.callers[at].end.is_some() {
            return;
        }
        cycle(&mut bench.scheduler, &bench.shared);
    }
    panic!("call {at} does not end");
}

/// A call whose answer has at least so many tokens, which have begun to come.
fn begin_long(bench: &mut Bench, priority: Priority, tokens: usize) -> usize {
    loop {
        let at = bench.callers.len();
        bench.submit_at(priority, 0, (20, 5), 30, true);
        if bench.callers[at].expected.1 < tokens {
            until_end(bench, at);
            continue;
        }
        for _ in 0..3 + tokens / 2 {
            cycle(&mut bench.scheduler, &bench.shared);
            bench.callers[at].read(usize::MAX);
        }
        assert!(!bench.callers[at].text.is_empty() && bench.callers[at].end.is_none());
        return at;
    }
}

#[test]
fn a_call_gives_up_its_slot_to_an_urgent_one_and_goes_on_as_if_nothing_had_happened() {
    // With its prompt kept, and without.
    for keep in [2, 0] {
        let mut bench = Bench::new(Behaviour { keep, ..Behaviour::new(1) }, 8);
        let long = begin_long(&mut bench, Priority::Low, 8);
        // Not to its equal.
        bench.submit_at(Priority::Low, 1, (0, 9), 2, true);
        cycle(&mut bench.scheduler, &bench.shared);
        assert_eq!(bench.shared.lock().queue.len(), 1);
        bench.submit_at(Priority::Normal, 1, (0, 9), 2, true);
        until_end(&mut bench, long + 2);
        assert!(bench.callers[long].end.is_none(), "it waits");
        bench.settle();
        assert_whole(&bench);
    }
}

#[test]
fn a_call_of_another_tenant_is_no_reason_to_give_up_a_slot_but_for_low_ones() {
    let mut bench = Bench::new(Behaviour::new(1), 8);
    let long = begin_long(&mut bench, Priority::Normal, 8);
    bench.submit_at(Priority::High, 1, (0, 9), 2, true);
    until_end(&mut bench, long);
    assert!(bench.callers[long + 1].end.is_none());
    let long = begin_long(&mut bench, Priority::Normal, 8);
    bench.submit_at(Priority::High, 0, (0, 9), 2, true);
    until_end(&mut bench, long + 1);
    assert!(bench.callers[long].end.is_none());
}

#[test]
fn a_low_call_ends_though_others_keep_coming() {
    let mut bench = Bench::new(Behaviour::new(1), 8);
    let long = begin_long(&mut bench, Priority::Low, 8);
    for n in 0.. {
        assert!(n < 10 * atelier_inference::PATIENCE, "it starves");
        if bench.callers[long].end.is_some() {
            break;
        }
        let at = bench.callers.len();
        bench.submit(1, (0, 9), 2, true);
        until_end(&mut bench, at);
        // It gets its slot back, and no time to do more than a little of what it had done.
        for _ in 0..2 {
            cycle(&mut bench.scheduler, &bench.shared);
            bench.callers[long].read(usize::MAX);
        }
    }
    assert_eq!(bench.callers[long].text, bench.callers[long].expected.0);
}
