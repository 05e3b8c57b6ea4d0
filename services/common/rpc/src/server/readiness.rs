//! When a server may be sent calls.

use std::sync::Arc;

use tokio::sync::watch;

/// What health checks are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Starting,
    Ready,
    Draining,
}

/// All conditions of a server.
#[derive(Clone)]
pub(crate) struct Gate(Arc<watch::Sender<Conditions>>);

#[derive(Default)]
struct Conditions {
    met: Vec<bool>,
    draining: bool,
}

/// One condition of a server's readiness. A handle that is dropped leaves its condition as it was.
#[derive(Clone)]
pub struct Readiness {
    gate: Gate,
    index: usize,
}

impl Readiness {
    /// The condition is met: models are loaded and warm.
    pub fn ready(&self) {
        self.set(true);
    }

    /// The condition is no longer met.
    pub fn not_ready(&self) {
        self.set(false);
    }

    fn set(&self, met: bool) {
        self.gate.0.send_modify(|conditions| {
            if let Some(condition) = conditions.met.get_mut(self.index) {
                *condition = met;
            }
        });
    }
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readiness").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Conditions::default())))
    }
}

impl Gate {
    pub(crate) fn condition(&self) -> Readiness {
        let mut index = 0;
        self.0.send_modify(|conditions| {
            index = conditions.met.len();
            conditions.met.push(false);
        });
        Readiness { gate: self.clone(), index }
    }

    pub(crate) fn drain(&self) {
        self.0.send_modify(|conditions| conditions.draining = true);
    }

    pub(crate) fn state(&self) -> State {
        let conditions = self.0.borrow();
        if conditions.draining {
            State::Draining
        } else if conditions.met.iter().all(|met| *met) {
            State::Ready
        } else {
            State::Starting
        }
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// Tells of changes to a gate.
pub(crate) struct Changes(watch::Receiver<Conditions>);

impl Changes {
    /// Completes when conditions have changed since the last call; never, once the gate is gone.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_conditions_count_and_draining_beats_them() {
        let gate = Gate::default();
        assert_eq!(gate.state(), State::Ready);
        let (a, b) = (gate.condition(), gate.condition());
        a.ready();
        a.ready();
        assert_eq!(gate.state(), State::Starting);
        b.ready();
        assert_eq!(gate.state(), State::Ready);
        a.not_ready();
        assert_eq!(gate.state(), State::Starting);
        a.ready();
        gate.drain();
        assert_eq!(gate.state(), State::Draining);
    }
}
