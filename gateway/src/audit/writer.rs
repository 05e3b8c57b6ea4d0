//! The thread that writes the trail.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    audit::{record::Record, sink::AuditSink},
    metrics,
};

/// Lines written in one go at most.
const MAX_BATCH: usize = 256;
/// Time between tries while the trail can't be written.
const RETRY: Duration = Duration::from_millis(500);
/// Longest time that shutdown waits for the last lines.
const FINISH: Duration = Duration::from_secs(10);

/// The thread that writes the trail; it ends when nobody can add lines any more.
pub(crate) struct Writer(Option<oneshot::Receiver<()>>);

impl Writer {
    /// For a trail that is off.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn start(
        sink: Box<dyn AuditSink>,
        lines: mpsc::Receiver<Record>,
        failing: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let (done, finished) = oneshot::channel();
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            run(sink, lines, &failing);
            // Nobody waits when the process is not shutting down in order.
            let _ = done.send(());
        })?;
        Ok(Self(Some(finished)))
    }

    /// Waits until every line is written; all [`super::Audit`]s must be gone by then.
    pub(crate) async fn finish(self) {
        let Some(finished) = self.0 else { return };
        if tokio::time::timeout(FINISH, finished).await.is_err() {
            tracing::error!("audit lines are left unwritten");
        }
    }
}

fn run(mut sink: Box<dyn AuditSink>, mut lines: mpsc::Receiver<Record>, failing: &AtomicBool) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while lines.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
        while let Err(error) = sink.append(&batch) {
            if !failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "the audit trail can't be written, calls are refused until it can");
                metrics::audit_failing(true);
            }
            if lines.is_closed() {
                // Shutting down: there is no later time at which it might work.
                return;
            }
            thread::park_timeout(RETRY);
        }
        if failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit trail is written again");
            metrics::audit_failing(false);
        }
        metrics::audit_lines(batch.len());
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use atelier_core::TenantId;
    use atelier_policy::{Ruleset, Stage, Verdict};
    use atelier_rpc::CallContext;

    use super::*;
    use crate::{
        audit::{Audit, Decision},
        judge::{Call, Judged},
        moderator::Scores,
    };

    #[derive(Clone, Default)]
    struct Disk {
        lines: Arc<Mutex<Vec<String>>>,
        full: Arc<AtomicBool>,
    }

    impl AuditSink for Disk {
        fn append(&mut self, records: &[Record]) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.extend(records.iter().map(|record| serde_json::to_string(record).unwrap()));
            Ok(())
        }
    }

    fn call() -> Call {
        let rules = Ruleset::parse(include_str!("../../../deploy/config/policy.yaml")).unwrap();
        let policy = Arc::clone(rules.policy_of(&TenantId::default_tenant()).unwrap());
        let context = CallContext::new(TenantId::default_tenant());
        Call { context, rpc: "Check", policy, policy_version: rules.version().to_owned(), model: None }
    }

    fn judged() -> Judged {
        Judged { verdict: Verdict::allow(Stage::Input), scores: Scores::default(), detectors: Vec::new() }
    }

    fn decision(n: u32) -> Decision {
        Decision {
            choice: None,
            window: Some(n),
            part: None,
            content_sha256: String::new(),
            content_bytes: 0,
        }
    }

    #[tokio::test]
    async fn finish_sees_every_line_written() {
        let disk = Disk::default();
        let (audit, writer) = Audit::to(Box::new(disk.clone()), 2).unwrap();
        for n in 0..100 {
            audit.decision(&call(), &judged(), decision(n)).await.unwrap();
        }
        drop(audit);
        writer.finish().await;
        assert_eq!(disk.lines.lock().unwrap().len(), 100);
    }

    #[tokio::test]
    async fn a_trail_that_cannot_be_written_refuses_until_it_can() {
        let disk = Disk::default();
        disk.full.store(true, Ordering::Relaxed);
        let (audit, writer) = Audit::to(Box::new(disk.clone()), 1).unwrap();
        let (call, judged) = (call(), judged());
        let mut accepted = 0;
        while audit.decision(&call, &judged, decision(accepted)).await.is_ok() {
            accepted += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(accepted < 100, "lines are accepted that can't be written");
        }
        disk.full.store(false, Ordering::Relaxed);
        let mut tries = 0;
        while audit.decision(&call, &judged, decision(accepted)).await.is_err() {
            tries += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(tries < 500, "the trail is writable and calls are refused");
        }
        drop(audit);
        writer.finish().await;
        // Whatever was accepted is there, the lines from before the recovery included.
        assert_eq!(disk.lines.lock().unwrap().len() as u32, accepted + 1);
    }
}
