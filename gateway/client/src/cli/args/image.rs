//! The grammar of commands about pictures.

use std::path::PathBuf;

use atelier_client::proto::image::v1::DiffusionConfig;
use clap::{Args, Subcommand};

/// How a diffusion model works; ranges are the service's to check, so that they stand in one place.
#[derive(Debug, Args)]
#[command(next_help_heading = "Painting")]
pub(crate) struct Painting {
    /// Model to ask; see `atelier models`
    #[arg(
        long,
        value_name = "ID",
        env = "ATELIER_IMAGE_MODEL",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) model: String,
    /// What is not to be seen
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) negative: String,
    /// Steps of the scheduler, 1 to 1000 [default: the model's]
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// How strongly the prompt is followed, 0 to 50; 1 or less: no guidance [default: the model's]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Brings back the contrast of a guided picture, 0 to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    guidance_rescale: Option<f32>,
    /// One of the model's schedulers
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    scheduler: String,
    /// One of the model's styles
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    style: String,
    /// Size in pixels, e.g. 512 or 768x512 [default: the model's]
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(u32, u32)>,
    /// Layers of the text encoder left out at its end, 0 to 11
    #[arg(long, value_name = "N")]
    clip_skip: Option<u32>,
    /// Noise that the ddim scheduler adds in each step, 0 to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    eta: Option<f32>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// What is to be seen; "(word:1.3)" weighs; "-", or nothing where input is piped: read it from stdin
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,
    /// File to write, as .png, .webp, .jpg or .avif; of several pictures NAME-1, NAME-2, ...
    #[arg(short, long, value_name = "FILE", default_value = "picture.png", conflicts_with = "jsonl")]
    pub(crate) output: PathBuf,
    /// Pictures to make, 1 to 16
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u32>,
    /// Same seed, same picture; picture n has seed + n
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Quality of .webp, .jpg and .avif, 1 to 100
    #[arg(long, value_name = "N")]
    pub(crate) quality: Option<u32>,
    /// Nothing behind the subject, with models that can do that
    #[arg(long)]
    pub(crate) transparent: bool,
    /// Make the picture larger afterwards, 2 or 4 times
    #[arg(long, value_name = "FACTOR")]
    pub(crate) upscale: Option<u32>,
    /// Picture to start from
    #[arg(long, value_name = "FILE", help_heading = "Pictures in")]
    pub(crate) init: Option<PathBuf>,
    /// How much of it is made anew, above 0 and up to 1
    #[arg(
        long,
        value_name = "X",
        allow_negative_numbers = true,
        requires = "init",
        help_heading = "Pictures in"
    )]
    pub(crate) strength: Option<f32>,
    /// Where: a picture, white where it is made anew
    #[arg(long, value_name = "FILE", requires = "init", help_heading = "Pictures in")]
    pub(crate) mask: Option<PathBuf>,
    /// Picture that guides the composition, for the model's ControlNets in their order; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Pictures in")]
    pub(crate) control: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) painting: Painting,
    /// Write previews into this folder while the picture is made
    #[arg(long, value_name = "FOLDER", conflicts_with = "jsonl")]
    pub(crate) preview_dir: Option<PathBuf>,
    /// Steps from one preview to the next
    #[arg(long, value_name = "N", default_value_t = 1, requires = "preview_dir")]
    pub(crate) preview_every: u32,
    /// Show the model, timings and verdicts on stderr
    #[arg(long)]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) bulk: ImageBulkArgs,
}

/// Pictures for many prompts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many pictures")]
pub(crate) struct ImageBulkArgs {
    /// Read {"id", "prompt"} lines, also with "negative_prompt", "seed" and "style"; write a picture and a line for
    /// each, as they come; "-" is stdin
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "prompt")]
    pub(crate) jsonl: Option<PathBuf>,
    /// Where the pictures go, as LINE-ID.EXT
    #[arg(long, value_name = "FOLDER", default_value = ".", requires = "jsonl", conflicts_with = "prompt")]
    pub(crate) output_dir: PathBuf,
    /// Their extension: png, webp, jpg or avif
    #[arg(long, value_name = "EXT", default_value = "png", requires = "jsonl", conflicts_with = "prompt")]
    pub(crate) format: String,
    /// Calls at once
    #[arg(long, visible_alias = "in-flight", value_name = "N", default_value_t = 4, requires = "jsonl",
          conflicts_with = "prompt", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
    /// Leave out lines whose pictures are there
    #[arg(long, requires = "jsonl", conflicts_with = "prompt")]
    pub(crate) resume: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VideoArgs {
    /// Prompts to walk through, in order; quote each
    #[arg(value_name = "PROMPT")]
    pub(crate) prompts: Vec<String>,
    /// File to write, as .webp, .gif, .mp4 or .webm
    #[arg(short, long, value_name = "FILE", default_value = "clip.webp")]
    pub(crate) output: PathBuf,
    /// Seeds to walk through, the n-th with the n-th prompt; may be repeated
    #[arg(long, value_name = "N")]
    pub(crate) seed: Vec<u64>,
    /// Frames, 2 to 240 [default: 24]
    #[arg(long, value_name = "N")]
    pub(crate) frames: Option<u32>,
    /// Frames a second, 1 to 60 [default: 12]
    #[arg(long, value_name = "N")]
    pub(crate) fps: Option<u32>,
    /// Return to the beginning
    #[arg(long = "loop")]
    pub(crate) returns: bool,
    /// Noise that each frame draws anew, 0 to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) drift: Option<f32>,
    /// Quality, 1 to 100 [default: 80]
    #[arg(long, value_name = "N")]
    pub(crate) quality: Option<u32>,
    /// Write the frames into this folder too, as PNG
    #[arg(long, value_name = "FOLDER")]
    pub(crate) frames_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) painting: Painting,
    /// Show the model, timings and verdicts on stderr
    #[arg(long)]
    pub(crate) stats: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExploreArgs {
    #[command(subcommand)]
    pub(crate) exploration: Exploration,
    /// Sheet of all pictures to write, as .png, .webp, .jpg or .avif
    #[arg(short, long, global = true, value_name = "FILE", default_value = "explored.png")]
    pub(crate) output: PathBuf,
    /// Write each picture into this folder too, as ROW-COLUMN
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) pictures_dir: Option<PathBuf>,
    /// Model to ask; see `atelier models`
    #[arg(long, global = true, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) model: String,
    /// Pull draws towards the average, 0 to 1: fewer odd pictures, less variety
    #[arg(long, global = true, value_name = "X", allow_negative_numbers = true)]
    pub(crate) truncation: Option<f32>,
}

/// Where a point is wanted: a number is a seed, everything else the file of a picture (for VAEs).
#[derive(Debug, Subcommand)]
pub(crate) enum Exploration {
    /// Draw pictures of consecutive seeds
    Grid {
        /// Pictures, 1 to 64 [default: 16]
        #[arg(long, value_name = "N")]
        count: Option<u32>,
        /// The first one's seed
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Walk through points
    Walk {
        /// Seeds or pictures
        #[arg(value_name = "POINT", required = true, value_parser = point)]
        points: Vec<Point>,
        /// Pictures from one point to the next, 1 to 64 [default: 8]
        #[arg(long, value_name = "N")]
        steps: Option<u32>,
        /// Along a line instead of a great circle
        #[arg(long)]
        linear: bool,
        /// Return to the first point
        #[arg(long = "loop")]
        returns: bool,
    },
    /// Give each row's picture each column's style
    Mix {
        /// Seed or picture whose structure counts; may be repeated
        #[arg(long, value_name = "POINT", required = true, value_parser = point)]
        row: Vec<Point>,
        /// Seed or picture whose style counts; may be repeated
        #[arg(long, value_name = "POINT", required = true, value_parser = point)]
        column: Vec<Point>,
        /// First layer that the column decides
        #[arg(long, value_name = "N")]
        first_layer: Option<u32>,
        /// Last layer that it does
        #[arg(long, value_name = "N")]
        last_layer: Option<u32>,
    },
    /// Add and subtract points and attributes
    Arithmetic {
        /// Seed or picture to add; may be repeated
        #[arg(long, value_name = "POINT", value_parser = point)]
        add: Vec<Point>,
        /// Seed or picture to subtract; may be repeated
        #[arg(long, value_name = "POINT", value_parser = point)]
        subtract: Vec<Point>,
        /// Step along a direction of the model, e.g. smile=1.5; may be repeated
        #[arg(long, value_name = "NAME=X", value_parser = attribute)]
        attribute: Vec<(String, f32)>,
        /// Pictures from nothing of the attributes to all of them, 1 to 64
        #[arg(long, value_name = "N")]
        steps: Option<u32>,
    },
    /// Encode pictures and decode them again
    Reconstruct {
        /// Pictures
        #[arg(value_name = "FILE", required = true)]
        images: Vec<PathBuf>,
    },
}

/// A place in a latent space.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Point {
    Seed(u64),
    Picture(PathBuf),
}

#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Pictures
    #[arg(value_name = "FILE", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// Most labels of a picture, 1 to 1000 [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<u32>,
    /// Model to ask; see `atelier models`
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) model: String,
}

impl Painting {
    pub(crate) fn config(&self) -> DiffusionConfig {
        let (width, height) = self.size.unzip();
        DiffusionConfig {
            num_inference_steps: self.steps,
            guidance_scale: self.guidance,
            guidance_rescale: self.guidance_rescale,
            scheduler: self.scheduler.clone(),
            style: self.style.clone(),
            clip_skip: self.clip_skip,
            eta: self.eta,
            width,
            height,
            ..DiffusionConfig::default()
        }
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let side = |side: &str| side.trim().parse().map_err(|_| format!("{side:?} is no number of pixels"));
    match text.split_once(['x', 'X']) {
        Some((width, height)) => Ok((side(width)?, side(height)?)),
        None => side(text).map(|side| (side, side)),
    }
}

fn point(text: &str) -> Result<Point, String> {
    Ok(text.parse().map_or_else(|_| Point::Picture(text.into()), Point::Seed))
}

fn attribute(pair: &str) -> Result<(String, f32), String> {
    let (name, amount) = pair.split_once('=').ok_or("expected NAME=X, e.g. smile=1.5")?;
    let amount = amount.trim().parse().map_err(|_| format!("{amount:?} is no number"))?;
    Ok((name.trim().to_owned(), amount))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::*, *};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("atelier").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command)
    }

    #[test]
    fn painting_flags_reach_the_request_and_the_rest_is_left_out() {
        let line = "image a red apple --size 768x512 --steps 30 --guidance 0 --scheduler euler --clip-skip 1";
        let Command::Image(image) = parse(line).expect("a good line") else { panic!("not image") };
        assert_eq!(image.prompt, ["a", "red", "apple"]);
        let expected = DiffusionConfig {
            width: Some(768),
            height: Some(512),
            num_inference_steps: Some(30),
            guidance_scale: Some(0.0),
            scheduler: "euler".into(),
            clip_skip: Some(1),
            ..DiffusionConfig::default()
        };
        assert_eq!(image.painting.config(), expected);
    }

    #[test]
    fn points_are_seeds_or_pictures() {
        let line = "explore walk 7 face.png --loop -o x.png";
        let Command::Explore(explore) = parse(line).expect("a good line") else { panic!("not explore") };
        assert_eq!(explore.output, PathBuf::from("x.png"));
        let Exploration::Walk { points, returns: true, .. } = explore.exploration else { panic!("not walk") };
        assert_eq!(points, [Point::Seed(7), Point::Picture("face.png".into())]);
    }

    #[test]
    fn wrong_lines_about_pictures_are_refused() {
        for line in [
            "image --size big x",
            "image --mask m.png x",
            "image --strength 0.5 x",
            "image --jsonl x.jsonl -o a.png",
            "image --resume x",
            "image --jsonl - a prompt",
            "image --preview-every 2 x",
            "explore",
            "explore walk",
            "explore arithmetic --attribute smile",
            "classify",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
