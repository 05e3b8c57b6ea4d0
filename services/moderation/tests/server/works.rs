//! Lists of protected works over the wire: what is found, whose it is, and what outlives the server.

use std::{
    fs,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use atelier_moderation::{Config, config::WorksConfig, detector::DetectorConfig, serve};
use atelier_proto::moderation::v1::{
    AddWorksRequest, AddWorksResponse, FindSimilarRequest, ImageItem, ListCategoriesRequest,
    ListWorksRequest, Match, MatchKind, ModerateImageRequest, ModerateTextRequest, NewWork, Picture,
    RemoveWorksRequest, Scores, TextItem, Work, find_similar_request::Content, image_item,
    moderation_service_client::ModerationServiceClient, picture::Source,
    similarity_service_client::SimilarityServiceClient,
};
use atelier_rpc::Listeners;
use image::{RgbImage, codecs::jpeg::JpegEncoder, imageops};
use tokio::sync::oneshot;
use tonic::{Code, Request, Status, transport::Channel};

use crate::harness::{fields, golden, score};

const POEM: &str = "The curfew tolls the knell of parting day, The lowing herd wind slowly o'er the lea, The ploughman \
    homeward plods his weary way, And leaves the world to darkness and to me.";
const QUIET_NIGHT: &str = "床前明月光，疑是地上霜。举头望明月，低头思故乡。";

/// A server with few models or none, on a thread of its own.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    fn start(works: WorksConfig) -> Self {
        Self::with(works, Vec::new())
    }

    fn with(works: WorksConfig, detectors: Vec<DetectorConfig>) -> Self {
        let (tell, told) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let mut config = Config { detectors, works, ..Config::default() };
                config.server.drain_notice = std::time::Duration::ZERO;
                let listeners = Listeners::local().await.unwrap();
                tell.send(listeners.grpc_address().unwrap()).unwrap();
                let stopped = async { stopped.await.unwrap_or_default() };
                serve(config, listeners, stopped).await.unwrap();
            });
        });
        Self { address: told.recv().unwrap(), stop, thread }
    }

    fn in_folder(folder: &Path) -> Self {
        Self::start(WorksConfig { folder: Some(folder.to_owned()), ..WorksConfig::default() })
    }

    async fn client(&self, tenant: &'static str) -> Client {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        Client { channel: endpoint.connect().await.unwrap(), tenant }
    }

    /// Waits without holding up the clients, who are told to leave.
    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::task::spawn_blocking(|| self.thread.join()).await.unwrap().unwrap();
    }
}

/// Calls of one tenant.
struct Client {
    channel: Channel,
    tenant: &'static str,
}

impl Client {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("atelier-tenant", self.tenant.parse().unwrap());
        request
    }

    fn similarity(&self) -> SimilarityServiceClient<Channel> {
        SimilarityServiceClient::new(self.channel.clone())
    }

    async fn add(&self, works: Vec<NewWork>) -> Result<AddWorksResponse, Status> {
        let answer = self.similarity().add_works(self.request(AddWorksRequest { works })).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn find(&self, content: Content) -> Result<Vec<Match>, Status> {
        let request = FindSimilarRequest { content: Some(content), max_matches: 0 };
        let answer = self.similarity().find_similar(self.request(request)).await;
        answer.map(|answer| answer.into_inner().matches)
    }

    async fn remove(&self, ids: &[&str]) -> Vec<String> {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let answer = self.similarity().remove_works(self.request(RemoveWorksRequest { ids })).await;
        answer.unwrap().into_inner().unknown_ids
    }

    async fn page(&self, page_size: i32, page_token: &str) -> Result<(Vec<String>, String, i32), Status> {
        let request = ListWorksRequest { page_size, page_token: page_token.to_owned() };
        let page = self.similarity().list_works(self.request(request)).await?.into_inner();
        Ok((page.works.into_iter().map(|work| work.id).collect(), page.next_page_token, page.total_size))
    }

    /// Scores for copyright.
    async fn score_text(&self, text: &str) -> Scores {
        let items = vec![TextItem { id: String::new(), text: text.to_owned() }];
        let request = ModerateTextRequest { items, categories: vec!["copyright".to_owned()], redact: false };
        let mut client = ModerationServiceClient::new(self.channel.clone());
        let answer = client.moderate_text(self.request(request)).await.unwrap().into_inner();
        answer.results[0].scores.clone().unwrap()
    }

    /// Scores for copyright.
    async fn score_picture(&self, picture: &[u8]) -> Scores {
        let source = Some(image_item::Source::Data(picture.to_vec().into()));
        let items = vec![ImageItem { source, ..ImageItem::default() }];
        let request =
            ModerateImageRequest { items, categories: vec!["copyright".to_owned()], ..Default::default() };
        let mut client = ModerationServiceClient::new(self.channel.clone());
        let answer = client.moderate_image(self.request(request)).await.unwrap().into_inner();
        answer.results[0].scores.clone().unwrap()
    }
}

fn photograph(name: &str) -> RgbImage {
    image::open(golden("../image/pictures").join(name)).unwrap().to_rgb8()
}

fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality)).unwrap();
    bytes
}

/// Half as large, brighter by a fifth, recompressed.
fn edited(picture: &RgbImage) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let mut picture = imageops::resize(picture, width / 2, height / 2, imageops::FilterType::CatmullRom);
    picture.iter_mut().for_each(|value| *value = (f32::from(*value) * 1.2).min(255.0) as u8);
    jpeg(&picture, 60)
}

fn sent(data: &[u8]) -> Picture {
    Picture { source: Some(Source::Data(data.to_vec().into())) }
}

fn work(id: &str, pictures: Vec<Picture>, text: &str) -> NewWork {
    let work = Work { id: id.to_owned(), title: format!("The {id}"), ..Work::default() };
    NewWork { work: Some(work), pictures, text: text.to_owned() }
}

/// The only place of a quotation.
fn place(found: &Match) -> Range<usize> {
    assert_eq!(found.ranges.len(), 1);
    found.ranges[0].start_byte as usize..found.ranges[0].end_byte as usize
}

fn id(found: &Match) -> &str {
    &found.work.as_ref().unwrap().id
}

#[tokio::test]
async fn copies_and_quotations_are_found_and_nothing_else() {
    let server = Server::start(WorksConfig::default());
    let client = server.client("acme").await;
    let (cat, coffee) = (photograph("cat.png"), photograph("coffee.png"));
    let works = vec![
        work("elegy", vec![], POEM),
        work("night", vec![], QUIET_NIGHT),
        work("cat", vec![sent(&jpeg(&cat, 95))], ""),
    ];
    assert_eq!(client.add(works).await.unwrap().replaced, 0);

    let found = client.find(Content::Picture(sent(&edited(&cat)))).await.unwrap();
    assert_eq!((found.len(), id(&found[0]), found[0].kind()), (1, "cat", MatchKind::Edited));
    assert!(found[0].similarity > 0.8 && found[0].distance.unwrap() < 50, "{found:?}");
    let same = client.find(Content::Picture(sent(&jpeg(&cat, 95)))).await.unwrap();
    assert_eq!((same[0].kind(), same[0].similarity, same[0].distance), (MatchKind::Exact, 1.0, Some(0)));
    // An eighth of each side cut away.
    let (width, height) = cat.dimensions();
    let middle = imageops::crop_imm(&cat, width / 8, height / 8, width * 3 / 4, height * 3 / 4).to_image();
    let found = client.find(Content::Picture(sent(&jpeg(&middle, 80)))).await.unwrap();
    assert_eq!(found.first().map(id), Some("cat"));
    assert!(client.find(Content::Picture(sent(&jpeg(&coffee, 90)))).await.unwrap().is_empty());

    // With full-width letters: the range is in the text as it was sent.
    let quotation =
        "the lowing herd wind slowly o'er the lea, the ｐｌｏｕｇｈｍａｎ homeward plods his weary way";
    let text = format!("He stood up, coughed twice and began: {quotation}. Then he sat down.");
    let found = client.find(Content::Text(text.clone())).await.unwrap();
    assert_eq!((found.len(), id(&found[0]), found[0].kind()), (1, "elegy", MatchKind::Quotation));
    let quoted = &text[place(&found[0])];
    assert!(quotation.contains(quoted), "{quoted}");
    assert!(quoted.contains("slowly o'er the lea, the ｐｌｏｕｇｈｍａｎ homeward"), "{quoted}");
    let chinese = format!("李白写道：「{QUIET_NIGHT}」大家都会背。");
    let found = client.find(Content::Text(chinese.clone())).await.unwrap();
    // Up to three characters on either side are missing.
    assert_eq!(
        (id(&found[0]), &chinese[place(&found[0])]),
        ("night", "明月光，疑是地上霜。举头望明月，低头思")
    );
    let exact = client.find(Content::Text(QUIET_NIGHT.to_owned())).await.unwrap();
    assert_eq!((exact[0].kind(), exact[0].similarity), (MatchKind::Exact, 1.0));
    let other =
        "The herd went home over the meadow while the bell rang, and it grew dark. 床前有明亮的月光。";
    assert!(client.find(Content::Text(other.to_owned())).await.unwrap().is_empty());
    server.stop().await;
}

/// What is unrelated to the two photographs: other pictures of the tree, and single drawings from a sheet of them.
fn unrelated() -> Vec<Vec<u8>> {
    let folders = ["images", "nsfwjs", "ocr"].map(golden);
    let files =
        folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    let is_picture = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "png" || kind == "jpg");
    // That one was cut out of the photograph of a cup of coffee.
    let other = |path: &PathBuf| !path.ends_with("cup.png") && !path.ends_with("fur.png");
    let mut all: Vec<_> =
        files.filter(is_picture).filter(other).map(|path| fs::read(path).unwrap()).collect();
    let sheet =
        image::open(golden("../../../deploy/models/weights/emoji-vae/sheet.png")).unwrap().into_rgb8();
    for n in 0..12 {
        let one = imageops::crop_imm(&sheet, n % 4 * 64, n / 4 * 64, 64, 64).to_image();
        all.push(jpeg(&imageops::resize(&one, 256, 256, imageops::FilterType::CatmullRom), 95));
    }
    all
}

#[tokio::test]
async fn cuts_that_defeat_the_fingerprint_are_found_by_vector_and_unrelated_pictures_are_not() {
    let tags = Config::default().detectors.into_iter().find(|one| one.kind == "image-tags").unwrap();
    let (with, without) =
        (Server::with(WorksConfig::default(), vec![tags]), Server::start(WorksConfig::default()));
    let (ours, bits) = (with.client("acme").await, without.client("acme").await);
    let photographs = [("cat", photograph("cat.png")), ("coffee", photograph("coffee.png"))];
    for (id, picture) in &photographs {
        for client in [&ours, &bits] {
            client.add(vec![work(id, vec![sent(&jpeg(picture, 95))], "")]).await.unwrap();
        }
    }
    for (id, picture) in &photographs {
        let (width, height) = picture.dimensions();
        // The lower right, and a part off the middle.
        for (left, above) in [(25, 25), (20, 8)] {
            let (left, above) = (width * left / 100, height * above / 100);
            let cut = imageops::crop_imm(picture, left, above, width * 3 / 4, height * 3 / 4).to_image();
            let cut = sent(&jpeg(&cut, 85));
            assert!(bits.find(Content::Picture(cut.clone())).await.unwrap().is_empty(), "{id}");
            let found = ours.find(Content::Picture(cut)).await.unwrap();
            assert_eq!(found.iter().map(self::id).collect::<Vec<_>>(), [*id]);
            assert!(found[0].cosine.unwrap() >= 0.88 && found[0].distance.is_none(), "{found:?}");
            assert!((0.5..0.85).contains(&found[0].similarity), "{found:?}");
        }
    }
    let others = unrelated();
    assert!(others.len() >= 20);
    for other in &others {
        let found = ours.find(Content::Picture(sent(other))).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
    // To another tenant nothing tells that there is a list.
    let scores = with.client("globex").await.score_picture(&others[0]).await;
    assert!(scores.unsupported_categories.contains(&"copyright".to_owned()));
    let listed = async |tenant| {
        let mut client = ModerationServiceClient::new(with.client(tenant).await.channel);
        let mut request = Request::new(ListCategoriesRequest {});
        request.metadata_mut().insert("atelier-tenant", tenant.parse().unwrap());
        let listed = client.list_categories(request).await.unwrap().into_inner().categories;
        listed.into_iter().find(|one| one.id == "copyright").unwrap().detectors.len()
    };
    assert_eq!((listed("acme").await, listed("globex").await), (1, 0));
    with.stop().await;
    without.stop().await;
}

#[tokio::test]
async fn moderation_compares_with_the_callers_own_list() {
    let server = Server::start(WorksConfig::default());
    let (ours, theirs) = (server.client("acme").await, server.client("globex").await);
    let cat = photograph("cat.png");
    // Nothing to compare with: unknown, not 0.
    assert_eq!(ours.score_text(POEM).await.unsupported_categories, ["copyright"]);
    assert_eq!(ours.score_picture(&jpeg(&cat, 90)).await.unsupported_categories, ["copyright"]);

    ours.add(vec![work("elegy", vec![], POEM)]).await.unwrap();
    let text = format!("As he said, {POEM}");
    let scores = ours.score_text(&text).await;
    assert!(score(&scores, "copyright") > 0.9 && scores.unsupported_categories.is_empty());
    assert_eq!(scores.findings[0].reason, "copy-of:elegy");
    let place = scores.findings[0].start_byte as usize..scores.findings[0].end_byte as usize;
    assert!(text[place].starts_with("The curfew tolls"));
    assert_eq!(score(&ours.score_text("Some words of my own about a cow.").await, "copyright"), 0.0);
    assert_eq!(theirs.score_text(POEM).await.unsupported_categories, ["copyright"]);
    // The list has no pictures yet.
    assert_eq!(ours.score_picture(&jpeg(&cat, 90)).await.unsupported_categories, ["copyright"]);

    ours.add(vec![work("cat", vec![sent(&jpeg(&cat, 95))], "")]).await.unwrap();
    let scores = ours.score_picture(&edited(&cat)).await;
    assert!(score(&scores, "copyright") > 0.8);
    assert_eq!((scores.findings.len(), scores.findings[0].reason.as_str()), (1, "copy-of:cat"));
    let coffee = jpeg(&photograph("coffee.png"), 90);
    assert_eq!(score(&ours.score_picture(&coffee).await, "copyright"), 0.0);
    assert!(theirs.find(Content::Picture(sent(&edited(&cat)))).await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn lists_outlive_the_server_and_come_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path());
    let client = server.client("acme/eu").await;
    client.add(["c", "a", "b"].map(|id| work(id, vec![], POEM)).into()).await.unwrap();
    assert_eq!(client.add(vec![work("b", vec![], QUIET_NIGHT)]).await.unwrap().replaced, 1);
    server.stop().await;

    let server = Server::in_folder(folder.path());
    let client = server.client("acme/eu").await;
    let (first, token, total) = client.page(2, "").await.unwrap();
    assert_eq!((first, total), (vec!["a".to_owned(), "b".to_owned()], 3));
    assert_eq!(client.page(2, &token).await.unwrap(), (vec!["c".to_owned()], String::new(), 3));
    assert_eq!(client.find(Content::Text(POEM.to_owned())).await.unwrap().len(), 2);
    assert_eq!(client.remove(&["a", "zebra"]).await, ["zebra"]);
    let left = client.find(Content::Text(POEM.to_owned())).await.unwrap();
    assert_eq!((left.len(), id(&left[0])), (1, "c"));
    server.stop().await;

    let server = Server::in_folder(folder.path());
    let client = server.client("acme/eu").await;
    assert_eq!(client.page(0, "").await.unwrap().0, ["b", "c"]);
    assert!(server.client("acme").await.page(0, "").await.unwrap().0.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_field_and_bounds_hold() {
    let bounds = WorksConfig { max_works: 2, max_tenants: 1, ..WorksConfig::default() };
    let server = Server::start(bounds);
    let client = server.client("acme").await;
    let good = sent(&jpeg(&photograph("cat.png"), 80));
    let white = sent(&jpeg(&RgbImage::from_pixel(64, 64, image::Rgb([255; 3])), 90));
    for (bad, field) in [
        (work("", vec![good.clone()], ""), "works[1].work.id"),
        (work("b", vec![], ""), "works[1]"),
        (work("b", vec![], "too few words"), "works[1].text"),
        (work("b", vec![good.clone(), sent(b"no picture")], ""), "works[1].pictures[1].data"),
        (work("b", vec![white], ""), "works[1].pictures[0].data"),
        (NewWork::default(), "works[1].work"),
    ] {
        let status = client.add(vec![work("a", vec![good.clone()], ""), bad]).await.unwrap_err();
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let status = client.find(Content::Picture(sent(b"no picture"))).await.unwrap_err();
    assert_eq!(fields(&status), ["picture.data"]);
    let request = FindSimilarRequest { content: None, max_matches: 0 };
    let status = client.similarity().find_similar(client.request(request)).await.unwrap_err();
    assert_eq!(fields(&status), ["content"]);
    assert_eq!(fields(&client.page(1, "?").await.unwrap_err()), ["page_token"]);

    let three = ["a", "b", "c"].map(|id| work(id, vec![], POEM));
    let status = client.add(three.into()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    // None of a call that failed is on the list.
    assert_eq!(client.page(0, "").await.unwrap().2, 0);
    client.add(vec![work("a", vec![], POEM)]).await.unwrap();
    let status = server.client("globex").await.add(vec![work("a", vec![], POEM)]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    server.stop().await;
}
