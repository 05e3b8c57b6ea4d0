//! Answers that keep to a schema, an expression, a grammar.

use atelier_proto::{
    common::v1::FinishReason,
    text::v1::{self as proto, generation_config::Format},
};
use atelier_rpc::fault_of;
use serde_json::Value;

use crate::common::{default_client, greedy, stream_chat, text};

fn keeping_to(format: Format, max_tokens: u32) -> proto::GenerationConfig {
    proto::GenerationConfig { format: Some(format), ..greedy(max_tokens) }
}

async fn answer(question: &str, config: proto::GenerationConfig) -> (String, FinishReason) {
    let mut client = default_client().await;
    let (deltas, end) = stream_chat(&mut client, question, config).await.expect("it succeeds");
    (text(&deltas), end.finish_reason())
}

const PERSON: &str = r##"{
    "type": "object",
    "properties": {
        "name": {"$ref": "#/$defs/name"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "likes": {"type": "array", "items": {"enum": ["tea", "chess", "雨"]}, "minItems": 2, "maxItems": 3}
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": false,
    "$defs": {"name": {"type": "string", "maxLength": 20}}
}"##;

#[tokio::test]
async fn an_answer_is_json_of_its_schema() {
    for seed in 0..4 {
        // The hotter, the less would a model keep to it by itself.
        let config = proto::GenerationConfig {
            temperature: Some(1.8),
            seed: Some(seed),
            ..keeping_to(Format::JsonSchema(PERSON.to_owned()), 200)
        };
        let (written, reason) = answer("Describe a person in JSON.", config).await;
        assert_eq!(reason, FinishReason::Stop, "{written}");
        let value: Value = serde_json::from_str(&written).expect(&written);
        let object = value.as_object().expect("it is an object");
        assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), ["name", "age", "likes"]);
        assert!(value["name"].as_str().is_some_and(|name| name.chars().count() <= 20), "{written}");
        assert!(value["age"].as_u64().is_some_and(|age| age <= 150), "{written}");
        let likes = value["likes"].as_array().expect("it is an array");
        assert!((2..=3).contains(&likes.len()), "{written}");
        assert!(likes.iter().all(|like| ["tea", "chess", "雨"].contains(&like.as_str().unwrap_or(""))));
    }
}

#[tokio::test]
async fn an_answer_is_matched_as_a_whole() {
    let regex = r"(19|20)\d\d-(0[1-9]|1[0-2])-[0-3]\d";
    let (date, reason) =
        answer("When did people first land on the moon?", keeping_to(Format::Regex(regex.into()), 40)).await;
    let bytes = date.as_bytes();
    assert_eq!((date.len(), bytes[4], bytes[7], reason), (10, b'-', b'-', FinishReason::Stop), "{date}");
    let digits = date.bytes().filter(u8::is_ascii_digit).count();
    assert_eq!((digits, &date[..2] == "19" || &date[..2] == "20"), (8, true), "{date}");
}

#[tokio::test]
async fn an_answer_is_a_sentence_of_its_grammar() {
    let grammar = "start: \"<b>\" term (\" + \" term)~2 \"</b>\"\nterm: NUMBER | \"(\" term \" * \" term \")\"\nNUMBER: /[1-9][0-9]?/";
    let config = proto::GenerationConfig {
        temperature: Some(1.0),
        seed: Some(5),
        ..keeping_to(Format::LarkGrammar(grammar.into()), 200)
    };
    let (written, reason) = answer("Write a sum.", config).await;
    let inner = written.strip_prefix("<b>").and_then(|rest| rest.strip_suffix("</b>")).expect(&written);
    assert_eq!(reason, FinishReason::Stop);
    assert_eq!(inner.split(" + ").count(), 3, "{written}");
    assert!(inner.chars().all(|c| c.is_ascii_digit() || "()+* ".contains(c)), "{written}");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_says_so() {
    let (written, reason) =
        answer("Describe a person in JSON.", keeping_to(Format::JsonSchema(PERSON.to_owned()), 5)).await;
    assert_eq!(reason, FinishReason::Length);
    assert!(written.starts_with("{\"name\": \""), "{written}");
}

#[tokio::test]
async fn what_is_no_format_is_refused_by_its_field() {
    let mut client = default_client().await;
    let deep = |open: &str, close: &str, times: usize| [open.repeat(times), close.repeat(times)].concat();
    let chain = |rules: usize| (0..rules).map(|n| format!("a{n}: a{}\n", n + 1)).collect::<String>();
    let references: String =
        (0..1_500).map(|n| format!("\"{n}\": {{\"$ref\": \"#/$defs/{}\"}}, ", n + 1)).collect();
    for (format, field) in [
        (Format::JsonSchema("{".into()), "json_schema"),
        (Format::JsonSchema(r#"{"type": "colour"}"#.into()), "json_schema"),
        (Format::JsonSchema(r##"{"$ref": "#/$defs/none"}"##.into()), "json_schema"),
        (Format::JsonSchema(r#"{"$ref": "https://example.com/schema.json"}"#.into()), "json_schema"),
        (Format::JsonSchema(deep("[", "]", 30_000)), "json_schema"),
        (Format::Regex("(".into()), "regex"),
        (Format::Regex("(?<=a)b".into()), "regex"),
        (Format::Regex(deep("(", ")", 30_000)), "regex"),
        (Format::Regex("x".repeat((64 << 10) + 1)), "regex"),
        (Format::LarkGrammar("begin: \"a\"".into()), "lark_grammar"),
        (Format::LarkGrammar(format!("start: {} \"a\"", "(".repeat(30_000))), "lark_grammar"),
        (Format::LarkGrammar(format!("start: a0\n{}", chain(4_000))), "lark_grammar"),
        (Format::LarkGrammar(format!("start: a0\n{}", chain(390))), "lark_grammar"),
        (
            Format::JsonSchema(format!(r##"{{"$ref": "#/$defs/0", "$defs": {{{references}"x": {{}}}}}}"##)),
            "json_schema",
        ),
        (Format::LarkGrammar(String::new()), "lark_grammar"),
    ] {
        let shown = format!("{format:?}").chars().take(60).collect::<String>();
        let status = stream_chat(&mut client, "Hello", keeping_to(format, 8)).await.expect_err(&shown);
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{shown}: {status}");
        assert_eq!(fault_of(&status).violations()[0].field, format!("generation.{field}"), "{status}");
    }
    let both = proto::GenerationConfig { min_tokens: Some(2), ..keeping_to(Format::Regex("ab".into()), 8) };
    let status = stream_chat(&mut client, "Hello", both).await.expect_err("it can't be");
    assert_eq!(fault_of(&status).violations()[0].field, "generation.min_tokens");
    // The service is as it was.
    let (written, _) = answer("Hello", keeping_to(Format::Regex("ab|cd".into()), 8)).await;
    assert!(written == "ab" || written == "cd");
}
