//! Bad input gets a clear, typed error naming the field; never a panic, never a hang.

use atelier_proto::{
    gateway::v1::{CheckRequest, ModerateImageRequest, StreamChatRequest, check_request::Content},
    moderation::v1::{ImageItem, image_item::Source},
    text::v1::{GenerationConfig, Message, Role},
};
use atelier_tests::{Sandbox, raw};
use tonic::Code;

use crate::support::{chat, fields, greedy, reason, user};

#[tokio::test(flavor = "multi_thread")]
async fn every_field_out_of_range_is_named() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let with = |change: fn(&mut GenerationConfig)| {
        let mut generation = greedy(8);
        change(&mut generation);
        StreamChatRequest { messages: user("hello"), generation: Some(generation), ..Default::default() }
    };
    let of = |messages: Vec<Message>| StreamChatRequest { messages, ..chat("", 8) };
    let message = |role: Role, content: &str| Message {
        role: role.into(),
        content: content.to_owned(),
        ..Default::default()
    };
    let cases = [
        (with(|g| g.max_tokens = Some(0)), "generation.max_tokens"),
        (with(|g| g.temperature = Some(f32::NAN)), "generation.temperature"),
        (with(|g| g.temperature = Some(2.5)), "generation.temperature"),
        (with(|g| g.top_p = Some(0.0)), "generation.top_p"),
        (with(|g| g.min_p = Some(-0.1)), "generation.min_p"),
        (with(|g| g.repetition_penalty = Some(0.0)), "generation.repetition_penalty"),
        (with(|g| g.presence_penalty = Some(3.0)), "generation.presence_penalty"),
        (with(|g| g.frequency_penalty = Some(f32::INFINITY)), "generation.frequency_penalty"),
        (with(|g| g.n = Some(9)), "generation.n"),
        (with(|g| (g.n, g.best_of) = (Some(2), Some(3))), "generation.best_of"),
        (with(|g| g.stop_sequences = vec![String::new()]), "generation.stop_sequences[0]"),
        (with(|g| g.stop_token_ids = vec![u32::MAX]), "generation.stop_token_ids[0]"),
        (of(vec![]), "messages"),
        (of(vec![message(Role::Unspecified, "hello")]), "messages[0].role"),
        (of(vec![message(Role::User, "hello"), message(Role::System, "late")]), "messages[1].role"),
    ];
    for (request, field) in cases {
        let status = sandbox.clients.gateway.stream_chat(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        assert_eq!(fields(&status), [field]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_not_found() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let request = StreamChatRequest { model: "gpt-9".to_owned(), ..chat("hello", 8) };
    let status = sandbox.clients.gateway.stream_chat(request).await.expect_err("unknown");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "MODEL_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_beyond_the_context_is_refused_by_name() {
    // Input goes unjudged here: what is asked about is the text service's answer, relayed.
    let policy = "version: 1\ndefault_policy: test\npolicies:\n  test:\n    on_moderation_failure: fail_closed\n    \
                  input: {categories: {}}\n    output: {mode: windowed, categories: {}}\n";
    let mut sandbox = Sandbox::builder().policy(policy).start().await.unwrap();
    let status =
        sandbox.clients.gateway.stream_chat(chat(&"sea and moon ".repeat(1000), 8)).await.expect_err("long");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(&status), "CONTEXT_LENGTH_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_messages_are_refused_with_the_limit() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let status =
        sandbox.clients.gateway.stream_chat(chat(&"x".repeat((1 << 20) + 1), 8)).await.expect_err("long");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(fields(&status), ["messages[0].content"]);

    // Past what the wire takes at all.
    let status =
        sandbox.clients.gateway.stream_chat(chat(&"x".repeat(200 << 20), 8)).await.expect_err("huge");
    assert_eq!(reason(&status), "MESSAGE_TOO_LARGE", "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_or_no_utf8_are_the_callers_error() {
    let sandbox = Sandbox::start().await.unwrap();
    // Field 1, length 2: a string that is no UTF-8; then a tag that no message has.
    for body in [&[0x0a, 0x02, 0xff, 0xfe][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..]] {
        let call = raw::unary(&sandbox.gateway, "/atelier.gateway.v1.GatewayService/Generate", body.to_vec());
        let status = call.await.expect_err("malformed");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(reason(&status), "INVALID_ARGUMENT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_none_are_named() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let truncated = &include_bytes!("../../golden/moderation/images/noise.png")[..64];
    for bytes in [&b""[..], b"not a picture", truncated] {
        let items = vec![ImageItem {
            id: "a".to_owned(),
            source: Some(Source::Data(bytes.to_vec().into())),
            ..ImageItem::default()
        }];
        let request = ModerateImageRequest { items, ..ModerateImageRequest::default() };
        let status = sandbox.clients.gateway.moderate_image(request).await.expect_err("no picture");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(fields(&status), ["items[0].data"]);
    }
    let request = CheckRequest { content: None, stage: 0 };
    let status = sandbox.clients.gateway.check(request).await.expect_err("nothing to check");
    assert_eq!(fields(&status), ["content"]);
    let request = CheckRequest { content: Some(Content::Image(b"x".to_vec().into())), stage: 0 };
    assert_eq!(
        sandbox.clients.gateway.check(request).await.expect_err("no picture").code(),
        Code::InvalidArgument
    );
}
