//! Lines of {"id", "text", ...}: reading them, whatever they hold, without a bound on how many there are.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::CliError;

/// Longest line. A text of the API's 1 MiB takes up to six times as much when every letter of it is escaped.
const MAX_LINE_BYTES: usize = 8 << 20;
/// Lines read ahead of the calls.
const READ_AHEAD: usize = 64;

/// A text and what its answer is to be known by.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) text: String,
    /// What else the line has.
    pub(crate) more: Map<String, Value>,
}

/// What the text may be called, the proper name first.
pub(crate) type Names = &'static [&'static str];

/// What an answer is known by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    /// From 1.
    pub(crate) line: u64,
    /// A string or a number, as it stood in the line; `None` where the line has none.
    pub(crate) id: Option<Value>,
}

/// A line that holds no record.
#[derive(Debug, PartialEq)]
pub(crate) struct BadLine {
    pub(crate) key: Key,
    pub(crate) message: String,
}

/// Reads the lines of a file ("-": stdin) on a thread of their own, as fast as they are taken. An `io::Error` is the
/// last thing that comes.
pub(crate) fn read(
    path: &Path,
    names: Names,
) -> Result<mpsc::Receiver<io::Result<Result<Record, BadLine>>>, CliError> {
    let source: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|cause| CliError::Usage(format!("{}: {cause}", path.display())))?)
    };
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        for record in Records::new(BufReader::new(source), names) {
            if sender.blocking_send(record).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The records of a source, empty lines left out.
struct Records<R> {
    source: R,
    names: Names,
    line: u64,
    ended: bool,
}

impl<R: BufRead> Records<R> {
    fn new(source: R, names: Names) -> Self {
        Self { source, names, line: 0, ended: false }
    }

    /// The next line without its end; `None` at the end of the source. Of a line that is too long only as much is kept
    /// as shows that it is.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = MAX_LINE_BYTES as u64 + 1;
        if self.source.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > MAX_LINE_BYTES {
            self.source.skip_until(b'\n')?;
        }
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = io::Result<Result<Record, BadLine>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.next_line() {
                Ok(Some(line)) if line.trim_ascii().is_empty() => {}
                Ok(Some(line)) => return Some(Ok(parse(self.line, &line, self.names))),
                Ok(None) => self.ended = true,
                Err(cause) => {
                    self.ended = true;
                    return Some(Err(cause));
                }
            }
        }
        None
    }
}

fn parse(line: u64, bytes: &[u8], names: Names) -> Result<Record, BadLine> {
    let bad =
        |id: Option<Value>, message: &str| BadLine { key: Key { line, id }, message: message.to_owned() };
    if bytes.len() > MAX_LINE_BYTES {
        return Err(bad(None, "longer than 8 MiB"));
    }
    // A byte order mark is no part of the JSON, and editors put it there.
    let bytes = if line == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
    if std::str::from_utf8(bytes).is_err() {
        return Err(bad(None, "not UTF-8"));
    }
    let mut fields: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|cause| bad(None, &reason(&cause)))?;
    let id = match fields.remove("id") {
        None | Some(Value::Null) => None,
        Some(id @ (Value::String(_) | Value::Number(_))) => Some(id),
        Some(_) => return Err(bad(None, "\"id\" must be a string or a number")),
    };
    let found = names.iter().find_map(|name| Some((*name, fields.remove(*name)?)));
    match found {
        Some((_, Value::String(text))) => Ok(Record { key: Key { line, id }, text, more: fields }),
        Some((name, _)) => Err(bad(id, &format!("{name:?} must be a string"))),
        None => Err(bad(id, &format!("no {:?}", names.first().copied().unwrap_or_default()))),
    }
}

/// Says what is wrong without repeating what the line holds.
fn reason(cause: &serde_json::Error) -> String {
    match cause.classify() {
        serde_json::error::Category::Data => "no JSON object".to_owned(),
        serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => {
            format!("not JSON at column {}", cause.column())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn records(source: &[u8]) -> Vec<Result<Record, BadLine>> {
        Records::new(source, &["text"]).map(|record| record.expect("memory can be read")).collect()
    }

    #[test]
    fn good_and_bad_lines_keep_their_numbers() {
        let source = b"\xef\xbb\xbf{\"id\":\"a\",\"text\":\"x\",\"more\":1}\r\n\n{\"id\":7,\"text\":\"y\"}\nnonsense\n\
                       {\"id\":\"b\"}\n{\"id\":[1],\"text\":\"\"}\n\xff\n[1]\n{\"text\":\"z\"}";
        let shown: Vec<_> = records(source)
            .into_iter()
            .map(|record| match record {
                Ok(Record { key, text, .. }) => (key.line, key.id, text),
                Err(BadLine { key, message }) => (key.line, key.id, format!("! {message}")),
            })
            .collect();
        let expected = [
            (1, Some(json!("a")), "x"),
            (3, Some(json!(7)), "y"),
            (4, None, "! not JSON at column 2"),
            (5, Some(json!("b")), "! no \"text\""),
            (6, None, "! \"id\" must be a string or a number"),
            (7, None, "! not UTF-8"),
            (8, None, "! no JSON object"),
            (9, None, "z"),
        ];
        assert_eq!(shown, expected.map(|(line, id, text)| (line, id, text.to_owned())));
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let mut source = vec![b'x'; MAX_LINE_BYTES + 100];
        source.extend(b"\n{\"text\":\"after\"}\n");
        let records = records(&source);
        assert_eq!(records.len(), 2);
        assert!(matches!(&records[0], Err(BadLine { message, .. }) if message == "longer than 8 MiB"));
        assert!(matches!(&records[1], Ok(Record { text, key: Key { line: 2, .. }, .. }) if text == "after"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            texts in proptest::collection::vec((proptest::option::of(".*"), ".*"), 0..20),
            end in prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")]
        ) {
            let lines = texts.iter().map(|(id, text)| format!("{}{end}", json!({"id": id, "text": text})));
            let read = records(lines.collect::<String>().as_bytes());
            let read: Vec<_> = read.into_iter().map(|record| record.expect("a record")).collect();
            prop_assert_eq!(read.len(), texts.len());
            for (record, (id, text)) in read.iter().zip(&texts) {
                prop_assert_eq!(&record.text, text);
                prop_assert_eq!(&record.key.id, &id.clone().map(Value::String));
            }
        }

        #[test]
        fn every_line_that_is_not_blank_is_answered_once(source in proptest::collection::vec(any::<u8>(), 0..400)) {
            let lines = source.split(|byte| *byte == b'\n').enumerate();
            let expected: Vec<u64> = lines
                .filter(|(_, line)| !line.trim_ascii().is_empty())
                .map(|(n, _)| n as u64 + 1)
                .collect();
            let seen: Vec<u64> = records(&source)
                .into_iter()
                .map(|record| record.map_or_else(|bad| bad.key.line, |record| record.key.line))
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
