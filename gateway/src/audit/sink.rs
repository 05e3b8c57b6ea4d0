//! Where lines of the trail go.

use std::io::{self, Write};

use crate::audit::record::Record;

/// Keeps lines of the trail.
pub(crate) trait AuditSink: Send + 'static {
    /// Keeps these lines; when it returns, they are with the operating system or the service behind the sink.
    ///
    /// # Errors
    /// Not all could be kept. The same lines will be offered again, so some may then be there twice.
    fn append(&mut self, records: &[Record]) -> io::Result<()>;
}

/// JSON, one object a line.
pub(crate) struct JsonLines<W> {
    out: W,
    /// The last line may be incomplete.
    torn: bool,
}

impl<W: Write + Send + 'static> JsonLines<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, torn: false }
    }
}

impl<W: Write + Send + 'static> AuditSink for JsonLines<W> {
    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut lines = Vec::with_capacity(records.len() * 1024);
        if self.torn {
            lines.push(b'\n');
        }
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        self.torn = true;
        self.out.write_all(&lines)?;
        self.out.flush()?;
        self.torn = false;
        Ok(())
    }
}
