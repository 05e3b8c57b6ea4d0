//! "(word:1.3)": how much the parts of a prompt count.

/// What brackets without a number multiply or divide by.
const BRACKET: f32 = 1.1;
/// Bounds on a part's weight, nested brackets multiplied.
const MOST: f32 = 10.0;

/// A prompt without its brackets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weighted {
    /// The text as it is read.
    pub(crate) text: String,
    /// From this byte on, up to the next one's, the text counts so much.
    changes: Vec<(usize, f32)>,
}

impl Weighted {
    /// Reads a prompt: "(word)" counts 1.1 times, "(word:1.3)" 1.3 times, "[word]" 1/1.1 times; brackets nest, a backslash
    /// takes the meaning of a bracket or a backslash away. Brackets that are not closed reach to the end; closing ones that
    /// were not opened are text.
    pub(crate) fn parse(prompt: &str) -> Self {
        let mut parser = Parser::default();
        let mut rest = prompt;
        while let Some(next) = rest.chars().next() {
            rest = parser.take(next, &rest[next.len_utf8()..]);
        }
        while let Some(open) = parser.open.pop() {
            parser.multiply(open.from, if open.round { BRACKET } else { 1.0 / BRACKET });
        }
        parser.finish()
    }

    /// The weight of the text at this byte.
    pub(crate) fn at(&self, byte: usize) -> f32 {
        let next = self.changes.partition_point(|(from, _)| *from <= byte);
        next.checked_sub(1).map_or(1.0, |n| self.changes[n].1)
    }

    /// Every part counts once.
    pub(crate) fn is_plain(&self) -> bool {
        self.changes.is_empty()
    }
}

struct Open {
    round: bool,
    from: usize,
}

#[derive(Default)]
struct Parser {
    text: String,
    open: Vec<Open>,
    /// Ranges of the text and what they are multiplied by.
    factors: Vec<(std::ops::Range<usize>, f32)>,
}

impl Parser {
    /// Takes a character; what is left to read.
    fn take<'a>(&mut self, next: char, rest: &'a str) -> &'a str {
        let closes = |open: Option<&Open>, round: bool| open.is_some_and(|open| open.round == round);
        match next {
            '\\' => match rest.chars().next() {
                Some(escaped @ ('(' | ')' | '[' | ']' | '\\')) => {
                    self.text.push(escaped);
                    return &rest[1..];
                }
                _ => self.text.push('\\'),
            },
            '(' | '[' => self.open.push(Open { round: next == '(', from: self.text.len() }),
            ':' if closes(self.open.last(), true) => match weight(rest) {
                Some((factor, rest)) => {
                    self.close(factor);
                    return rest;
                }
                None => self.text.push(':'),
            },
            ')' if closes(self.open.last(), true) => self.close(BRACKET),
            ']' if closes(self.open.last(), false) => self.close(1.0 / BRACKET),
            other => self.text.push(other),
        }
        rest
    }

    fn close(&mut self, factor: f32) {
        if let Some(open) = self.open.pop() {
            self.multiply(open.from, factor);
        }
    }

    fn multiply(&mut self, from: usize, factor: f32) {
        if from < self.text.len() && factor != 1.0 {
            self.factors.push((from..self.text.len(), factor));
        }
    }

    fn finish(self) -> Weighted {
        let mut bounds: Vec<usize> =
            self.factors.iter().flat_map(|(range, _)| [range.start, range.end]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let at = |byte: usize| {
            let around = self.factors.iter().filter(|(range, _)| range.contains(&byte));
            around.map(|(_, factor)| factor).product::<f32>().min(MOST)
        };
        let changes = bounds.into_iter().map(|byte| (byte, at(byte))).collect();
        Weighted { text: self.text, changes }
    }
}

/// The number in "1.3)", and what comes behind the bracket.
fn weight(text: &str) -> Option<(f32, &str)> {
    let (number, rest) = text.split_once(')')?;
    let number = number.trim();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let factor: f32 = number.parse().ok().filter(|_| is_number)?;
    Some((factor.min(MOST), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parts of a prompt with their weights.
    fn parts(prompt: &str) -> Vec<(String, f32)> {
        let weighted = Weighted::parse(prompt);
        let mut parts: Vec<(String, f32)> = Vec::new();
        for (byte, character) in weighted.text.char_indices() {
            let weight = weighted.at(byte);
            match parts.last_mut() {
                Some((text, last)) if *last == weight => text.push(character),
                _ => parts.push((character.to_string(), weight)),
            }
        }
        parts
    }

    fn part(text: &str, weight: f32) -> (String, f32) {
        (text.to_owned(), weight)
    }

    #[test]
    fn brackets_weigh() {
        assert_eq!(parts("a (red:1.3) ball"), [part("a ", 1.0), part("red", 1.3), part(" ball", 1.0)]);
        assert_eq!(parts("a (red) ball"), [part("a ", 1.0), part("red", 1.1), part(" ball", 1.0)]);
        assert_eq!(parts("[red]"), [part("red", 1.0 / 1.1)]);
        assert_eq!(parts("((a) b:2)"), [part("a", 2.0 * 1.1), part(" b", 2.0)]);
        assert_eq!(parts("(a: 0.5 )b"), [part("a", 0.5), part("b", 1.0)]);
        assert_eq!(parts("(a:99)"), [part("a", MOST)]);
    }

    #[test]
    fn text_stays_text() {
        for (prompt, text) in [
            (r"a \(red\) \[ball\] \\ \n", r"a (red) [ball] \ \n"),
            ("smile :) here", "smile :) here"),
            ("12:30", "12:30"),
            ("a] b)", "a] b)"),
            ("()", ""),
            (r"end\", r"end\"),
        ] {
            let weighted = Weighted::parse(prompt);
            assert_eq!((weighted.text.as_str(), weighted.is_plain()), (text, true), "{prompt}");
        }
        assert_eq!(parts("(a:b)"), [part("a:b", 1.1)]);
        assert_eq!(parts("(a:-1)"), [part("a:-1", 1.1)]);
        assert_eq!(parts("a (open"), [part("a ", 1.0), part("open", 1.1)]);
        assert_eq!(parts("(a]b)"), [part("a]b", 1.1)]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(prompt in "[a-c:.0-9()\\[\\]\\\\ 猫]{0,40}") {
            let weighted = Weighted::parse(&prompt);
            prop_assert!(weighted.text.len() <= prompt.len());
            for (byte, _) in weighted.text.char_indices() {
                let weight = weighted.at(byte);
                prop_assert!((0.0..=MOST).contains(&weight), "{}", weight);
            }
        }

        #[test]
        fn escaped_text_is_itself(text in "[a-c:()\\[\\]\\\\ 猫]{0,30}") {
            let escape = |c: char| if "()[]\\".contains(c) { format!("\\{c}") } else { c.to_string() };
            let weighted = Weighted::parse(&text.chars().map(escape).collect::<String>());
            prop_assert_eq!(&weighted.text, &text);
            prop_assert!(weighted.is_plain());
        }

        #[test]
        fn a_weighted_part_weighs(before in "[a-z ]{0,9}", word in "[a-z]{1,9}", after in "[a-z ]{0,9}", weight in 1_u8..40) {
            let weight = f32::from(weight) / 8.0;
            let weighted = Weighted::parse(&format!("{before}({word}:{weight}){after}"));
            prop_assert_eq!(&weighted.text, &format!("{before}{word}{after}"));
            for (byte, _) in weighted.text.char_indices() {
                let inside = (before.len()..before.len() + word.len()).contains(&byte);
                prop_assert_eq!(weighted.at(byte), if inside { weight } else { 1.0 });
            }
        }
    }
}
