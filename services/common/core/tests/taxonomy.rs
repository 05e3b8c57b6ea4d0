//! `services/moderation/TAXONOMY.md` says what the code says.
//!
//! `ATELIER_REWRITE=1 cargo test -p atelier-core --test taxonomy` writes it anew.

use std::{fs, path::PathBuf};

use atelier_core::{CategoryId, category::LLAMA_GUARD};

const INTRODUCTION: &str = "\
# The taxonomy

What moderation measures, by the names that requests, answers and policies use, and what others call it: the nearest of the 13
categories of OpenAI's moderation endpoint, of the 14 hazards of Llama Guard 3 and 4 and of the four categories of Azure AI Content
Safety. A category below another, as `hate/threatening` below `hate`, is a part of it. `ListCategories` gives the same with the
detectors that are loaded for each; a category without one is answered as unsupported, never as 0.

`personal-data/name` and `personal-data/address` are measured on request, as they take a model of their own: where a request or a policy
names them, and where a text is to be redacted. They don't count as `personal-data`. What is asked for without naming categories
comes without them, neither scored nor unsupported.
";

const HAZARDS: &str = "
## Llama Guard's hazards

| hazard | | nearest category |
|---|---|---|
";

const SEVERITY: &str = "
## Severity

A score says how likely it is that a model sees the category, or how certain a rule is of its find; the severity beside it, 0 to 7, how
bad that is. Azure's four levels are the severity with its lowest bit cleared. Of what models judge, severity 4 is where the shipped
detectors flag:

| score from | severity | Azure's level |
|---|---|---|
";

const GRAVITY: &str = "
Personal data, secrets, profanity and copies of works are found one by one, and their scores say how certain the find is. Their severity is
that of the category in proportion to the score, rounded:

| category | severity when certain |
|---|---|
";

fn taxonomy() -> String {
    let or_none = |name: Option<&str>| name.unwrap_or("-").to_owned();
    let mut text = INTRODUCTION.to_owned();
    text += "\n| category | what belongs to it | OpenAI | Llama Guard | Azure |\n|---|---|---|---|---|\n";
    for category in CategoryId::ALL {
        let names = category.elsewhere();
        let [openai, guard, azure] = [names.openai, names.llama_guard, names.azure].map(or_none);
        text += &format!("| `{category}` | {} | {openai} | {guard} | {azure} |\n", category.description());
    }
    text += HAZARDS;
    for hazard in LLAMA_GUARD {
        let nearest =
            hazard.nearest.map_or("none: not measured".to_owned(), |nearest| format!("`{nearest}`"));
        text += &format!("| {} | {} | {nearest} |\n", hazard.id, hazard.name);
    }
    text += SEVERITY;
    for eighth in 0_u8..8 {
        let score = f32::from(eighth) / 8.0;
        let severity = CategoryId::Hate.severity(score);
        text += &format!("| {score} | {severity} | {} |\n", severity & !1);
    }
    text += GRAVITY;
    for (category, gravity) in
        CategoryId::ALL.iter().filter_map(|category| Some((category, category.gravity()?)))
    {
        text += &format!("| `{category}` | {gravity} |\n");
    }
    text
}

#[test]
fn the_document_is_what_the_code_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../moderation/TAXONOMY.md");
    let expected = taxonomy();
    if std::env::var_os("ATELIER_REWRITE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let now = fs::read_to_string(&path).unwrap_or_default();
    assert!(now == expected, "TAXONOMY.md is to be, with ATELIER_REWRITE=1 it is:\n{expected}");
}
