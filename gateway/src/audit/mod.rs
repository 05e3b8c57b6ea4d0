//! The trail of decisions: who asked, what was measured, what was decided, under which rules. Never content.
//!
//! A decision takes effect when its line has been accepted by a bounded queue; a thread of its own writes the lines.
//! When the trail can't be written, calls are refused rather than left out of it.

mod record;
mod sink;
mod writer;

use std::{
    fs::OpenOptions,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use atelier_core::{Fault, Reason};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
};

pub(crate) use record::{Decision, Left, Part, Record};
pub(crate) use sink::{AuditSink, JsonLines};
pub(crate) use writer::Writer;

use crate::{
    config::{AuditConfig, AuditDestination},
    error::GatewayError,
    judge::{Call, Judged},
};

/// Takes lines for the trail.
#[derive(Clone)]
pub(crate) struct Audit(Option<Trail>);

#[derive(Clone)]
struct Trail {
    queue: mpsc::Sender<Record>,
    failing: Arc<AtomicBool>,
}

impl Audit {
    /// Opens the trail and starts its writer.
    pub(crate) fn start(config: &AuditConfig) -> Result<(Self, Writer), GatewayError> {
        let sink: Box<dyn AuditSink> = match (config.destination, &config.file) {
            (AuditDestination::Off, _) => return Ok((Self(None), Writer::none())),
            (AuditDestination::Stdout, _) => Box::new(JsonLines::new(io::stdout())),
            (AuditDestination::File, Some(path)) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                let opened =
                    opened.map_err(|source| GatewayError::OpenAudit { path: path.clone(), source })?;
                Box::new(JsonLines::new(opened))
            }
            (AuditDestination::File, None) => {
                return Err(GatewayError::Config("audit.file: destination file needs one".to_owned()));
            }
        };
        Self::to(sink, config.max_queue)
    }

    /// Starts a writer to this sink.
    pub(crate) fn to(sink: Box<dyn AuditSink>, max_queue: usize) -> Result<(Self, Writer), GatewayError> {
        let (queue, lines) = mpsc::channel(max_queue.max(1));
        let failing = Arc::new(AtomicBool::new(false));
        let writer = Writer::start(sink, lines, Arc::clone(&failing)).map_err(GatewayError::StartAudit)?;
        Ok((Self(Some(Trail { queue, failing })), writer))
    }

    /// Puts a decision on the trail.
    ///
    /// # Errors
    /// The trail can't be written.
    pub(crate) async fn decision(
        &self,
        call: &Call,
        judged: &Judged,
        decision: Decision,
    ) -> Result<(), Fault> {
        match &self.0 {
            None => Ok(()),
            Some(trail) => trail.put(Record::of_decision(call, judged, decision)).await,
        }
    }

    /// Puts the end of an answer on the trail: what left, as a hash.
    ///
    /// # Errors
    /// The trail can't be written.
    pub(crate) async fn left(&self, call: &Call, left: Left<'_>) -> Result<(), Fault> {
        match &self.0 {
            None => Ok(()),
            Some(trail) => trail.put(Record::of_end(call, left)).await,
        }
    }

    /// Puts the end of an answer on the trail that nobody waits for: when the queue is full, a task of its own waits.
    pub(crate) fn left_behind(&self, call: &Call, left: Left<'_>) {
        let Some(trail) = &self.0 else { return };
        let Err(TrySendError::Full(record)) = trail.queue.try_send(Record::of_end(call, left)) else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            let queue = trail.queue.clone();
            runtime.spawn(async move { queue.send(record).await });
        }
    }
}

impl Trail {
    async fn put(&self, record: Record) -> Result<(), Fault> {
        let accepted = !self.failing.load(Ordering::Relaxed) && self.queue.send(record).await.is_ok();
        accepted
            .then_some(())
            .ok_or_else(|| Fault::new(Reason::UpstreamUnavailable, "the audit trail can't be written"))
    }
}
