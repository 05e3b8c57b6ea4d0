//! The async runtime of a server.

use std::{env, io, thread};

use tokio::runtime::{Builder, Runtime};

/// Processors for each async thread of a server that runs models.
const PROCESSORS_PER_THREAD: usize = 4;

/// A runtime that leaves the processors to models: their runs have threads of their own, so async threads only move
/// messages. As many of them as processors, tokio's default, would wake each other for every token and push the
/// models' threads aside.
/// `TOKIO_WORKER_THREADS` overrides the number, as everywhere in tokio.
///
/// # Errors
/// The operating system gives no threads.
pub fn beside_models() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads(processors.div_ceil(PROCESSORS_PER_THREAD));
    }
    builder.enable_all().build()
}
