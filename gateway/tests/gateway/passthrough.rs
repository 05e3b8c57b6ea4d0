//! What the gateway passes on, and Check.

use atelier_core::{ContentHash, Reason};
use atelier_proto::{
    gateway::v1::{
        Action, CheckRequest, DetokenizeRequest, EmbedRequest, FollowTextRequest, GetModelRequest,
        ListCategoriesRequest, ListModelsRequest, ModerateImageRequest, ModerateTextRequest, RerankRequest,
        Stage, StreamEmbedRequest, StreamModerateImageRequest, StreamModerateTextRequest, TokenizeRequest,
        check_request::Content, stream_moderate_text_response::Outcome,
    },
    moderation::v1::{ImageItem, TextItem, image_item},
};
use atelier_rpc::fault_of;
use tonic::Code;

use crate::sandbox::{Sandbox, WINDOW, policy};

fn check(content: Content) -> CheckRequest {
    CheckRequest { content: Some(content), stage: Stage::Unspecified.into() }
}

#[tokio::test]
async fn check_judges_without_generating() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let mut client = sandbox.client.clone();
    let answer = client.check(check(Content::Text("so BLOCKME".to_owned()))).await.unwrap().into_inner();
    let verdict = answer.verdict.unwrap();
    assert_eq!((verdict.action(), verdict.stage()), (Action::Block, Stage::Input));
    let scores = answer.scores.unwrap();
    assert!(scores.categories.iter().any(|score| score.category == "hate" && score.detector == "keywords"));
    assert!(scores.unsupported_categories.len() > 5, "all of the taxonomy was asked for");
    let provenance = answer.provenance.unwrap();
    assert_eq!(provenance.content_sha256, ContentHash::of(b"so BLOCKME").to_string());
    assert!(provenance.generators.is_empty());

    let image = check(Content::Image(b"FLAGME".to_vec().into()));
    assert_eq!(client.check(image).await.unwrap().into_inner().verdict.unwrap().action(), Action::Flag);
    let broken = check(Content::Image(vec![0xff, 0xfe].into()));
    let fault = fault_of(&client.check(broken).await.unwrap_err());
    assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), (Reason::InvalidArgument, "image"));
    let fault = fault_of(&client.check(CheckRequest::default()).await.unwrap_err());
    assert_eq!(fault.violations()[0].field, "content");

    sandbox.moderation.switch_off(true);
    let refused = client.check(check(Content::Text("hello".to_owned()))).await.unwrap_err();
    assert_eq!(
        (refused.code(), fault_of(&refused).reason()),
        (Code::Unavailable, Reason::ModerationUnavailable)
    );
}

#[tokio::test]
async fn tokens_vectors_and_scores_are_passed_on() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let mut client = sandbox.client.clone();
    // Neither is judged: they give nothing to read.
    let request = TokenizeRequest { text: "BLOCKME".to_owned(), ..Default::default() };
    assert_eq!(client.tokenize(request).await.unwrap().into_inner().tokens[0].text, "BLOCKME");
    let request = DetokenizeRequest { token_ids: vec![1, 2], ..Default::default() };
    assert_eq!(client.detokenize(request).await.unwrap().into_inner().text, "[1, 2]");
    let documents = ["BLOCKME", "two"].map(str::to_owned).to_vec();
    let request = RerankRequest { query: "BLOCKME".to_owned(), documents, ..Default::default() };
    let ranking = client.rerank(request).await.unwrap().into_inner();
    assert_eq!((ranking.results[0].index, ranking.model.unwrap().id.as_str()), (1, "encoder"));
    let request = EmbedRequest { texts: vec!["a".to_owned(); 2], ..Default::default() };
    let answer = client.embed(request).await.unwrap().into_inner();
    assert_eq!((answer.embeddings.len(), answer.model.unwrap().id.as_str()), (2, "encoder"));

    let item = |id: &str| TextItem { id: id.to_owned(), text: "BLOCKME".to_owned() };
    let request =
        ModerateTextRequest { items: vec![item("a")], categories: vec!["hate".to_owned()], redact: false };
    let answer = client.moderate_text(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].scores.as_ref().unwrap().categories[0].score, 0.95);
    assert_eq!(answer.models[0].id, "keywords");
    assert_eq!(answer.results[0].redacted_text, None);

    let items =
        ["a", "b"].map(|id| StreamModerateTextRequest { item: Some(item(id)), categories: Vec::new() });
    let mut stream = client.stream_moderate_text(futures::stream::iter(items)).await.unwrap().into_inner();
    for id in ["a", "b"] {
        let answer = stream.message().await.unwrap().unwrap();
        assert_eq!(answer.id, id);
        assert!(matches!(answer.outcome, Some(Outcome::Scores(_))));
    }
    assert!(stream.message().await.unwrap().is_none());

    let items = ["a", "b"].map(|id| StreamEmbedRequest { id: id.to_owned(), ..Default::default() });
    let mut stream = client.stream_embed(futures::stream::iter(items)).await.unwrap().into_inner();
    for id in ["a", "b"] {
        let answer = stream.message().await.unwrap().unwrap();
        assert_eq!((answer.id.as_str(), answer.model.unwrap().id.as_str()), (id, "encoder"));
    }
}

#[tokio::test]
async fn what_is_asked_of_moderation_beside_scores_is_passed_on() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let mut client = sandbox.client.clone();
    let item = TextItem { id: "a".to_owned(), text: "jane@example.org".to_owned() };
    let request = ModerateTextRequest { items: vec![item], redact: true, ..Default::default() };
    let answer = client.moderate_text(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].redacted_text.as_deref(), Some("jane[EMAIL]"));
    assert_eq!(answer.results[0].scores.as_ref().unwrap().language, "en");

    let source = Some(image_item::Source::Data(b"a sign".to_vec().into()));
    let items = vec![ImageItem { source, ..ImageItem::default() }];
    let request = ModerateImageRequest { items, tags: 2, read_text: true, ..Default::default() };
    let answer = client.moderate_image(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].read_text.as_deref(), Some("a sign"));
    let tags = &answer.results[0].scores.as_ref().unwrap().tags;
    assert_eq!(tags.iter().map(|tag| tag.label.as_str()).collect::<Vec<_>>(), ["word 0", "word 1"]);

    let asked = StreamModerateImageRequest { read_text: true, ..StreamModerateImageRequest::default() };
    let pictures = futures::stream::iter([asked]);
    let mut answers = client.stream_moderate_image(pictures).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.read_text.as_deref(), Some("a sign"));
}

#[tokio::test]
async fn a_text_is_followed_through_the_gateway() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let mut client = sandbox.client.clone();
    let piece = |text: &str| FollowTextRequest {
        text: text.to_owned(),
        categories: vec!["hate".to_owned()],
        ..FollowTextRequest::default()
    };
    let pieces = futures::stream::iter([piece("hello "), piece("BLOCKME")]);
    let mut verdicts = client.follow_text(pieces).await.unwrap().into_inner();
    for (place, score) in [((0, 6), 0.01), ((6, 13), 0.95)] {
        let verdict = verdicts.message().await.unwrap().unwrap();
        assert_eq!((verdict.start_byte, verdict.end_byte), place);
        assert_eq!(verdict.scores.unwrap().categories[0].score, score);
        assert_eq!(verdict.models[0].id, "keywords");
    }
    assert_eq!(verdicts.message().await.unwrap(), None);
}

#[tokio::test]
async fn models_and_categories_are_listed() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let mut client = sandbox.client.clone();
    let models = client.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    let ids: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["encoder", "painter", "seer", "writer"]);
    let image = models[1].image.as_ref().unwrap();
    assert_eq!((image.max_size, image.schedulers.as_slice()), (512, &["euler".to_owned()][..]));
    let model = client.get_model(GetModelRequest { model: "writer".to_owned() }).await.unwrap().into_inner();
    assert_eq!(model.model.unwrap(), models[3]);
    let fault = fault_of(&client.get_model(GetModelRequest { model: "no".to_owned() }).await.unwrap_err());
    assert_eq!(fault.reason(), Reason::ModelNotFound);
    let categories = client.list_categories(ListCategoriesRequest {}).await.unwrap().into_inner().categories;
    assert_eq!(categories[0].id, "hate");
}
