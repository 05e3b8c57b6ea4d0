use std::fs;

use super::*;

const FILE: &str = "
lists:
  slurs: {category: hate, score: 0.9, terms: [darn, 'Scunthorpian']}
  places: {category: profanity, matching: substring, terms: [scunt], allow: [Scunthorpe]}
  sounds: {category: toxicity, compared: pinyin, terms: [傻比]}
patterns:
  lottery: {category: spam, score: 0.7, regex: 'win \\d+ million'}
tenants:
  default: {lists: [slurs, places, sounds], patterns: [lottery]}
  bank: {lists: [], secrets: false, profanity: false}
  plain: {}
";

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn found(tenant_name: &str, text: &str) -> Vec<(CategoryId, String, String)> {
    let book = RuleBook::compile(FILE, Path::new(".")).unwrap();
    let measured = book.of(&tenant(tenant_name)).measure(text);
    let place =
        |finding: Finding| (finding.category, text[finding.place].to_owned(), finding.reason.into_owned());
    measured.findings.into_iter().map(place).collect()
}

#[test]
fn terms_are_found_in_disguise_and_where_they_stand() {
    let hate = |part: &str| (CategoryId::Hate, part.to_owned(), "terms:slurs".to_owned());
    assert_eq!(found("anyone", "so, D4RN it"), [hate("D4RN")]);
    assert_eq!(found("anyone", "d.a.r.n!"), [hate("d.a.r.n")]);
    assert!(found("anyone", "darning socks in Scunthorpe").is_empty());
    assert_eq!(found("anyone", "沙比").len(), 1, "by its sound");
    assert_eq!(found("anyone", "you win 100 million!")[0].1, "win 100 million");
}

#[test]
fn tenants_have_rules_of_their_own() {
    assert!(found("bank", "darn").is_empty());
    let text = "jane@example.org ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let of_bank = found("bank", text);
    assert!(
        of_bank
            .iter()
            .all(|(category, part, _)| *category != CategoryId::Secrets && part == "jane@example.org")
    );
    assert_eq!(of_bank.len(), 2, "the part and the whole");
    assert_eq!(of_bank[0].2, "personal-data:email");
    let book = RuleBook::compile(FILE, Path::new(".")).unwrap();
    let redacted = book.of(&tenant("bank")).redact(text, &Reading::of(text).unwrap(), Vec::new());
    assert_eq!(redacted.split(' ').next(), Some("[EMAIL]"));
    let measured = book.of(&tenant("bank")).measure("nothing here");
    assert!(measured.scores.iter().all(|(_, score)| *score == 0.0) && !measured.scores.is_empty());
    assert!(
        book.categories().contains(&CategoryId::Spam) && book.categories().contains(&CategoryId::Secrets)
    );
}

#[test]
fn swear_words_are_found_unless_a_tenant_does_without() {
    let swear = |part: &str| (CategoryId::Profanity, part.to_owned(), "terms:profanity".to_owned());
    for (text, part) in [
        ("what the fuck is this", "fuck"),
        ("Oh, sh1t!", "sh1t"),
        ("f.u.c.k off", "f.u.c.k"),
        ("你真是个傻逼", "傻逼"),
        ("他妈的，又堵车了", "他妈的"),
    ] {
        assert_eq!(found("plain", text), [swear(part)], "{text}");
    }
    for text in ["Scunthorpe and Dickens", "a classic assessment", "操作系统的操场", "the cockpit of a plane"]
    {
        assert_eq!(found("plain", text), [], "{text}");
    }
    assert!(found("bank", "what the fuck").is_empty());
}

#[test]
fn repeated_letters_change_nothing() {
    for (text, part) in [
        ("fuuuuck you", "fuuuuck"),
        ("what an assssshooole!", "assssshooole"),
        ("bullshiiiit", "bullshiiiit"),
        ("BULLLLSHIT", "BULLLLSHIT"),
        ("f.u.u.u.u.c.k", "f.u.u.u.u.c.k"),
        ("fuckkkk", "fuckkkk"),
        ("傻傻傻逼", "傻傻傻逼"),
    ] {
        assert_eq!(found("anyone", text).first().map(|(_, part, _)| part.as_str()), Some(part), "{text}");
    }
    for text in ["sooo, as you know", "a booook about shoooes", "mooove on, bas", "aaa as bb", "good goood"] {
        assert_eq!(found("anyone", text), [], "{text}");
    }
}

#[test]
fn sounds_are_words_within_sentences() {
    let by_sound = |text: &str| {
        let found =
            found("anyone", text).into_iter().filter(|(category, ..)| *category == CategoryId::Toxicity);
        found.map(|(_, part, _)| part).collect::<Vec<_>>()
    };
    for (text, part) in
        [("你这个沙比东西", "沙比"), ("我说sha逼怎么了", "sha逼"), ("you shabi", "shabi"), ("傻*比", "傻*比")]
    {
        assert_eq!(by_sound(text), [part], "{text}");
    }
    for text in ["nizheshabing", "沙滨路", "杀病毒", "shabing", "你哈比"] {
        assert_eq!(by_sound(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_is_allowed_is_so_for_all_lists_of_a_tenant() {
    let text = "
lists:
  odd: {category: hate, terms: [yelp], allow: ['damn it all', 'fuck hill']}
tenants: {default: {lists: [odd]}, other: {}}
";
    let book = RuleBook::compile(text, Path::new(".")).unwrap();
    let count = |name: &str, text: &str| book.of(&tenant(name)).measure(text).findings.len();
    assert_eq!(count("anyone", "Damn it all, we climbed Fuck Hill."), 0);
    assert_eq!(count("anyone", "damn, fuck, yelp"), 3);
    assert_eq!(count("other", "Damn it all, we climbed Fuck Hill. yelp"), 2);
}

#[test]
fn lists_are_as_long_as_they_say_and_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let words = |terms: usize| (0..terms).map(|n| format!("term{n}x\n")).collect::<String>();
    let compile = |terms: usize| {
        fs::write(folder.path().join("terms.txt"), words(terms)).unwrap();
        let lists = "lists: {long: {category: hate, compared: plain, file: terms.txt}, more: {category: hate, terms: [more]}}";
        let tenants = "tenants: {a: {lists: [long]}, b: {lists: [long]}, c: {lists: [more]}}";
        RuleBook::compile(&format!("{lists}\n{tenants}"), folder.path())
    };
    let book = compile(MAX_TERMS).unwrap();
    let lists = |name: &str| &book.of(&tenant(name)).lists;
    assert!(Arc::ptr_eq(&lists("a")[0], &lists("b")[0]) && Arc::ptr_eq(&lists("a")[1], &lists("c")[1]));
    assert_eq!(book.of(&tenant("b")).measure("TERM99999X and shit").findings.len(), 2);
    assert!(compile(MAX_TERMS + 1).unwrap_err().contains("lists.long"));
    let text = "lists: {a: {category: hate, compared: plain, file: terms.txt}, b: {category: hate, terms: [b]}}\n\
                tenants: {default: {lists: [a, b]}}";
    fs::write(folder.path().join("terms.txt"), words(MAX_TERMS)).unwrap();
    assert!(RuleBook::compile(text, folder.path()).unwrap_err().contains("together"));
}

#[test]
fn what_a_reader_sees_is_redacted() {
    let book = RuleBook::compile(FILE, Path::new(".")).unwrap();
    let redact = |text: &str| {
        book.of(&TenantId::default_tenant()).redact(text, &Reading::of(text).unwrap(), Vec::new())
    };
    for (text, redacted) in [
        ("write to jane@example.org.", "write to [EMAIL]."),
        ("write to jane\u{200b}@exam\u{200b}ple.org.", "write to [EMAIL]."),
        ("ｊａｎｅ＠ｅｘａｍｐｌｅ．ｏｒｇ", "[EMAIL]"),
        ("card ４１１１ １１１１ １１１１ １１１１!", "card [CARD]!"),
        ("see amFuZS5kb2VAZXhhbXBsZS5vcmc= there", "see [EMAIL] there"),
        ("see amFuZS5kb2VAZXhh\u{200b}bXBsZS5vcmc= there", "see [EMAIL] there"),
        ("nothing, 什么都没有", "nothing, 什么都没有"),
    ] {
        assert_eq!(redact(text), redacted, "{text}");
    }
}

#[test]
fn the_example_of_the_documentation_is_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config");
    let text = fs::read_to_string(Path::new(folder).join("rules.yaml")).unwrap();
    let book = RuleBook::compile(&text, Path::new(folder)).unwrap();
    for name in
        ["category", "score", "matching", "compared", "terms", "file", "allow", "regex", "lists", "patterns"]
    {
        assert!(text.contains(&format!("{name}:")), "{name}");
    }
    for name in ["personal_data", "secrets", "profanity"] {
        assert!(text.contains(&format!("{name}:")), "{name}");
    }
    let found = |name: &str, text: &str| !book.of(&tenant(name)).measure(text).findings.is_empty();
    assert!(found("anyone", "buy ch3ap w4tches now") && !found("anyone", "a wristwatch"));
    assert!(found("school", "加 薇 信") && found("school", "where is project bluebird?"));
    assert!(!found("school", "the bluebird project song") && !found("newsroom", "damn"));
}

#[test]
fn terms_may_lie_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("terms.txt"), "# ours\n\n  foul \nrotten\n").unwrap();
    let text = "lists: {words: {category: profanity, file: terms.txt}}\ntenants: {default: {lists: [words]}}";
    let book = RuleBook::compile(text, folder.path()).unwrap();
    assert_eq!(book.of(&TenantId::default_tenant()).measure("foul and r0tten").findings.len(), 2);
}

#[test]
fn what_is_wrong_is_named() {
    let problem = |text: &str| RuleBook::compile(text, Path::new(".")).unwrap_err();
    for (text, word) in [
        ("lists: {a: {category: rudeness}}", "rudeness"),
        ("lists: {a: {category: hate, term: [b]}}", "term"),
        ("tenants: {default: {lists: [b]}}", "\"b\""),
        ("tenants: {t: {patterns: [b]}}", "tenants.t"),
        ("patterns: {p: {category: spam, regex: '('}}\ntenants: {default: {patterns: [p]}}", "default"),
        ("lists: {a: {category: hate, score: 2, terms: [b]}}\ntenants: {default: {lists: [a]}}", "score"),
        ("lists: {a: {category: hate, file: none.txt}}\ntenants: {default: {lists: [a]}}", "none.txt"),
        ("lists: {a: {category: hate, terms: ['']}}\ntenants: {default: {lists: [a]}}", "lists.a"),
    ] {
        assert!(problem(text).contains(word), "{text}: {}", problem(text));
    }
}
