//! The engine as callers have it, with its thread.

use std::time::Duration;

use super::*;

fn engine(behaviour: Behaviour, config: &EngineConfig) -> Engine {
    Engine::start("fake", config, FakeDecoder::new(behaviour)).expect("a thread starts")
}

async fn hear(mut events: Events) -> Result<(String, Finished), TextError> {
    let mut text = String::new();
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta { text: delta, .. } => text += &delta,
            Event::Finished(finished) => return Ok((text, finished)),
        }
    }
    panic!("the events end without an end");
}

/// Each step takes this long, unless it is cancelled.
fn slow(time: Duration) -> Behaviour {
    let before = move |_: usize, control: &RunControl| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if control.is_cancelled() {
                return Err(InferenceError::Cancelled);
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    };
    Behaviour { before: Arc::new(before), ..Behaviour::new(2) }
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} did not come about");
}

#[tokio::test]
async fn sixty_calls_at_once_write_what_they_write_alone() {
    let config = EngineConfig {
        prefill_chunk: CHUNK,
        max_prefill_tokens_per_step: 16,
        event_buffer: 2,
        ..EngineConfig::default()
    };
    let engine = engine(Behaviour::new(4), &config);
    let calls = (0..60_u32).map(|n| {
        let prompt: Vec<u32> = (0..=n % 50).map(|m| (m * 7 + n) % VOCABULARY as u32).collect();
        let call = call(prompt.clone(), n.into(), 25);
        let expected = alone(Rows::Single, &prompt, &call.sampling, 25, 64);
        let events = engine.submit(call).expect("the queue has room");
        async move {
            let (text, finished) = hear(events).await.expect("it succeeds");
            assert_eq!((text, finished.completion_tokens), expected);
        }
    });
    futures::future::join_all(calls).await;
}

#[tokio::test]
async fn a_step_that_nobody_waits_for_is_stopped() {
    let engine = engine(slow(Duration::from_secs(3600)), &EngineConfig::default());
    let events = engine.submit(call(vec![1, 2], 0, 5)).expect("the queue has room");
    wait_until("the slot is taken", || engine.slots_in_use() == 1).await;
    drop(events);
    wait_until("the slot is freed", || engine.slots_in_use() == 0).await;
    engine.close().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_makes_room_for_callers_that_left() {
    let config = EngineConfig { max_queue: 3, ..EngineConfig::default() };
    let engine = engine(slow(Duration::from_secs(3600)), &config);
    let running: Vec<_> =
        (0..2).map(|n| engine.submit(call(vec![1], n, 5)).expect("there are slots")).collect();
    wait_until("a slot is taken", || engine.slots_in_use() >= 1 && engine.queue_depth() <= 1).await;
    let mut waiting = Vec::new();
    let refused = loop {
        match engine.submit(call(vec![1], 9, 5)) {
            Ok(events) => waiting.push(events),
            Err(error) => break error,
        }
        assert!(waiting.len() <= 3);
    };
    let TextError::QueueFull { retry_after } = refused else { panic!("{refused}") };
    assert!(retry_after >= Duration::from_millis(100));
    drop(waiting.pop());
    assert!(engine.submit(call(vec![1], 9, 5)).is_ok());
    drop(running);
}

#[tokio::test]
async fn deadlines_hold_in_the_queue_and_in_a_slot() {
    let engine = engine(slow(Duration::from_millis(20)), &EngineConfig::default());
    let calls: Vec<_> = (0..6)
        .map(|n| {
            let mut call = call(vec![n], 3, 60);
            call.stop_tokens.clear();
            call.deadline = Some(Instant::now() + Duration::from_millis(60));
            engine.submit(call).expect("the queue has room")
        })
        .collect();
    for events in calls {
        let ended = hear(events).await;
        assert!(matches!(ended, Err(TextError::DeadlineExceeded)), "{ended:?}");
    }
    wait_until("the slots are freed", || engine.slots_in_use() == 0).await;
}

#[tokio::test]
async fn an_unread_call_does_not_keep_its_deadline_waiting() {
    let config = EngineConfig { event_buffer: 2, ..EngineConfig::default() };
    let engine = engine(Behaviour::new(1), &config);
    let mut call = call(vec![3], 3, 60);
    call.stop_tokens.clear();
    call.deadline = Some(Instant::now() + Duration::from_millis(50));
    let events = engine.submit(call).expect("the queue has room");
    wait_until("the slot is taken", || engine.slots_in_use() == 1).await;
    wait_until("the slot is freed", || engine.slots_in_use() == 0).await;
    assert!(matches!(hear(events).await, Err(TextError::DeadlineExceeded)));
}

#[tokio::test]
async fn closing_ends_everything() {
    let engine = engine(slow(Duration::from_secs(3600)), &EngineConfig::default());
    let calls: Vec<_> = (0..5).map(|n| engine.submit(call(vec![1], n, 5)).expect("there is room")).collect();
    engine.close().await;
    for events in calls {
        assert!(matches!(hear(events).await, Err(TextError::Draining)));
    }
    assert!(matches!(engine.submit(call(vec![1], 0, 5)), Err(TextError::Draining)));
}
