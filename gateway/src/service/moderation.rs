//! Measuring for callers who decide themselves: passed on to a moderation service, no policy applied.

use atelier_core::Fault;
use atelier_proto::{gateway::v1 as api, moderation::v1 as moderation};
use atelier_rpc::{fault_of, status};
use futures::StreamExt;
use tonic::{Request, Status, Streaming};

use super::{Answers, Gateway};

pub(super) async fn moderate_text(
    gateway: &Gateway,
    request: Request<api::ModerateTextRequest>,
) -> Result<api::ModerateTextResponse, Fault> {
    let context = gateway.admit(&request, "ModerateText")?.context;
    let api::ModerateTextRequest { items, categories, redact } = request.into_inner();
    let message = moderation::ModerateTextRequest { items, categories, redact };
    let answer = gateway.moderation.client().moderate_text(context.outgoing(message)).await;
    let answer = answer.map_err(fault)?.into_inner();
    Ok(api::ModerateTextResponse { results: answer.results, models: answer.models })
}

pub(super) async fn moderate_image(
    gateway: &Gateway,
    request: Request<api::ModerateImageRequest>,
) -> Result<api::ModerateImageResponse, Fault> {
    let context = gateway.admit(&request, "ModerateImage")?.context;
    let api::ModerateImageRequest { items, categories, tags, read_text, count_faces } = request.into_inner();
    let message = moderation::ModerateImageRequest { items, categories, tags, read_text, count_faces };
    let answer = gateway.moderation.client().moderate_image(context.outgoing(message)).await;
    let answer = answer.map_err(fault)?.into_inner();
    Ok(api::ModerateImageResponse { results: answer.results, models: answer.models })
}

pub(super) async fn stream_moderate_text(
    gateway: &Gateway,
    request: Request<Streaming<api::StreamModerateTextRequest>>,
) -> Result<Answers<api::StreamModerateTextResponse>, Fault> {
    use api::stream_moderate_text_response::Outcome as To;
    use moderation::stream_moderate_text_response::Outcome as From;
    let context = gateway.admit(&request, "StreamModerateText")?.context;
    let messages = whole(request.into_inner()).map(|message: api::StreamModerateTextRequest| {
        moderation::StreamModerateTextRequest { item: message.item, categories: message.categories }
    });
    let answers = gateway.moderation.client().stream_moderate_text(context.outgoing(messages)).await;
    let answer = |answer: Result<moderation::StreamModerateTextResponse, _>| match answer {
        Ok(answer) => Ok(api::StreamModerateTextResponse {
            id: answer.id,
            outcome: answer.outcome.map(|outcome| match outcome {
                From::Scores(scores) => To::Scores(scores),
                From::Error(error) => To::Error(error),
            }),
            models: answer.models,
        }),
        Err(error) => Err(status(fault(error))),
    };
    Ok(answers.map_err(fault)?.into_inner().map(answer).boxed())
}

pub(super) async fn follow_text(
    gateway: &Gateway,
    request: Request<Streaming<api::FollowTextRequest>>,
) -> Result<Answers<api::FollowTextResponse>, Fault> {
    let context = gateway.admit(&request, "FollowText")?.context;
    let messages = whole(request.into_inner()).map(|message: api::FollowTextRequest| {
        let api::FollowTextRequest { text, flush, categories } = message;
        moderation::FollowTextRequest { text, flush, categories }
    });
    let answers = gateway.moderation.client().follow_text(context.outgoing(messages)).await;
    let answer = |answer: Result<moderation::FollowTextResponse, _>| match answer {
        Ok(moderation::FollowTextResponse { start_byte, end_byte, scores, models }) => {
            Ok(api::FollowTextResponse { start_byte, end_byte, scores, models })
        }
        Err(error) => Err(status(fault(error))),
    };
    Ok(answers.map_err(fault)?.into_inner().map(answer).boxed())
}

pub(super) async fn stream_moderate_image(
    gateway: &Gateway,
    request: Request<Streaming<api::StreamModerateImageRequest>>,
) -> Result<Answers<api::StreamModerateImageResponse>, Fault> {
    use api::stream_moderate_image_response::Outcome as To;
    use moderation::stream_moderate_image_response::Outcome as From;
    let context = gateway.admit(&request, "StreamModerateImage")?.context;
    let messages = whole(request.into_inner()).map(|message: api::StreamModerateImageRequest| {
        let api::StreamModerateImageRequest { item, categories, tags, read_text, count_faces } = message;
        moderation::StreamModerateImageRequest { item, categories, tags, read_text, count_faces }
    });
    let answers = gateway.moderation.client().stream_moderate_image(context.outgoing(messages)).await;
    let answer = |answer: Result<moderation::StreamModerateImageResponse, _>| match answer {
        Ok(answer) => Ok(api::StreamModerateImageResponse {
            id: answer.id,
            outcome: answer.outcome.map(|outcome| match outcome {
                From::Scores(scores) => To::Scores(scores),
                From::Error(error) => To::Error(error),
            }),
            models: answer.models,
            read_text: answer.read_text,
        }),
        Err(error) => Err(status(fault(error))),
    };
    Ok(answers.map_err(fault)?.into_inner().map(answer).boxed())
}

pub(super) async fn list_categories(
    gateway: &Gateway,
    request: Request<api::ListCategoriesRequest>,
) -> Result<api::ListCategoriesResponse, Fault> {
    let context = gateway.admit(&request, "ListCategories")?.context;
    let message = context.outgoing(moderation::ListCategoriesRequest {});
    let answer = gateway.moderation.client().list_categories(message).await;
    Ok(api::ListCategoriesResponse { categories: answer.map_err(fault)?.into_inner().categories })
}

/// The messages of a stream up to its end or break. A caller whose stream breaks gets no more answers in any case, so
/// the upstream is just told of the end.
fn whole<T: Send + 'static>(messages: Streaming<T>) -> impl futures::Stream<Item = T> + Send + 'static {
    messages.scan((), |(), message| futures::future::ready(message.ok()))
}

fn fault(status: Status) -> Fault {
    fault_of(&status)
}
