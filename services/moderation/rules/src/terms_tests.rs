use proptest::prelude::*;

use super::*;

fn term(text: &str, tag: u32, matching: Matching) -> Term {
    Term { text: text.to_owned(), tag, matching, allow: false }
}

fn allowed(text: &str) -> Term {
    Term { text: text.to_owned(), tag: 0, matching: Matching::Substring, allow: true }
}

fn words(terms: &[&str]) -> TermList {
    TermList::build(terms.iter().map(|text| term(text, 0, Matching::Word))).unwrap()
}

fn found(list: &TermList, text: &str) -> Vec<String> {
    list.find(text).matches.into_iter().map(|m| text[m.range].to_owned()).collect()
}

#[test]
fn words_stand_alone() {
    let list = words(&["ass", "cunt", "dick", "блядь", "卡拉ok"]);
    for text in ["assassin", "Scunthorpe", "dickens", "ass\u{301}", "badass", "ассblядь", "卡拉okay"]
    {
        assert!(found(&list, text).is_empty(), "{text}");
    }
    for text in ["ass", "an ASS!", "ass.", "_ass_", "Dick", "中ass中", "БЛЯДЬ,", "去卡拉OK吧"] {
        assert_eq!(list.find(text).matches.len(), 1, "{text}");
    }
}

#[test]
fn chinese_words_end_where_the_dictionary_ends_them() {
    let list = words(&["中日", "奸", "台独", "操", "鸡"]);
    for text in ["登记将集中日期", "他是个汉奸", "我们的平台独立运行", "体操比赛", "在操场上", "买鸡蛋"]
    {
        assert!(found(&list, text).is_empty(), "{text}");
    }
    for text in ["支持台独的人", "她是鸡", "操!"] {
        assert_eq!(list.find(text).matches.len(), 1, "{text}");
    }
    let anywhere = TermList::build([term("台独", 0, Matching::Substring)]).unwrap();
    assert_eq!(anywhere.find("平台独立").matches.len(), 1);
}

#[test]
fn allowed_terms_cancel_what_lies_within() {
    let terms = [
        term("cunt", 1, Matching::Substring),
        term("ass", 2, Matching::Substring),
        term("dick", 3, Matching::Word),
        allowed("scunthorpe"),
        allowed("assassin"),
        allowed("dick cheney"),
    ];
    let list = TermList::build(terms).unwrap();
    assert!(found(&list, "Scunthorpe, an assassin met Dick Cheney").is_empty());
    assert_eq!(found(&list, "Scunthorp, dick, Dick Cheney, assass"), ["cunt", "dick", "ass", "ass"]);
    assert_eq!(list.find("an assassin").allowed, vec![3..11; 1]);
}

#[test]
fn a_longer_word_that_fails_hides_nothing() {
    let list =
        TermList::build([term("ab cde", 0, Matching::Word), term("cd", 0, Matching::Substring)]).unwrap();
    assert_eq!(found(&list, "ab cdef"), ["cd"]);
}

#[test]
fn tags_are_apart_and_within_a_tag_the_leftmost_longest_stays() {
    let terms = [("ab", 1), ("abc", 1), ("bcd", 1), ("bcd", 2)];
    let list = TermList::build(terms.map(|(text, tag)| term(text, tag, Matching::Substring))).unwrap();
    let found: Vec<_> = list.find("xabcd").matches.into_iter().map(|m| (m.range, m.term, m.tag)).collect();
    assert_eq!(found, [(1..4, 1, 1), (2..5, 3, 2)]);
}

#[test]
fn ranges_are_of_the_original() {
    let list = words(&["straße", "kin"]);
    assert_eq!(found(&list, "İ STRAẞE \u{212a}İN"), ["STRAẞE", "\u{212a}İN"]);
}

#[test]
fn limits_are_errors() {
    let build = |text: &str| TermList::build([term("a", 0, Matching::Word), term(text, 0, Matching::Word)]);
    assert!(matches!(build("  "), Err(RulesError::Empty { index: 1 })));
    assert!(matches!(build(&"a".repeat(257)), Err(RulesError::TooLong { index: 1, bytes: 257, .. })));
    assert!(matches!(build(&"a".repeat(1000)), Err(RulesError::TooLong { index: 1, .. })));
    assert!(build(&"a".repeat(256)).is_ok());
    let many = (0..=MAX_TERMS).map(|n| term(&n.to_string(), 0, Matching::Word));
    assert!(matches!(TermList::build(many), Err(RulesError::TooMany { .. })));
    let none = TermList::build([]).unwrap();
    assert_eq!(none.find("text"), Found::default());
}

#[test]
fn nested_terms_are_settled_in_bounded_memory() {
    let nested = (1..=64).map(|n| term(&"a".repeat(n), 0, Matching::Substring));
    let list = TermList::build(nested.chain([allowed(&"b".repeat(9))])).unwrap();
    let text = ["b".repeat(20), "a".repeat(6_400)].concat();
    let found = list.find(&text).matches;
    assert_eq!(found.len(), 100);
    assert!(found.iter().all(|m| m.range.len() == 64));
}

#[test]
fn a_caller_may_know_more_about_words() {
    let terms = ["ab", "b"].map(|text| term(text, 0, Matching::Word));
    let list = TermList::build_for_hidden_ends(terms).unwrap();
    let found = |text: &str, ends: fn(usize) -> bool, fits: fn(usize) -> bool| {
        list.find_by(text, ends, |term, _| fits(term))
            .matches
            .into_iter()
            .map(|m| (m.term, m.range))
            .collect::<Vec<_>>()
    };
    assert_eq!(found("xaby", |_| false, |_| true), []);
    assert_eq!(found("xaby", |at| at == 1 || at == 3, |_| true), [(0, 1..3)]);
    assert_eq!(found("xaby", |_| true, |term| term == 1), [(1, 2..3)], "what does not fit hides nothing");
}

#[test]
fn terms_around_a_place_are_those_that_hold_it() {
    let list = words(&["ab", "b", "中操", "k"]);
    let text = ["ab, ", "中操 ", "\u{212a} ", "b"].concat().repeat(40);
    let all = list.find(&text).matches;
    for place in [0..1, 4..7, 11..14, text.len() - 1..text.len()] {
        let holds = |range: &Range<usize>| range.start <= place.start && place.end <= range.end;
        let expected: Vec<_> = all.iter().filter(|one| holds(&one.range)).cloned().collect();
        assert_eq!(expected.len(), 1, "{place:?}");
        assert_eq!(list.find_around(&text, [place.clone()], holds).matches, expected);
    }
}

/// The definition, word for word, in cubic time.
fn slow(terms: &[Term], text: &str) -> Vec<TermMatch> {
    let mut all = Vec::new();
    let mut boundaries = Boundaries::new(text);
    for (start, _) in text.char_indices() {
        for (index, term) in terms.iter().enumerate() {
            let range = start..start + term.text.len();
            let fits = text.get(range.clone()).is_some_and(|t| t.eq_ignore_ascii_case(&term.text));
            let stands = term.matching == Matching::Substring
                || boundaries.at(range.start) && boundaries.at(range.end);
            if fits && stands {
                all.push((range, index));
            }
        }
    }
    all.sort_by_key(|(range, index)| (range.start, Reverse(range.end), *index));
    let mut kept: Vec<TermMatch> = Vec::new();
    for (range, index) in &all {
        let tag = terms[*index].tag;
        let within = |(outer, i): &(Range<usize>, usize)| {
            terms[*i].allow && outer.start <= range.start && range.end <= outer.end
        };
        let taken = kept.iter().any(|m| m.tag == tag && m.range.end > range.start);
        if !terms[*index].allow && !all.iter().any(within) && !taken {
            kept.push(TermMatch { range: range.clone(), term: *index, tag });
        }
    }
    kept
}

fn any_term() -> impl Strategy<Value = Term> {
    let matching = prop_oneof![Just(Matching::Word), Just(Matching::Substring)];
    ("[ab 中操\u{301}]{0,3}[ab中]", 0_u32..3, matching, proptest::bool::weighted(0.2))
        .prop_map(|(text, tag, matching, allow)| Term { text: text.trim().to_owned(), tag, matching, allow })
}

proptest! {
    #[test]
    fn search_is_what_it_says(
        terms in proptest::collection::vec(any_term(), 0..8),
        text in "[abAB 中操作场\u{301}\u{3099}]{0,24}",
    ) {
        for list in [TermList::build(terms.clone()), TermList::build_for_hidden_ends(terms.clone())] {
            prop_assert_eq!(list.unwrap().find(&text).matches, slow(&terms, &text));
        }
    }

    #[test]
    fn around_places_all_that_fits_is_found(
        terms in proptest::collection::vec(any_term(), 0..8),
        text in "[abAB 中操\u{301}]{0,60}",
        at in any::<proptest::sample::Index>(),
    ) {
        let list = TermList::build(terms).unwrap();
        let place = text.char_indices().map(|(at, c)| at..at + c.len_utf8()).nth(at.index(61));
        let fits = |range: &Range<usize>| place.as_ref().is_some_and(|place| range.start <= place.start && place.end <= range.end);
        let around = list.find_around(&text, place.clone(), fits);
        prop_assert_eq!(around, list.find_by(&text, |_| false, |_, range| fits(range)));
    }

    #[test]
    fn any_text_is_searched(text in "\\PC{0,80}") {
        let list = words(&["i", "k", "σ", "ⱥ", "中", "e"]);
        for m in list.find(&text).matches {
            prop_assert!(text.get(m.range).is_some());
        }
    }
}
