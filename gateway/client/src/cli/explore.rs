//! `atelier explore`.

use std::path::PathBuf;

use atelier_client::{
    Client, ClientError,
    proto::{
        gateway::v1::{ExploreRequest, ExploreResponse, explore_request::Exploration as Wire},
        image::v1::{
            AttributeShift, DrawGrid, ExploredImage, Interpolation, LatentArithmetic, LatentPoint,
            LatentTerm, LatentWalk, OutputConfig, Reconstruction, StyleMix, latent_point,
        },
    },
};
use serde::Serialize;

use super::{
    CliError,
    args::{Exploration, ExploreArgs, Point},
    documents::ImageCompletion,
    files,
    image::why,
    input,
    output::Output,
};

#[derive(Serialize)]
struct ExploredDocument {
    /// The sheet; none where policy withheld something on it.
    sheet: Option<PathBuf>,
    images: Vec<PictureDocument>,
    completion: Option<ImageCompletion>,
}

#[derive(Serialize)]
struct PictureDocument {
    row: u32,
    column: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    withheld: bool,
    width: u32,
    height: u32,
    seed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    latent: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psnr: Option<f32>,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: ExploreArgs,
) -> Result<(), CliError> {
    let format = files::image_format(&arguments.output)?;
    if let Some(folder) = &arguments.pictures_dir {
        files::folder(folder)?;
    }
    let request = ExploreRequest {
        model: arguments.model.clone(),
        exploration: Some(wire(&arguments.exploration)?),
        truncation: arguments.truncation,
        output: Some(OutputConfig { format: format.into(), ..OutputConfig::default() }),
        sheet: true,
    };
    let answer = connect().await?.explore(request).await?;
    print(out, answer, &arguments)
}

fn wire(exploration: &Exploration) -> Result<Wire, CliError> {
    Ok(match exploration {
        Exploration::Grid { count, seed } => Wire::Grid(DrawGrid { count: *count, seed: *seed }),
        Exploration::Walk { points, steps, linear, returns } => Wire::Walk(LatentWalk {
            points: all(points)?,
            steps: *steps,
            interpolation: if *linear { Interpolation::Linear } else { Interpolation::Spherical }.into(),
            r#loop: *returns,
        }),
        Exploration::Mix { row, column, first_layer, last_layer } => Wire::Mix(StyleMix {
            rows: all(row)?,
            columns: all(column)?,
            first_layer: *first_layer,
            last_layer: *last_layer,
        }),
        Exploration::Arithmetic { add, subtract, attribute, steps } => {
            let term = |point: LatentPoint, weight| LatentTerm { point: Some(point), weight: Some(weight) };
            let mut terms: Vec<_> = all(add)?.into_iter().map(|point| term(point, 1.0)).collect();
            terms.extend(all(subtract)?.into_iter().map(|point| term(point, -1.0)));
            let shift =
                |(name, amount): &(String, f32)| AttributeShift { name: name.clone(), amount: *amount };
            let attributes = attribute.iter().map(shift).collect();
            Wire::Arithmetic(LatentArithmetic { terms, attributes, steps: *steps })
        }
        Exploration::Reconstruct { images } => {
            let mut data = Vec::with_capacity(images.len());
            for path in images {
                data.push(input::file(path)?.into());
            }
            Wire::Reconstruction(Reconstruction { images: data })
        }
    })
}

fn all(points: &[Point]) -> Result<Vec<LatentPoint>, CliError> {
    let point = |point: &Point| {
        let point = match point {
            Point::Seed(seed) => latent_point::Point::Seed(*seed),
            Point::Picture(path) => latent_point::Point::Image(input::file(path)?.into()),
        };
        Ok(LatentPoint { point: Some(point) })
    };
    points.iter().map(point).collect()
}

fn print(out: &mut Output, answer: ExploreResponse, arguments: &ExploreArgs) -> Result<(), CliError> {
    let ExploreResponse { images, sheet, completion } = answer;
    let made = images.len();
    let mut pictures = Vec::with_capacity(made);
    for explored in images {
        pictures.push(picture(explored, arguments)?);
    }
    let kept = match sheet {
        Some(sheet) if !sheet.data.is_empty() => {
            files::write(&arguments.output, &sheet.data)?;
            Some(arguments.output.clone())
        }
        Some(_) | None => None,
    };
    let withheld = pictures.iter().filter(|picture| picture.withheld).count();
    let completion = completion.map(ImageCompletion::from);
    let why = completion.as_ref().map(why).unwrap_or_default();
    let has_sheet = kept.is_some();
    if out.json {
        out.document(&ExploredDocument { sheet: kept, images: pictures, completion })?;
    } else {
        if let Some(path) = &kept {
            out.line(&format!("{}  {made} pictures", path.display()))?;
        }
        for picture in &pictures {
            let Some(file) = &picture.file else { continue };
            let psnr = picture.psnr.map_or_else(String::new, |psnr| format!("  {psnr:.1} dB"));
            out.line(&format!("{}  seed {}{psnr}", file.display(), picture.seed))?;
        }
    }
    out.flush()?;
    if withheld > 0 || !has_sheet {
        let what =
            if withheld > 0 { format!("{withheld} of {made} pictures") } else { "the sheet".to_owned() };
        return Err(CliError::Withheld(format!("policy withheld {what}{why}")));
    }
    Ok(())
}

fn picture(explored: ExploredImage, arguments: &ExploreArgs) -> Result<PictureDocument, CliError> {
    let ExploredImage { image, latent, row, column, psnr } = explored;
    let image = image.unwrap_or_default();
    let withheld = image.data.is_empty();
    let file = match &arguments.pictures_dir {
        Some(folder) if !withheld => {
            let path = folder.join(format!("{row:02}-{column:02}.{}", files::extension_of(image.format())));
            files::write(&path, &image.data)?;
            Some(path)
        }
        Some(_) | None => None,
    };
    Ok(PictureDocument {
        row,
        column,
        file,
        withheld,
        width: image.width,
        height: image.height,
        seed: image.seed.to_string(),
        latent: latent.map(|latent| latent.values).filter(|values| !values.is_empty()),
        psnr,
    })
}
