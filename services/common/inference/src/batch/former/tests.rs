use std::collections::HashSet;

use proptest::{prelude::*, sample::Index};

use super::*;

const LIMITS: Limits =
    Limits { items: 8, tokens: 256, wait: Duration::ZERO, age: Duration::from_millis(100), queue: 64 };

fn tenant(n: usize) -> TenantId {
    TenantId::new(&format!("tenant-{n}")).unwrap()
}

fn item(id: u64, who: usize, cost: usize, arrived: Instant) -> Item<()> {
    Item { id, tenant: tenant(who), cost, arrived, deadline: None, payload: () }
}

fn ids<T>(items: &[Item<T>]) -> Vec<u64> {
    items.iter().map(|item| item.id).collect()
}

/// The next batch, which must not be put off.
fn run(former: &mut Former<()>, now: Instant) -> Option<(Vec<Item<()>>, usize)> {
    match former.next(now) {
        Next::Run { batch, tokens } => Some((batch, tokens)),
        Next::Idle => None,
        Next::Wait(time) => panic!("waits {time:?} although `wait` is 0"),
    }
}

#[test]
fn lengths_that_are_alike_run_together() {
    let now = Instant::now();
    let mut former = Former::new(LIMITS);
    for (id, cost) in [10, 120, 12, 100, 9].into_iter().enumerate() {
        former.push(item(id as u64, 0, cost, now)).unwrap();
    }
    assert_eq!(ids(&run(&mut former, now).unwrap().0), [0, 2]);
    assert_eq!(ids(&run(&mut former, now).unwrap().0), [1, 3]);
    assert_eq!(ids(&run(&mut former, now).unwrap().0), [4]);
    assert!(run(&mut former, now).is_none());
}

#[test]
fn a_flood_of_one_tenant_does_not_hold_up_another() {
    let now = Instant::now();
    let mut former = Former::new(LIMITS);
    for id in 0..40 {
        former.push(item(id, 0, 16, now)).unwrap();
    }
    former.push(item(40, 1, 16, now)).unwrap();
    former.push(item(41, 2, 16, now)).unwrap();
    assert_eq!(ids(&run(&mut former, now).unwrap().0), [0, 1, 2, 3, 4, 5, 40, 41]);
}

#[test]
fn an_old_flood_does_not_hold_up_another_either() {
    let start = Instant::now();
    let mut former = Former::new(Limits { items: 1, ..LIMITS });
    for id in 0..40 {
        former.push(item(id, 0, 16, start)).unwrap();
    }
    let now = start + LIMITS.age;
    assert_eq!(ids(&run(&mut former, now).unwrap().0), [0]);
    former.push(item(40, 1, 16, now)).unwrap();
    former.push(item(41, 2, 16, now)).unwrap();
    // Those who come start level with the flood; from then on every other turn is theirs.
    let order: Vec<u64> = (0..5).flat_map(|_| ids(&run(&mut former, now).unwrap().0)).collect();
    assert_eq!(order, [1, 2, 40, 3, 41]);
}

#[test]
fn tenants_share_by_tokens_not_by_items() {
    let now = Instant::now();
    let mut former = Former::new(Limits { items: 1, ..LIMITS });
    for id in 0..12 {
        former.push(item(id, 0, 96, now)).unwrap();
        former.push(item(100 + id, 1, 32, now)).unwrap();
    }
    let mut served = [0, 0];
    for _ in 0..12 {
        served[usize::from(run(&mut former, now).unwrap().0[0].id >= 100)] += 1;
    }
    assert_eq!(served, [3, 9], "three short items for each one of three times the length");
}

#[test]
fn an_idle_owner_waits_for_a_batch_that_can_grow() {
    let now = Instant::now();
    let mut former = Former::new(Limits { wait: Duration::from_millis(10), items: 2, ..LIMITS });
    former.push(item(0, 0, 16, now)).unwrap();
    let later = now + Duration::from_millis(4);
    let Next::Wait(left) = former.next(later) else { panic!("runs at once") };
    assert_eq!(left, Duration::from_millis(6));
    former.push(item(1, 0, 16, later)).unwrap();
    assert!(
        matches!(former.next(later), Next::Run { batch, .. } if batch.len() == 2),
        "a full batch runs at once"
    );
    former.push(item(2, 0, 16, later)).unwrap();
    assert!(matches!(former.next(later + Duration::from_millis(10)), Next::Run { .. }), "the wait is over");
    former.push(item(3, 0, 300, later)).unwrap();
    assert!(
        matches!(former.next(later), Next::Run { .. }),
        "an item above the budget has nothing to wait for"
    );
}

#[test]
fn a_full_queue_gives_the_item_back() {
    let now = Instant::now();
    let mut former = Former::new(Limits { queue: 1, ..LIMITS });
    former.push(item(0, 0, 1, now)).unwrap();
    assert_eq!(former.push(item(1, 0, 1, now)).unwrap_err().id, 1);
    assert_eq!(former.remove(0).unwrap().id, 0);
    former.push(item(2, 0, 1, now)).unwrap();
}

#[test]
fn accounts_do_not_outlive_the_items() {
    let now = Instant::now();
    let mut former = Former::new(LIMITS);
    for id in 0..20 {
        former.push(item(id, id as usize, 16, now)).unwrap();
    }
    while run(&mut former, now).is_some() {}
    assert!(former.served.is_empty());
}

/// What happens to a queue, in any order.
#[derive(Clone, Debug)]
enum Event {
    Push { tenant: usize, cost: usize, deadline: Option<u64> },
    Leave(Index),
    Run,
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let push = (0..4_usize, 1..300_usize, prop::option::of(0..200_u64));
    let event = prop_oneof![
        6 => push.prop_map(|(tenant, cost, deadline)| Event::Push { tenant, cost, deadline }),
        1 => any::<Index>().prop_map(Event::Leave),
        3 => Just(Event::Run),
        2 => (0..60_u64).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..200)
}

proptest! {
    /// Every item that was taken in comes out exactly once: in a batch, as expired, or with its caller.
    #[test]
    fn nothing_is_lost_and_nothing_is_answered_twice(events in events()) {
        let mut now = Instant::now();
        let mut former = Former::new(LIMITS);
        let (mut pushed, mut out) = (HashSet::new(), Vec::new());
        for (id, event) in events.into_iter().enumerate() {
            let id = id as u64;
            match event {
                Event::Push { tenant, cost, deadline } => {
                    let deadline = deadline.map(|after| now + Duration::from_millis(after));
                    let full = former.len() == LIMITS.queue;
                    let added = former.push(Item { deadline, ..item(id, tenant, cost, now) });
                    prop_assert_eq!(added.is_err(), full);
                    if added.is_ok() {
                        pushed.insert(id);
                    }
                }
                Event::Leave(index) => {
                    let all: Vec<u64> = former.waiting.iter().map(|item| item.id).collect();
                    if !all.is_empty() {
                        let id = *index.get(&all);
                        prop_assert_eq!(former.remove(id).map(|item| item.id), Some(id));
                        prop_assert!(former.remove(id).is_none());
                        out.push(id);
                    }
                }
                Event::Run => {
                    out.extend(ids(&former.expired(now)));
                    if let Some((batch, _)) = run(&mut former, now) {
                        prop_assert!(batch.iter().all(|item| item.deadline.is_none_or(|deadline| deadline > now)));
                        out.extend(ids(&batch));
                    }
                }
                Event::Pass(time) => now += Duration::from_millis(time),
            }
        }
        out.extend(ids(&former.drain()));
        prop_assert_eq!(former.len(), 0);
        prop_assert_eq!(out.len(), pushed.len());
        prop_assert_eq!(out.into_iter().collect::<HashSet<_>>(), pushed);
    }

    /// Items times the longest length stays within the budget unless the batch is one item, and a tenth of it at most is
    /// padding.
    #[test]
    fn the_budget_is_never_exceeded(costs in prop::collection::vec((0..4_usize, 1..400_usize), 1..60)) {
        let now = Instant::now();
        let mut former = Former::new(LIMITS);
        for (id, (tenant, cost)) in costs.into_iter().enumerate() {
            former.push(item(id as u64, tenant, cost, now)).unwrap();
        }
        while let Some((batch, tokens)) = run(&mut former, now) {
            let longest = batch.iter().map(|item| item.cost).max().unwrap();
            let sum: usize = batch.iter().map(|item| item.cost).sum();
            prop_assert!(batch.len() <= LIMITS.items);
            prop_assert_eq!(tokens, batch.len() * longest);
            prop_assert!(batch.len() == 1 || tokens <= LIMITS.tokens, "{} x {}", batch.len(), longest);
            prop_assert!((tokens - sum) * PADDING <= tokens, "{sum} of {tokens} are no padding");
        }
    }

    /// However the queue is flooded with others, an item that is old enough waits for its elders and as many others only.
    #[test]
    fn nobody_starves(
        before in prop::collection::vec((0..4_usize, 1..300_usize), 0..20),
        victim in (0..4_usize, 1..300_usize),
        flood in prop::collection::vec((0..8_usize, 1..300_usize), 12),
    ) {
        let start = Instant::now();
        let mut former = Former::new(LIMITS);
        for (id, (tenant, cost)) in before.iter().enumerate() {
            former.push(item(id as u64, *tenant, *cost, start)).unwrap();
        }
        former.push(item(1000, victim.0, victim.1, start)).unwrap();
        let (mut now, mut id, mut runs) = (start + LIMITS.age, 2000, 0);
        loop {
            for (tenant, cost) in &flood {
                // A full queue refuses, which is no harm to those inside.
                let _ = former.push(item(id, *tenant, *cost, now));
                id += 1;
            }
            runs += 1;
            let (batch, _) = run(&mut former, now).unwrap();
            if ids(&batch).contains(&1000) {
                break;
            }
            prop_assert!(runs <= 2 * before.len(), "{} runs with {} elders", runs, before.len());
            now += Duration::from_millis(10);
        }
    }

    /// Tenants that always have work get equal shares of tokens, whatever the lengths of their items.
    #[test]
    fn shares_are_even(lengths in prop::collection::vec(1..200_usize, 3)) {
        let now = Instant::now();
        let mut former = Former::new(LIMITS);
        let mut tokens = [0_usize; 3];
        let mut id = 0;
        for _ in 0..60 {
            for (who, &length) in lengths.iter().enumerate() {
                while former.waiting.iter().filter(|item| item.tenant == tenant(who)).count() < 10 {
                    former.push(item(id, who, length, now)).unwrap();
                    id += 1;
                }
            }
            for served in run(&mut former, now).unwrap().0 {
                let who = (0..3).find(|&n| tenant(n) == served.tenant).unwrap();
                tokens[who] += served.cost;
            }
        }
        let (most, least) = (tokens.iter().max().unwrap(), tokens.iter().min().unwrap());
        // Within one batch of each other: a batch may hold lengths of one kind only.
        prop_assert!(most - least <= 2 * LIMITS.tokens, "{:?}", tokens);
    }
}
