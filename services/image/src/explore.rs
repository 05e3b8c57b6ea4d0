//! Exploration of a latent space, from its order to its answer.

use std::time::{Duration, Instant};

use atelier_core::ModelRef;
use atelier_media::{Filter, resize_rgba};
use image::RgbaImage;

use crate::{
    ImageError,
    caller::Caller,
    convert::explore::{Exploration, Order, Place},
    generator::{Generator, mixed},
    latent::{Point, between, place, sum},
    output::Encoded,
    pixels::{self, Range},
    studio::Studio,
};

/// A picture and where it lies.
pub(crate) struct Found {
    pub(crate) image: Encoded,
    /// The seed that draws it, where one does.
    pub(crate) seed: Option<u64>,
    /// Empty for mixes.
    pub(crate) point: Point,
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) psnr: Option<f32>,
}

/// What a latent space holds.
pub(crate) struct Explored {
    pub(crate) found: Vec<Found>,
    pub(crate) sheet: Option<Encoded>,
    pub(crate) model: ModelRef,
    /// The first draw's.
    pub(crate) seed: u64,
    pub(crate) output_time: Duration,
    pub(crate) total: Duration,
}

/// Pictures before they are encoded.
struct Table {
    pictures: Vec<RgbaImage>,
    points: Vec<Point>,
    psnr: Vec<f32>,
    columns: usize,
    /// Of draws: the first one's.
    seed: Option<u64>,
}

/// Answers an order.
///
/// # Errors
/// The model does not exist or can't do it, a picture can't be read, or a run fails.
pub(crate) async fn explore(
    studio: &Studio,
    order: Order,
    caller: Caller,
    random_seed: impl FnOnce() -> u64,
) -> Result<Explored, ImageError> {
    let model = studio.registry()?.generator(&order.model, order.exploration.needs_encoder())?;
    let explorer = Explorer { studio, model, truncation: order.truncation, caller: &caller };
    let table = caller.in_time(explorer.table(order.exploration, random_seed)).await?;
    let started = Instant::now();
    let Table { pictures, points, psnr, columns, seed } = table;
    let sheet = if order.sheet {
        let columns = u32::try_from(columns).unwrap_or(1);
        let sheet = atelier_media::sheet(&pictures, columns)?;
        studio.encode(vec![sheet], order.output, &caller).await?.pop()
    } else {
        None
    };
    let images = studio.encode(pictures, order.output, &caller).await?;
    let found = images.into_iter().enumerate().map(|(n, image)| Found {
        image,
        seed: seed.map(|first| first.wrapping_add(n as u64)),
        point: points.get(n).cloned().unwrap_or_default(),
        row: n / columns,
        column: n % columns,
        psnr: psnr.get(n).copied(),
    });
    Ok(Explored {
        found: found.collect(),
        sheet,
        model: model.model.clone(),
        seed: seed.unwrap_or_default(),
        output_time: started.elapsed(),
        total: caller.arrived.elapsed(),
    })
}

struct Explorer<'a> {
    studio: &'a Studio,
    model: &'a Generator,
    truncation: f32,
    caller: &'a Caller,
}

impl Explorer<'_> {
    async fn table(
        &self,
        exploration: Exploration,
        random_seed: impl FnOnce() -> u64,
    ) -> Result<Table, ImageError> {
        let pictures = exploration.pictures();
        match exploration {
            Exploration::Grid { count, seed } => {
                let first = seed.unwrap_or_else(random_seed);
                let points = (0..count as u64).map(|n| self.model.point(first.wrapping_add(n))).collect();
                let columns = (count as f64).sqrt().ceil() as usize;
                Ok(Table { seed: Some(first), ..self.draw(points, columns).await? })
            }
            Exploration::Walk { points, steps, interpolation, is_loop } => {
                let stops = self.points(points, "walk.points").await?;
                let at = |n| {
                    let (leg, share) = place(n, pictures, stops.len(), is_loop);
                    between(&stops[leg], &stops[(leg + 1) % stops.len()], share, interpolation)
                };
                self.draw((0..pictures).map(at).collect(), steps).await
            }
            Exploration::Mix { rows, columns, first_layer, last_layer } => {
                self.mix(rows, columns, first_layer, last_layer).await
            }
            Exploration::Arithmetic { terms, attributes, steps } => {
                let (places, weights): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
                let points = self.points(places, "arithmetic.terms").await?;
                let dimensions = self.model.dimensions;
                let base = sum(points.iter().map(Vec::as_slice).zip(weights), dimensions);
                let shift = self.shift(&attributes)?;
                // The last one has all of the attributes; a single one is the last.
                let share = |n: usize| if steps == 1 { 1.0 } else { n as f32 / (steps - 1) as f32 };
                let at = |n| sum([(base.as_slice(), 1.0), (shift.as_slice(), share(n))], dimensions);
                self.draw((0..steps).map(at).collect(), steps).await
            }
            Exploration::Reconstruction { pictures } => self.reconstruct(pictures).await,
        }
    }

    async fn draw(&self, points: Vec<Point>, columns: usize) -> Result<Table, ImageError> {
        let pictures = self.model.draw(points.clone(), self.truncation, &self.caller.ticket()).await?;
        Ok(Table { pictures, points, psnr: Vec::new(), columns: columns.max(1), seed: None })
    }

    async fn points(&self, places: Vec<Place>, field: &str) -> Result<Vec<Point>, ImageError> {
        let mut points = Vec::with_capacity(places.len());
        for (n, place) in places.into_iter().enumerate() {
            points.push(match place {
                Place::Seed(seed) => self.model.point(seed),
                Place::Latent(values) if values.len() == self.model.dimensions => values,
                Place::Latent(_) => {
                    let description = format!("must have {} values", self.model.dimensions);
                    return Err(ImageError::invalid(format!("{field}[{n}].latent.values"), description));
                }
                Place::Picture(data) => self.read(data, &format!("{field}[{n}].image")).await?.1,
            });
        }
        Ok(points)
    }

    /// A picture at the model's size, and its point.
    async fn read(&self, data: bytes::Bytes, field: &str) -> Result<(RgbaImage, Point), ImageError> {
        let side = self.model.size;
        let small = move |picture: &RgbaImage| Ok(resize_rgba(picture, side, side, Filter::Lanczos3)?);
        let picture = self.studio.decode(data, field, small).await?;
        let point = self.model.encode(&picture, &self.caller.ticket()).await?;
        Ok((picture, point))
    }

    async fn mix(
        &self,
        rows: Vec<Place>,
        columns: Vec<Place>,
        first: Option<usize>,
        last: Option<usize>,
    ) -> Result<Table, ImageError> {
        let layers = self.model.style_layers();
        if layers == 0 {
            return Err(self.model.unsupported("style mixing"));
        }
        let (first, last) = (first.unwrap_or(layers / 2), last.unwrap_or(layers - 1));
        if last >= layers {
            return Err(ImageError::invalid("mix.last_layer", format!("must be at most {}", layers - 1)));
        }
        if first > last {
            return Err(ImageError::invalid("mix.first_layer", format!("must be at most {last}")));
        }
        let ticket = self.caller.ticket();
        let (rows, columns) =
            (self.points(rows, "mix.rows").await?, self.points(columns, "mix.columns").await?);
        let coarse = self.model.styles(rows, self.truncation, &ticket).await?;
        let fine = self.model.styles(columns, self.truncation, &ticket).await?;
        let cell = |row| fine.iter().map(move |column| mixed(row, column, first, last));
        let styles = coarse.iter().flat_map(cell).collect();
        let pictures = self.model.draw_styles(styles, &ticket).await?;
        Ok(Table { pictures, points: Vec::new(), psnr: Vec::new(), columns: fine.len(), seed: None })
    }

    /// The sum of attribute vectors.
    fn shift(&self, attributes: &[(String, f32)]) -> Result<Point, ImageError> {
        let known = &self.model.attributes;
        let mut terms = Vec::with_capacity(attributes.len());
        for (n, (name, amount)) in attributes.iter().enumerate() {
            let Some(direction) = known.get(name) else {
                let names: Vec<_> = known.keys().map(String::as_str).collect();
                let description = if names.is_empty() {
                    "must be absent: the model has no attributes".to_owned()
                } else {
                    format!("must be one of {}", names.join(", "))
                };
                return Err(ImageError::invalid(format!("arithmetic.attributes[{n}].name"), description));
            };
            terms.push((direction.as_slice(), *amount));
        }
        Ok(sum(terms, self.model.dimensions))
    }

    async fn reconstruct(&self, pictures: Vec<bytes::Bytes>) -> Result<Table, ImageError> {
        let (mut originals, mut points) = (Vec::new(), Vec::new());
        for (n, data) in pictures.into_iter().enumerate() {
            let (original, point) = self.read(data, &format!("reconstruction.images[{n}]")).await?;
            originals.push(original);
            points.push(point);
        }
        let columns = originals.len();
        let mut table = self.draw(points, columns).await?;
        let planes = |picture| pixels::planes(picture, Range::UNIT);
        let pairs = originals.iter().zip(&table.pictures);
        table.psnr =
            pairs.map(|(one, other)| pixels::psnr(&planes(one), &planes(other), Range::UNIT)).collect();
        Ok(table)
    }
}
