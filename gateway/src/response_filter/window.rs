//! Cuts text that is still being written into overlapping windows, and says what may leave when they are judged.
//!
//! A window spans from the *boundary* (what has left) to its end. When it is allowed, the boundary moves to `overlap`
//! characters before that end, and the next window starts there. So a passage of up to `overlap` characters lies
//! whole in one window, and that window is judged before any of the passage leaves. A window that is cut short (time
//! ran out, or the text ended) reaches back over text that has left already, to give the judge its full context.
//!
//! No clock, no I/O: time and verdicts come from the caller.

use std::collections::VecDeque;

use atelier_policy::Window as Rules;

/// Windows offered at once at most: enough to catch up with a fast model, few enough to be judged in one batch.
const MAX_CUTS: usize = 8;

/// Text on its way, and the windows over it.
#[derive(Debug)]
pub(crate) struct Windows {
    characters: usize,
    overlap: usize,
    /// What has arrived and is still of use; offsets below are bytes into it.
    text: String,
    /// Up to here text has left.
    released: usize,
    /// Windows in judgement, first first: where each ends, and the boundary when it is allowed.
    in_judgement: VecDeque<Cut>,
    /// Where the latest window ends; text behind it is in no window yet.
    reach: usize,
    /// Where the next window starts if all windows in judgement are allowed.
    boundary: usize,
    /// Characters behind `boundary`.
    ahead: usize,
    ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    boundary: usize,
}

impl Windows {
    /// Windows by a policy's rules.
    pub(crate) fn new(rules: &Rules) -> Self {
        Self {
            characters: rules.characters,
            overlap: rules.overlap,
            text: String::new(),
            released: 0,
            in_judgement: VecDeque::new(),
            reach: 0,
            boundary: 0,
            ahead: 0,
            ended: false,
        }
    }

    /// One window over all of the text, when it has ended.
    pub(crate) fn whole() -> Self {
        Self { characters: usize::MAX, ..Self::new(&Rules { overlap: 0, ..Rules::default() }) }
    }

    /// More text has arrived.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ahead += text.chars().count();
    }

    /// No more text will.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Bytes that have arrived and not left.
    pub(crate) fn held_bytes(&self) -> usize {
        self.text.len() - self.released
    }

    /// Whether there is text that is in no window yet.
    pub(crate) fn has_fresh(&self) -> bool {
        self.reach < self.text.len()
    }

    /// The windows that are due, to be answered by as many [`Self::allow`] in their order. `now`: a window that is
    /// not full is due too, since its text has waited long enough.
    pub(crate) fn cut(&mut self, now: bool) -> Vec<String> {
        let mut cuts = Vec::new();
        while cuts.len() < MAX_CUTS && self.has_fresh() {
            let end = match self.full_window_end() {
                Some(end) => end,
                None if self.ended || now => self.text.len(),
                None => break,
            };
            cuts.push(self.cut_at(end));
        }
        cuts
    }

    /// The first window in judgement may pass: the text that leaves, which may be none.
    pub(crate) fn allow(&mut self) -> String {
        let Some(Cut { boundary }) = self.in_judgement.pop_front() else { return String::new() };
        let leaves = self.text[self.released..boundary].to_owned();
        self.released = boundary;
        self.forget();
        leaves
    }

    /// When the text has ended and every window is allowed: what was held back for a next window that won't come.
    pub(crate) fn rest(&mut self) -> String {
        let leaves = self.text[self.released..self.reach].to_owned();
        self.released = self.reach;
        self.boundary = self.reach;
        leaves
    }

    /// Where a window that starts at the boundary ends, if there is text enough to fill it.
    fn full_window_end(&self) -> Option<usize> {
        // Strictly more than a window, or the end of the text is not known to be the end of a word.
        if self.ahead <= self.characters {
            return None;
        }
        let most = forward(&self.text, self.boundary, self.characters);
        // Overlap is at most half, so three quarters always reach behind the previous window: cutting makes progress.
        let least =
            forward(&self.text, self.boundary, self.characters - self.characters / 4).max(self.reach + 1);
        Some(break_before(&self.text, least, most))
    }

    fn cut_at(&mut self, end: usize) -> String {
        let last = self.ended && end == self.text.len();
        let boundary = if last {
            end
        } else {
            let most = back(&self.text, end, self.overlap);
            let least = back(&self.text, most, self.characters / 8);
            break_before(&self.text, least, most).max(self.boundary)
        };
        let start = self.context_start(end);
        let window = self.text[start..end].to_owned();
        self.ahead -= self.text[self.boundary..boundary].chars().count();
        self.boundary = boundary;
        self.reach = end;
        self.in_judgement.push_back(Cut { boundary });
        window
    }

    /// Where a window up to `end` starts: at the boundary, or before it where the window has room, between words.
    fn context_start(&self, end: usize) -> usize {
        let start = back(&self.text, end, self.characters).min(self.boundary);
        if start == 0 {
            return 0;
        }
        start + self.text[start..self.boundary].find(char::is_whitespace).unwrap_or(0)
    }

    /// Drops text that no later window reaches back to.
    fn forget(&mut self) {
        // Moving the rest of the buffer for every window would cost more than the memory is worth.
        const WORTH_IT: usize = 4096;
        if self.characters == usize::MAX || self.released < WORTH_IT {
            return;
        }
        let useless = back(&self.text, self.released, self.characters);
        self.text.drain(..useless);
        self.released -= useless;
        self.reach -= useless;
        self.boundary -= useless;
        for cut in &mut self.in_judgement {
            cut.boundary -= useless;
        }
    }
}

/// The byte `count` characters behind `from`, or the end of the text.
fn forward(text: &str, from: usize, count: usize) -> usize {
    text[from..].char_indices().nth(count).map_or(text.len(), |(at, _)| from + at)
}

/// The byte `count` characters before `from`, or the start of the text.
fn back(text: &str, from: usize, count: usize) -> usize {
    match count.checked_sub(1) {
        None => from,
        Some(last) => text[..from].char_indices().rev().nth(last).map_or(0, |(at, _)| at),
    }
}

/// The best place to cut in `least..=most`: behind the last sentence, else behind the last blank or comma, else `most`.
fn break_before(text: &str, least: usize, most: usize) -> usize {
    let mut fallback = None;
    let mut behind = most;
    for (at, c) in text[..most].char_indices().rev() {
        if behind < least {
            break;
        }
        let blank_follows = || text[behind..].chars().next().is_none_or(char::is_whitespace);
        match c {
            '\n' | '。' | '！' | '？' | '；' | '…' => return behind,
            '.' | '!' | '?' if blank_follows() => return behind,
            '，' | '、' | '：' => fallback = fallback.or(Some(behind)),
            c if c.is_whitespace() => fallback = fallback.or(Some(behind)),
            _ => {}
        }
        behind = at;
    }
    fallback.unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn rules(characters: usize, overlap: usize) -> Rules {
        Rules { characters, overlap, max_hold: Duration::from_millis(1) }
    }

    /// What a driver may do, in any order.
    #[derive(Clone, Debug)]
    enum Step {
        Push(String),
        Cut { now: bool },
        Allow,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => "[a-z .,\n。，爱情故事é😀]{0,40}".prop_map(Step::Push),
            2 => any::<bool>().prop_map(|now| Step::Cut { now }),
            2 => Just(Step::Allow),
        ]
    }

    fn sizes() -> impl Strategy<Value = (usize, usize)> {
        (16_usize..80).prop_flat_map(|characters| (Just(characters), 0..=characters / 2))
    }

    /// What steps led to: the input, all windows, and for each release how many windows were allowed by then.
    struct Run {
        input: String,
        windows: Vec<String>,
        releases: Vec<(usize, String)>,
    }

    fn run(characters: usize, overlap: usize, steps: &[Step]) -> Run {
        let mut machine = Windows::new(&rules(characters, overlap));
        let mut run = Run { input: String::new(), windows: Vec::new(), releases: Vec::new() };
        let mut allowed = 0;
        let mut waiting = 0;
        let allow = |machine: &mut Windows, run: &mut Run, allowed: &mut usize| {
            *allowed += 1;
            run.releases.push((*allowed, machine.allow()));
        };
        for step in steps {
            match step {
                Step::Push(text) => {
                    run.input.push_str(text);
                    machine.push(text);
                }
                // As a driver does: no new windows while some are in judgement.
                Step::Cut { now } if waiting == 0 => {
                    let cut = machine.cut(*now);
                    waiting = cut.len();
                    run.windows.extend(cut);
                }
                Step::Allow if waiting > 0 => {
                    waiting -= 1;
                    allow(&mut machine, &mut run, &mut allowed);
                }
                Step::Cut { .. } | Step::Allow => {}
            }
        }
        machine.end();
        loop {
            for _ in 0..waiting {
                allow(&mut machine, &mut run, &mut allowed);
            }
            let cut = machine.cut(false);
            waiting = cut.len();
            if cut.is_empty() {
                break;
            }
            run.windows.extend(cut);
        }
        run.releases.push((allowed, machine.rest()));
        run
    }

    proptest! {
        #[test]
        fn what_leaves_is_what_came(sizes in sizes(), steps in prop::collection::vec(step(), 0..60)) {
            let run = run(sizes.0, sizes.1, &steps);
            let left: String = run.releases.iter().map(|(_, text)| text.as_str()).collect();
            prop_assert_eq!(left, run.input);
        }

        #[test]
        fn nothing_leaves_before_its_window(sizes in sizes(), steps in prop::collection::vec(step(), 0..60)) {
            let run = run(sizes.0, sizes.1, &steps);
            let mut left = String::new();
            for (allowed, text) in &run.releases {
                left.push_str(text);
                // The window allowed last covers up to at least what has left.
                let Some(window) = run.windows[..*allowed].last() else {
                    prop_assert!(text.is_empty());
                    continue;
                };
                prop_assert!(covers(&run.input, window, left.len()), "{:?} {:?}", window, left);
            }
        }

        #[test]
        fn short_passages_are_judged_whole_before_they_leave(sizes in sizes(), steps in prop::collection::vec(step(), 0..60)) {
            let run = run(sizes.0, sizes.1, &steps);
            let characters: Vec<char> = run.input.chars().collect();
            let mut before = 0;
            for (allowed, text) in &run.releases {
                let after = before + text.chars().count();
                for from in before..after {
                    let passage: String = characters[from..(from + sizes.1).min(characters.len())].iter().collect();
                    prop_assert!(
                        run.windows[..*allowed].iter().any(|window| window.contains(&passage)),
                        "{:?} left unjudged", passage
                    );
                }
                before = after;
            }
        }

        #[test]
        fn windows_keep_to_their_size(sizes in sizes(), steps in prop::collection::vec(step(), 0..60)) {
            for window in run(sizes.0, sizes.1, &steps).windows {
                prop_assert!(!window.is_empty());
                prop_assert!(window.chars().count() <= sizes.0, "{}", window.chars().count());
            }
        }
    }

    /// Whether `window` is a piece of `input` that reaches to `end` or further.
    fn covers(input: &str, window: &str, end: usize) -> bool {
        input.match_indices(window).any(|(at, _)| at + window.len() >= end && at <= end)
    }

    #[test]
    fn a_whole_text_is_one_window() {
        let mut machine = Windows::whole();
        machine.push(&"a b ".repeat(5000));
        assert!(machine.cut(true).len() == 1, "the caller decides when, by not asking");
        let mut machine = Windows::whole();
        machine.push("one ");
        assert!(machine.cut(false).is_empty());
        machine.push("two");
        machine.end();
        assert_eq!(machine.cut(false), ["one two"]);
        assert_eq!(machine.allow(), "one two");
    }

    #[test]
    fn cuts_fall_between_sentences_or_words() {
        let mut machine = Windows::new(&rules(20, 0));
        machine.push("First one. Second sentence");
        assert_eq!(machine.cut(false), ["First one. Second "]);
        let mut machine = Windows::new(&rules(16, 0));
        machine.push("今天天气很好我们去公园吧。明天也是这样的");
        assert_eq!(machine.cut(false), ["今天天气很好我们去公园吧。"]);
        let mut machine = Windows::new(&rules(16, 0));
        machine.push(&"x".repeat(40));
        assert_eq!(machine.cut(false), ["x".repeat(16), "x".repeat(16)]);
    }

    #[test]
    fn the_end_of_a_window_waits_for_the_next() {
        let mut machine = Windows::new(&rules(16, 8));
        machine.push("aaaa bbbb cccc dddd eeee");
        assert_eq!(machine.cut(false), ["aaaa bbbb cccc ", " bbbb cccc dddd "]);
        assert_eq!(machine.allow(), "aaaa ");
        assert_eq!(machine.allow(), "bbbb ");
        machine.end();
        assert_eq!(machine.cut(false), [" cccc dddd eeee"]);
        assert_eq!(machine.allow(), "cccc dddd eeee");
    }

    #[test]
    fn a_window_cut_short_brings_its_context() {
        let mut machine = Windows::new(&rules(16, 4));
        machine.push("aaaa bbbb ");
        assert_eq!(machine.cut(true), ["aaaa bbbb "]);
        assert_eq!(machine.allow(), "aaaa ");
        assert!(machine.cut(true).is_empty(), "nothing fresh, nothing to judge");
        machine.push("cc");
        assert_eq!(machine.cut(true), ["aaaa bbbb cc"]);
    }
}
