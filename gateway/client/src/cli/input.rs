//! Where a command's content comes from: the command line, stdin, files.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::Path,
};

use super::CliError;

/// The words of the command line as one text; without any (or with "-" alone) all of stdin. `None`: there are no words
/// and stdin is a terminal.
pub(crate) fn text(words: &[String]) -> Result<Option<String>, CliError> {
    let from_stdin = match words {
        [] if io::stdin().is_terminal() => return Ok(None),
        [] => true,
        [only] => only == "-",
        _ => false,
    };
    if !from_stdin {
        return Ok(Some(words.join(" ")));
    }
    let mut bytes = Vec::new();
    // A little over the API's limit is enough to be told that it is too much.
    let limit = (1 << 20) + 1;
    io::stdin()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|cause| CliError::Usage(format!("stdin: {cause}")))?;
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // The limit may have cut a letter in two; what came before it is over the limit all the same.
        Err(error) if error.as_bytes().len() as u64 == limit => {
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }
        Err(_) => return Err(CliError::Usage("stdin is not UTF-8 text".into())),
    };
    // The newline that `echo` adds is not meant.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Some(text))
}

/// As [`text`], where a text is needed.
pub(crate) fn required_text(words: &[String], what: &str) -> Result<String, CliError> {
    text(words)?.ok_or_else(|| CliError::Usage(format!("no {what}: give it as an argument or on stdin")))
}

/// A file's bytes.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|cause| CliError::Usage(format!("{}: {cause}", path.display())))
}
