//! The command line's grammar.

use std::{path::PathBuf, time::Duration};

use atelier_client::{ClientOptions, RetryPolicy, TlsOptions};
use clap::{Args, Parser, Subcommand, ValueEnum};

mod image;
mod sampling;
mod tools;

pub(crate) use image::{ClassifyArgs, Exploration, ExploreArgs, ImageArgs, Point, VideoArgs};
use sampling::Sampling;
use tools::ToolArgs;

/// Talks to an Atelier gateway: text and pictures from models, scores of content, verdicts of policy.
///
/// Exit codes: 0 done; 1 the call failed; 2 the command line or its input is wrong; 3 refused by policy.
#[derive(Debug, Parser)]
#[command(name = "atelier", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The gateway: http://HOST:PORT or https://HOST:PORT
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ATELIER_ENDPOINT",
        default_value = "http://127.0.0.1:50051"
    )]
    endpoint: String,
    /// Key that the gateway asks for; better given by the environment, where other users can't see it
    #[arg(long, global = true, value_name = "KEY", env = "ATELIER_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Who is charged, at gateways that ask for no key
    #[arg(long, global = true, value_name = "NAME", env = "ATELIER_TENANT")]
    tenant: Option<String>,
    /// Deadline of each call, e.g. 500ms, 30s, 2m; bulk moderation has none
    #[arg(long, global = true, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Tries in all when the gateway says "later"; 1: never try again
    #[arg(long, global = true, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    attempts: u32,
    /// PEM file of the authority that the gateway's certificate must come from
    #[arg(long, global = true, value_name = "FILE", help_heading = "TLS")]
    ca_cert: Option<PathBuf>,
    /// PEM file of this client's own certificate
    #[arg(long, global = true, value_name = "FILE", help_heading = "TLS", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, global = true, value_name = "FILE", help_heading = "TLS")]
    client_key: Option<PathBuf>,
    /// Answer in JSON, one document a line; errors too, on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer a prompt, as it is written; without one, on a terminal, hold a conversation
    Chat(ChatArgs),
    /// Continue a text, as it is written; no chat template is applied
    Generate(GenerateArgs),
    /// Make pictures from words, or from a picture and words
    Image(Box<ImageArgs>),
    /// Make a clip: a walk through prompts and seeds
    Video(Box<VideoArgs>),
    /// Explore the latent space of a GAN or a VAE
    Explore(ExploreArgs),
    /// Say what pictures show
    Classify(ClassifyArgs),
    /// Score texts or pictures; no policy is applied
    Moderate(ModerateArgs),
    /// Judge a text or picture under the policy without generating anything; exit code 3 where it is blocked
    Check(CheckArgs),
    /// Turn texts or pictures into vectors
    Embed(EmbedArgs),
    /// Put documents in the order in which they answer a query
    Rerank(RerankArgs),
    /// Say which text goes with a picture, or which picture with a text
    Match(MatchArgs),
    /// Split a text into a model's tokens
    Tokenize(TokenizeArgs),
    /// List the models
    Models,
    /// List the moderation taxonomy and its detectors
    Categories,
    /// Ask whether the gateway serves; exit code 1 where it does not
    Health(HealthArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// What to ask; "-", or nothing where input is piped: read it from stdin
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,
    /// Standing instructions
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) tools: ToolArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Text to continue; "-", or nothing where input is piped: read it from stdin
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,
    /// Begin the answer with the prompt
    #[arg(long)]
    pub(crate) echo: bool,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
}

/// What chat and generate share.
#[derive(Debug, Args)]
pub(crate) struct GenerationArgs {
    /// Model to ask; see `atelier models`
    #[arg(long, value_name = "ID", env = "ATELIER_MODEL", default_value = "", hide_default_value = true)]
    pub(crate) model: String,
    /// Show usage, timings and verdicts on stderr
    #[arg(long)]
    pub(crate) stats: bool,
    /// Answer when all is written
    #[arg(long)]
    pub(crate) no_stream: bool,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
}

impl GenerationArgs {
    /// Text is shown as it comes.
    pub(crate) fn is_streamed(&self) -> bool {
        !self.no_stream && !self.sampling.is_for_several()
    }
}

#[derive(Debug, Args)]
pub(crate) struct ModerateArgs {
    /// Texts to score; "-", or nothing where input is piped: one text, from stdin
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// Picture to score; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["texts", "jsonl"])]
    pub(crate) image: Vec<PathBuf>,
    /// Score many: read {"id", "text"} lines, write a line of scores for each, as they come; "-" is stdin
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "texts")]
    pub(crate) jsonl: Option<PathBuf>,
    /// With --jsonl: texts sent and not yet answered
    #[arg(long, visible_alias = "in-flight", value_name = "N", default_value_t = 64, requires = "jsonl",
          conflicts_with_all = ["texts", "image"], value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Category to score, by default all; may be repeated; see `atelier categories`
    #[arg(long, value_name = "ID")]
    pub(crate) category: Vec<String>,
    /// Print each text with personal data and secrets replaced
    #[arg(long, conflicts_with_all = ["jsonl", "image"])]
    pub(crate) redact: bool,
    /// With --image: say what each picture shows, in so many words at most
    #[arg(long, value_name = "N", default_value_t = 0, requires = "image", conflicts_with_all = ["texts", "jsonl"], value_parser = clap::value_parser!(u32).range(0..=50))]
    pub(crate) tags: u32,
    /// With --image: count the faces in each picture
    #[arg(long, requires = "image", conflicts_with_all = ["texts", "jsonl"])]
    pub(crate) faces: bool,
    /// With --image: print the text that was read in each picture
    #[arg(long, requires = "image", conflicts_with_all = ["texts", "jsonl"])]
    pub(crate) read_text: bool,
    /// With --image: when the picture is shown in the clip that it is a frame of; given once for each picture
    #[arg(long, value_name = "MILLISECONDS", requires = "image", conflicts_with_all = ["texts", "jsonl"])]
    pub(crate) time: Vec<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Text to judge; "-", or nothing where input is piped: read it from stdin
    #[arg(value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// Picture to judge
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub(crate) image: Option<PathBuf>,
    /// Whose rules apply
    #[arg(long, value_enum, default_value_t = StageArg::Input)]
    pub(crate) stage: StageArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StageArg {
    /// Content on its way to a model
    Input,
    /// Content on its way to a caller
    Output,
}

#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    /// Texts; nothing where input is piped: one a line from stdin
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// Picture to turn into a vector; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["texts", "truncate"])]
    pub(crate) image: Vec<PathBuf>,
    /// Model to ask; see `atelier models`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) model: String,
    /// Cut texts that are too long for the model instead of refusing them
    #[arg(long)]
    pub(crate) truncate: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RerankArgs {
    /// What the documents are to answer
    #[arg(long, value_name = "TEXT")]
    pub(crate) query: String,
    /// Documents; no text and no file where input is piped: one a line from stdin
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// File with a document; may be repeated
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Show only the best N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: Option<u32>,
    /// Model to ask; see `atelier models`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) model: String,
    /// Cut documents that are too long for the model instead of refusing them
    #[arg(long)]
    pub(crate) truncate: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MatchArgs {
    /// Texts; of several, each picture's come best first, of one, the pictures
    #[arg(value_name = "TEXT", required = true)]
    pub(crate) texts: Vec<String>,
    /// Picture; may be repeated
    #[arg(long = "image", value_name = "FILE", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// Image model, one that shares its space with a text model; see `atelier models --json`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) model: String,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// Text; "-", or nothing where input is piped: read it from stdin
    #[arg(value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// Model whose tokens are asked for; see `atelier models`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) model: String,
    /// Add the tokens that the model expects around a text
    #[arg(long)]
    pub(crate) special: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Full names of services, e.g. atelier.gateway.v1.GatewayService; by default the gateway as a whole, and that one
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Keep asking this long until all serve, e.g. 30s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
}

impl Global {
    pub(crate) fn options(&self) -> ClientOptions {
        ClientOptions {
            api_key: self.api_key.as_deref().filter(|key| !key.is_empty()).map(Into::into),
            tenant: self.tenant.clone().filter(|tenant| !tenant.is_empty()),
            timeout: Some(self.timeout),
            tls: TlsOptions {
                ca_certificate: self.ca_cert.clone(),
                client_certificate: self.client_cert.clone(),
                client_key: self.client_key.clone(),
                domain_name: None,
            },
            retry: RetryPolicy { max_attempts: self.attempts, ..RetryPolicy::default() },
            ..ClientOptions::new(self.endpoint.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, error::ErrorKind};

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("atelier").chain(line.split_whitespace()))
    }

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in ["--json --endpoint http://h:1 models", "models --json --endpoint http://h:1"] {
            let arguments = parse(line).expect(line);
            assert!(arguments.global.json);
            assert_eq!(arguments.global.options().endpoint, "http://h:1");
        }
    }

    #[test]
    fn jsonl_reads_stdin_unless_told_otherwise() {
        for (line, file) in [("moderate --jsonl", "-"), ("moderate --jsonl x.jsonl", "x.jsonl")] {
            let Command::Moderate(moderate) = parse(line).expect(line).command else {
                panic!("not moderate")
            };
            assert_eq!(moderate.jsonl.as_deref(), Some(std::path::Path::new(file)));
        }
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "paint",
            "chat --timeout soon x",
            "chat --seed -1 x",
            "chat --logit-bias 7 x",
            "moderate --image a.png text",
            "moderate --image a.png --tags 51",
            "moderate --tags 3 text",
            "moderate --read-text text",
            "moderate --faces text",
            "moderate --time 40 text",
            "embed --image a.png text",
            "rerank text",
            "rerank --query a --top 0 text",
            "moderate --concurrency 4 text",
            "moderate --concurrency 4",
            "moderate --jsonl --concurrency 0",
            "check --stage middle text",
            "models --client-cert a.pem",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn keys_are_not_shown_in_help() {
        let help = parse("--help").expect_err("help");
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        let api_key = Arguments::command();
        let api_key =
            api_key.get_arguments().find(|argument| argument.get_id() == "api_key").expect("there is one");
        assert!(api_key.is_hide_env_values_set());
    }

    #[test]
    fn empty_key_means_none() {
        let arguments = parse("models --api-key= --tenant=").expect("a good line");
        let options = arguments.global.options();
        assert!(options.api_key.is_none() && options.tenant.is_none());
    }
}
