//! Calls in a stream of text.
//!
//! Plain text passes at once; what may be the beginning of a call is held back until it is one or is none. What is none is text, as
//! it was written: JSON that does not parse or is cut off, and calls of tools that were not offered. White space around calls is
//! dropped where it follows one. The result does not depend on how the text falls into pieces.

use serde_json::{Map, Value};

use super::Syntax;
use crate::stop::overlap;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text, not empty.
    Text(String),
    /// A call: the tool's name and its arguments.
    Call(String, Map<String, Value>),
}

/// Reads text as it is written.
#[derive(Clone, Debug)]
pub struct CallReader {
    syntax: Syntax,
    names: Vec<String>,
    /// Text about which nothing is decided yet.
    held: String,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Text, in which a call may open.
    Text,
    /// What is held opens a call; so much of it has been looked at.
    Body { seen: usize, json: Json },
    /// A call is complete: what closes it may follow.
    Closing,
    /// It is closed.
    Closed,
    /// Nothing but text follows.
    Rest,
}

/// Finds the end of a JSON object or array without judging it.
#[derive(Clone, Copy, Debug, Default)]
struct Json {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

enum Found {
    /// It ends before this byte.
    End(usize),
    /// It does not begin: another character stands here.
    Other(usize),
    More,
}

impl CallReader {
    /// A reader of calls of these tools.
    #[must_use]
    pub fn new(syntax: Syntax, names: Vec<String>) -> Self {
        let state = if syntax.opener().is_empty() {
            State::Body { seen: 0, json: Json::default() }
        } else {
            State::Text
        };
        Self { syntax, names, held: String::new(), state }
    }

    /// Takes more text and gives what is decided.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// The text has ended: what was held back is no call.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        match self.state {
            State::Text | State::Body { .. } | State::Rest => self.pass(self.held.len(), &mut pieces),
            // The end of the closing mark is missing.
            State::Closing | State::Closed => self.held.clear(),
        }
        pieces
    }

    /// A call has just been opened, and nothing of it is written.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        let opener = self.syntax.opener();
        let nothing = |rest: &str| rest.bytes().all(is_space);
        matches!(self.state, State::Body { .. })
            && !opener.is_empty()
            && self.held.strip_prefix(opener).is_some_and(nothing)
    }

    /// Whether there is more to decide with what is there.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let opener = self.syntax.opener();
        match self.state {
            State::Text => {
                let found = self.held.find(opener);
                let passes = found.unwrap_or_else(|| self.held.len() - overlap(&self.held, opener));
                self.pass(passes, pieces);
                if found.is_some() {
                    self.state = State::Body { seen: opener.len(), json: Json::default() };
                }
                found.is_some()
            }
            State::Body { seen, mut json } => {
                let begins = if self.syntax == Syntax::Listed { b'[' } else { b'{' };
                match json.find_end(self.held.as_bytes(), seen, begins) {
                    Found::More => {
                        self.state = State::Body { seen: self.held.len(), json };
                        false
                    }
                    Found::Other(at) => {
                        self.no_call(at, pieces);
                        true
                    }
                    Found::End(end) => {
                        let body = &self.held[opener.len()..end];
                        match self.syntax.calls(body, &self.names) {
                            Some(calls) => {
                                pieces.extend(
                                    calls.into_iter().map(|(name, arguments)| Piece::Call(name, arguments)),
                                );
                                self.held.drain(..end);
                                self.state = State::Closing;
                            }
                            None => self.no_call(end, pieces),
                        }
                        true
                    }
                }
            }
            State::Closing => {
                self.skip_space();
                let closer = self.syntax.closer();
                if self.held.len() < closer.len() && closer.starts_with(&self.held) {
                    return false;
                }
                if self.held.starts_with(closer) {
                    self.held.drain(..closer.len());
                }
                self.state = State::Closed;
                true
            }
            State::Closed => {
                self.skip_space();
                if self.held.is_empty() {
                    return false;
                }
                self.state = match self.syntax {
                    Syntax::Tagged | Syntax::Listed => State::Text,
                    Syntax::Bare => {
                        // Llama separates calls by semicolons.
                        if self.held.starts_with(';') {
                            self.held.remove(0);
                        }
                        State::Body { seen: 0, json: Json::default() }
                    }
                };
                true
            }
            State::Rest => {
                self.pass(self.held.len(), pieces);
                false
            }
        }
    }

    /// What is held up to here is text.
    fn no_call(&mut self, end: usize, pieces: &mut Vec<Piece>) {
        self.pass(end, pieces);
        self.state = match self.syntax {
            Syntax::Tagged | Syntax::Listed => State::Text,
            Syntax::Bare => State::Rest,
        };
    }

    fn pass(&mut self, end: usize, pieces: &mut Vec<Piece>) {
        if end == 0 {
            return;
        }
        let rest = self.held.split_off(end);
        let text = std::mem::replace(&mut self.held, rest);
        match pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            _ => pieces.push(Piece::Text(text)),
        }
    }

    fn skip_space(&mut self) {
        let text = self.held.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_space));
        self.held.drain(..self.held.len() - text.len());
    }
}

impl Json {
    /// Looks at the bytes from `from` on; `begins`: the first that is no white space.
    fn find_end(&mut self, bytes: &[u8], from: usize, begins: u8) -> Found {
        for (at, &byte) in bytes.iter().enumerate().skip(from) {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' if self.depth > 0 || byte == begins => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Found::End(at + 1);
                    }
                }
                _ if self.depth == 0 && !is_space(byte) => return Found::Other(at),
                _ => {}
            }
        }
        Found::More
    }
}

/// What JSON takes for white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SYNTAXES: [Syntax; 3] = [Syntax::Tagged, Syntax::Listed, Syntax::Bare];

    /// The text and the calls of an answer in these pieces.
    fn read(syntax: Syntax, pieces: &[&str]) -> (String, Vec<(String, Value)>) {
        let mut reader = CallReader::new(syntax, vec!["add".into(), "now".into()]);
        let mut found: Vec<Piece> = pieces.iter().flat_map(|piece| reader.push(piece)).collect();
        found.extend(reader.finish());
        let (mut text, mut calls) = (String::new(), Vec::new());
        for piece in found {
            match piece {
                Piece::Text(more) => text += &more,
                Piece::Call(name, arguments) => calls.push((name, Value::Object(arguments))),
            }
        }
        (text, calls)
    }

    fn pieces<'a>(text: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a str> {
        let mut borders: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        borders.push(text.len());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| borders[cut.index(borders.len())]).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect()
    }

    #[test]
    fn calls_are_found_among_text() {
        let add = |a: i64| ("add".to_owned(), json!({"a": a}));
        let tagged = "Let me see.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>\n\
                      <tool_call>{\"arguments\": {\"a\": 2}, \"name\": \"add\"}</tool_call>\n Done.";
        assert_eq!(read(Syntax::Tagged, &[tagged]), ("Let me see.\nDone.".into(), vec![add(1), add(2)]));
        let listed = "[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\": \"add\", \"arguments\": {\"a\": 2}, \"id\": \"x\"}]";
        assert_eq!(read(Syntax::Listed, &[listed]), (String::new(), vec![add(1), add(2)]));
        let bare = " {\"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"add\", \"parameters\": {\"a\": 2}} so";
        assert_eq!(read(Syntax::Bare, &[bare]), ("so".into(), vec![add(1), add(2)]));
    }

    #[test]
    fn marks_within_strings_are_no_marks() {
        let body = json!({"name": "add", "arguments": {"a": "</tool_call> \" } ] \\ <tool_call>"}});
        let (text, calls) = read(Syntax::Tagged, &[&format!("<tool_call>{body}</tool_call>")]);
        assert_eq!((text.as_str(), calls[0].1["a"] == body["arguments"]["a"]), ("", true));
    }

    #[test]
    fn what_is_no_call_is_text() {
        for (syntax, text) in [
            (Syntax::Tagged, "<tool_call> none <tool_call"),
            (Syntax::Tagged, "<tool_call>{\"name\": \"drop\", \"arguments\": {}}</tool_call>"),
            (Syntax::Tagged, "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>"),
            (Syntax::Tagged, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": tru"),
            (Syntax::Tagged, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": ]}</tool_call> <"),
            (Syntax::Listed, "[TOOL_CALLS]{\"name\": \"add\", \"arguments\": {}}"),
            (Syntax::Listed, "[TOOL_CALLS][]"),
            (Syntax::Listed, "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {}}, 1]"),
            (Syntax::Bare, "{\"name\": \"Ada\", \"age\": 36}"),
            (Syntax::Bare, "Say {\"name\": \"add\", \"parameters\": {}}"),
            (Syntax::Bare, " \n"),
        ] {
            assert_eq!(read(syntax, &[text]), (text.to_owned(), vec![]), "{syntax:?}");
        }
        let again = "<tool_call> hm <tool_call>{\"name\": \"now\", \"arguments\": {}}";
        assert_eq!(
            read(Syntax::Tagged, &[again]),
            ("<tool_call> hm ".into(), vec![("now".into(), json!({}))])
        );
    }

    #[test]
    fn only_a_possible_call_is_held_back() {
        let mut reader = CallReader::new(Syntax::Tagged, vec!["now".into()]);
        assert_eq!(reader.push("a < b <"), [Piece::Text("a < b ".into())]);
        assert!(reader.push("tool_call>").is_empty() && reader.is_opened());
        assert!(reader.push("\n").is_empty() && reader.is_opened());
        assert!(reader.push("{\"name\": \"now\", \"arguments\": {").is_empty() && !reader.is_opened());
        assert_eq!(reader.push("}}"), [Piece::Call("now".into(), Map::new())]);
        assert_eq!(reader.push("\n</tool_call>\nb"), [Piece::Text("b".into())]);
        let mut reader = CallReader::new(Syntax::Bare, vec!["now".into()]);
        assert_eq!(reader.push("Hi {"), [Piece::Text("Hi {".into())]);
    }

    const SCRAPS: &str = "(<tool_call>|</tool_call>|<tool_|\\[TOOL_CALLS\\]|\\[TOOL|\\{\"name\": \"add\", \"arguments\": \\{\\}\\}\
        |\\{\"name\": \"add\", \"parameters\": \\{\"a\": \"é\\\\\"\"\\}\\}|\\{\"name\"|[\\[\\]{};:, \n\"\\\\ab你é]){0,14}";

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in SCRAPS,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            for syntax in SYNTAXES {
                let whole = read(syntax, &[&text]);
                prop_assert_eq!(&read(syntax, &pieces(&text, &cuts)), &whole, "{:?}", syntax);
                if whole.1.is_empty() {
                    prop_assert_eq!(&whole.0, &text, "{:?}", syntax);
                }
            }
        }

        #[test]
        fn nothing_is_lost(
            texts in prop::collection::vec("[a-z<你][a-z <{}你]{0,8}[.]", 1..5),
            words in prop::collection::vec("[a-z<>/\"\\\\{}\\[\\] 你\n]{0,12}", 4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let arguments = |word: &String| json!({"word": word, "of": [{"n": 1.5}]});
            let body = |word| json!({"name": "add", "arguments": arguments(word)});
            for (syntax, open, close) in [(Syntax::Tagged, "<tool_call>\n", "\n</tool_call>\n"), (Syntax::Listed, "[TOOL_CALLS] [", "]")] {
                let calls = words.iter().map(|word| format!("{open}{}{close}", body(word)));
                let answer: String = texts.iter().cloned().zip(calls).map(|(text, call)| text + &call).collect();
                let (text, calls) = read(syntax, &pieces(&answer, &cuts));
                prop_assert_eq!(text, texts.concat());
                let expected: Vec<_> = words.iter().take(texts.len()).map(|word| ("add".to_owned(), arguments(word))).collect();
                prop_assert_eq!(calls, expected);
            }
        }
    }
}
