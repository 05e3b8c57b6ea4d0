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
    assert_eq!(book.of(&tenant("bank")).redact(text).split(' ').next(), Some("[EMAIL]"));
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
        assert_eq!(found("anyone", text), [swear(part)], "{text}");
    }
    for text in ["Scunthorpe and Dickens", "a classic assessment", "操作系统的操场", "the cockpit of a plane"]
    {
        assert_eq!(found("anyone", text), [], "{text}");
    }
    assert!(found("bank", "what the fuck").is_empty());
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
        ("lists: {a: {category: hate, terms: ['']}}\ntenants: {default: {lists: [a]}}", "default"),
    ] {
        assert!(problem(text).contains(word), "{text}: {}", problem(text));
    }
}
