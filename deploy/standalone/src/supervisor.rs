//! Ends the parts in the right order: the gateway drains while what it depends on still works.

use std::{future::Future, pin::Pin};

use anyhow::{Context, anyhow};
use atelier_rpc::Listeners;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::AbortOnDropHandle,
};

use crate::Config;

/// One of something for each part.
#[derive(Debug)]
pub(crate) struct Parts<T> {
    pub(crate) gateway: T,
    pub(crate) text: T,
    pub(crate) image: T,
    pub(crate) moderation: T,
}

type Part = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Serves all parts until `stop`, or until one of them ends by itself.
pub(crate) async fn run(
    config: Config,
    listeners: Parts<Listeners>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Config { gateway, text, image, moderation, telemetry: _, runtime: _, services: _ } = config;
    let start = |signals: Parts<WaitForCancellationFutureOwned>| Parts::<Part> {
        gateway: Box::pin(atelier_gateway::serve(gateway, listeners.gateway, signals.gateway)),
        text: Box::pin(atelier_text::serve(text, listeners.text, signals.text)),
        image: Box::pin(atelier_image::serve(image, listeners.image, signals.image)),
        moderation: Box::pin(atelier_moderation::serve(moderation, listeners.moderation, signals.moderation)),
    };
    supervise(start, stop).await
}

async fn supervise(
    start: impl FnOnce(Parts<WaitForCancellationFutureOwned>) -> Parts<Part>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let services = CancellationToken::new();
    let parts = start(Parts {
        gateway: stop.clone().cancelled_owned(),
        text: services.clone().cancelled_owned(),
        image: services.clone().cancelled_owned(),
        moderation: services.clone().cancelled_owned(),
    });
    let task = |part| AbortOnDropHandle::new(tokio::spawn(part));
    let mut gateway = task(parts.gateway);
    let mut text = task(parts.text);
    let mut image = task(parts.image);
    let mut moderation = task(parts.moderation);

    let mut ended = Parts { gateway: None, text: None, image: None, moderation: None };
    tokio::select! {
        result = &mut gateway => ended.gateway = Some(result),
        result = &mut text => ended.text = Some(result),
        result = &mut image => ended.image = Some(result),
        result = &mut moderation => ended.moderation = Some(result),
    }
    // A part that ends unasked takes the others down in order: half a system is worse than a restart.
    let asked = stop.is_cancelled();
    let unasked = |name: &str, result: &Option<_>| {
        (result.is_some() && !asked).then(|| anyhow!("{name} ended by itself"))
    };
    let early = unasked("the gateway", &ended.gateway)
        .or_else(|| unasked("the text service", &ended.text))
        .or_else(|| unasked("the image service", &ended.image))
        .or_else(|| unasked("the moderation service", &ended.moderation));
    stop.cancel();
    let gateway = match ended.gateway {
        Some(result) => result,
        None => gateway.await,
    };
    services.cancel();
    let text = match ended.text {
        Some(result) => result,
        None => text.await,
    };
    let image = match ended.image {
        Some(result) => result,
        None => image.await,
    };
    let moderation = match ended.moderation {
        Some(result) => result,
        None => moderation.await,
    };
    text.context("the text service was lost")?.context("text service")?;
    image.context("the image service was lost")?.context("image service")?;
    moderation.context("the moderation service was lost")?.context("moderation service")?;
    gateway.context("the gateway was lost")?.context("gateway")?;
    early.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use super::*;

    /// Parts that note when they are told to stop and when they have.
    fn noting(
        notes: &Arc<Mutex<Vec<&'static str>>>,
        signals: Parts<WaitForCancellationFutureOwned>,
    ) -> Parts<Part> {
        let part = |signal: WaitForCancellationFutureOwned, told: &'static str, done: &'static str| -> Part {
            let notes = notes.clone();
            Box::pin(async move {
                signal.await;
                notes.lock().unwrap().push(told);
                tokio::time::sleep(Duration::from_millis(20)).await;
                notes.lock().unwrap().push(done);
                Ok(())
            })
        };
        Parts {
            gateway: part(signals.gateway, "gateway told", "gateway done"),
            text: part(signals.text, "service told", "service done"),
            image: part(signals.image, "service told", "service done"),
            moderation: part(signals.moderation, "service told", "service done"),
        }
    }

    #[tokio::test]
    async fn the_gateway_is_done_before_the_services_are_told() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let supervised = tokio::spawn(supervise(
            {
                let notes = notes.clone();
                move |signals| noting(&notes, signals)
            },
            stop.clone(),
        ));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(notes.lock().unwrap().is_empty());
        stop.cancel();
        supervised.await.unwrap().unwrap();
        let notes = notes.lock().unwrap();
        assert_eq!(notes[..3], ["gateway told", "gateway done", "service told"]);
        assert_eq!(notes.len(), 8);
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_all_with_its_error() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let error = supervise(
            |signals| Parts {
                text: Box::pin(async { Err(anyhow!("model is corrupt")) }),
                ..noting(&notes, signals)
            },
            CancellationToken::new(),
        )
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "text service: model is corrupt");
        assert_eq!(notes.lock().unwrap().len(), 6, "gateway, images and moderation were drained");
    }

    #[tokio::test]
    async fn a_part_that_just_ends_is_an_error_too() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let start =
            |signals| Parts { moderation: Box::pin(async { Ok(()) }) as Part, ..noting(&notes, signals) };
        let error = supervise(start, CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "the moderation service ended by itself");
    }
}
