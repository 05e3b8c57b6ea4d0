//! Requests about latent spaces.

use atelier_proto::image::v1 as proto;
use bytes::Bytes;

use super::{
    check::{counted, size, within},
    output, picture,
};
use crate::{ImageError, latent::Interpolation, output::Output};

/// Most pictures of one answer.
const MAX_PICTURES: usize = 64;
/// Most points of a walk, terms of a sum, pictures to reconstruct.
const MAX_POINTS: usize = 16;
/// Most rows and columns of a mix.
const MAX_TABLE: usize = 8;

/// A checked request.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) model: String,
    pub(crate) exploration: Exploration,
    /// 0 (all the average) to 1 (as drawn).
    pub(crate) truncation: f32,
    pub(crate) output: Output,
    pub(crate) sheet: bool,
}

/// A place in a latent space, as a caller names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    Seed(u64),
    Latent(Vec<f32>),
    /// An encoded picture.
    Picture(Bytes),
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Exploration {
    Grid { count: usize, seed: Option<u64> },
    Walk { points: Vec<Place>, steps: usize, interpolation: Interpolation, is_loop: bool },
    Mix { rows: Vec<Place>, columns: Vec<Place>, first_layer: Option<usize>, last_layer: Option<usize> },
    Arithmetic { terms: Vec<(Place, f32)>, attributes: Vec<(String, f32)>, steps: usize },
    Reconstruction { pictures: Vec<Bytes> },
}

impl Exploration {
    /// Whether it takes a model that reads pictures.
    pub(crate) fn needs_encoder(&self) -> bool {
        let is_picture = |place: &Place| matches!(place, Place::Picture(_));
        match self {
            Self::Grid { .. } => false,
            Self::Walk { points, .. } => points.iter().any(is_picture),
            Self::Mix { .. } => false,
            Self::Arithmetic { terms, attributes, .. } => {
                !attributes.is_empty() || terms.iter().any(|(place, _)| is_picture(place))
            }
            Self::Reconstruction { .. } => true,
        }
    }
}

/// Checks a request.
///
/// # Errors
/// The field that is out of its range.
pub(crate) fn order(request: proto::ExploreRequest) -> Result<Order, ImageError> {
    use proto::explore_request::Exploration as Asked;
    let exploration = match request.exploration {
        Some(Asked::Grid(grid)) => Exploration::Grid {
            count: size(within(grid.count, 1..=64, "grid.count")?.unwrap_or(16)),
            seed: grid.seed,
        },
        Some(Asked::Walk(asked)) => walk(asked)?,
        Some(Asked::Mix(mix)) => {
            let last_layer = mix.last_layer.map(size);
            Exploration::Mix {
                rows: places(mix.rows, 1..=MAX_TABLE, "mix.rows")?,
                columns: places(mix.columns, 1..=MAX_TABLE, "mix.columns")?,
                first_layer: mix.first_layer.map(size),
                last_layer,
            }
        }
        Some(Asked::Arithmetic(asked)) => arithmetic(asked)?,
        Some(Asked::Reconstruction(asked)) => {
            counted(&asked.images, 1..=MAX_POINTS, "reconstruction.images")?;
            let check = |(n, data)| picture(data, &format!("reconstruction.images[{n}]"));
            let pictures = asked.images.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
            Exploration::Reconstruction { pictures }
        }
        None => return Err(ImageError::invalid("exploration", "must be set")),
    };
    let output = output(request.output, "output")?;
    if output.transparent {
        return Err(ImageError::invalid("output.background", "must be opaque: these models make no alpha"));
    }
    let truncation = within(request.truncation, 0.0..=1.0, "truncation")?.unwrap_or(1.0);
    Ok(Order { model: request.model, exploration, truncation, output, sheet: request.sheet })
}

fn walk(asked: proto::LatentWalk) -> Result<Exploration, ImageError> {
    let interpolation = match super::known(asked.interpolation, "walk.interpolation")? {
        proto::Interpolation::Unspecified | proto::Interpolation::Spherical => Interpolation::Spherical,
        proto::Interpolation::Linear => Interpolation::Linear,
    };
    let points = places(asked.points, 2..=MAX_POINTS, "walk.points")?;
    let steps = size(within(asked.steps, 1..=64, "walk.steps")?.unwrap_or(8));
    let walk = Exploration::Walk { points, steps, interpolation, is_loop: asked.r#loop };
    if walk.pictures() > MAX_PICTURES {
        let description = format!("must be few enough for {MAX_PICTURES} pictures in all");
        return Err(ImageError::invalid("walk.steps", description));
    }
    Ok(walk)
}

impl Exploration {
    /// Pictures of the answer.
    pub(crate) fn pictures(&self) -> usize {
        match self {
            Self::Grid { count, .. } => *count,
            Self::Walk { points, steps, is_loop: true, .. } => points.len() * steps,
            Self::Walk { points, steps, is_loop: false, .. } => (points.len() - 1) * steps + 1,
            Self::Mix { rows, columns, .. } => rows.len() * columns.len(),
            Self::Arithmetic { steps, .. } => *steps,
            Self::Reconstruction { pictures } => pictures.len(),
        }
    }
}

fn arithmetic(asked: proto::LatentArithmetic) -> Result<Exploration, ImageError> {
    counted(&asked.terms, 1..=MAX_POINTS, "arithmetic.terms")?;
    counted(&asked.attributes, 0..=MAX_POINTS, "arithmetic.attributes")?;
    let term = |(n, term): (usize, proto::LatentTerm)| {
        let field = format!("arithmetic.terms[{n}]");
        let weight = within(term.weight, -10.0..=10.0, &format!("{field}.weight"))?.unwrap_or(1.0);
        Ok::<_, ImageError>((place(term.point.unwrap_or_default(), &format!("{field}.point"))?, weight))
    };
    let attribute = |(n, shift): (usize, proto::AttributeShift)| {
        let field = format!("arithmetic.attributes[{n}].amount");
        let amount = within(Some(shift.amount), -10.0..=10.0, &field)?.unwrap_or_default();
        Ok::<_, ImageError>((shift.name, amount))
    };
    Ok(Exploration::Arithmetic {
        terms: asked.terms.into_iter().enumerate().map(term).collect::<Result<_, _>>()?,
        attributes: asked.attributes.into_iter().enumerate().map(attribute).collect::<Result<_, _>>()?,
        steps: size(within(asked.steps, 1..=64, "arithmetic.steps")?.unwrap_or(1)),
    })
}

fn places(
    points: Vec<proto::LatentPoint>,
    range: std::ops::RangeInclusive<usize>,
    field: &str,
) -> Result<Vec<Place>, ImageError> {
    counted(&points, range, field)?;
    points.into_iter().enumerate().map(|(n, point)| place(point, &format!("{field}[{n}]"))).collect()
}

fn place(point: proto::LatentPoint, field: &str) -> Result<Place, ImageError> {
    use proto::latent_point::Point;
    match point.point {
        Some(Point::Seed(seed)) => Ok(Place::Seed(seed)),
        Some(Point::Latent(latent)) if latent.values.iter().all(|x| x.is_finite() && x.abs() <= 1e4) => {
            Ok(Place::Latent(latent.values))
        }
        Some(Point::Latent(_)) => {
            Err(ImageError::invalid(format!("{field}.latent.values"), "must be finite and at most 10000"))
        }
        Some(Point::Image(data)) => Ok(Place::Picture(picture(data, &format!("{field}.image"))?)),
        None => Err(ImageError::invalid(field, "must be a seed, a latent or an image")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(seed: u64) -> proto::LatentPoint {
        proto::LatentPoint { point: Some(proto::latent_point::Point::Seed(seed)) }
    }

    fn field(exploration: proto::explore_request::Exploration) -> String {
        let request = proto::ExploreRequest { exploration: Some(exploration), ..Default::default() };
        match order(request) {
            Err(ImageError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_at_fault_are_named() {
        use proto::explore_request::Exploration as Asked;
        let walk = |points: Vec<_>, steps| proto::LatentWalk { points, steps, ..Default::default() };
        assert_eq!(field(Asked::Walk(walk(vec![seed(1)], None))), "walk.points");
        assert_eq!(field(Asked::Walk(walk(vec![seed(1); 9], Some(8)))), "walk.steps");
        assert_eq!(
            field(Asked::Walk(walk(vec![seed(1), proto::LatentPoint::default()], None))),
            "walk.points[1]"
        );
        assert_eq!(field(Asked::Grid(proto::DrawGrid { count: Some(65), seed: None })), "grid.count");
        let infinite = proto::Latent { values: vec![f32::INFINITY] };
        let point = proto::LatentPoint { point: Some(proto::latent_point::Point::Latent(infinite)) };
        let term = proto::LatentTerm { point: Some(point), weight: None };
        let sum = proto::LatentArithmetic { terms: vec![term], ..Default::default() };
        assert_eq!(field(Asked::Arithmetic(sum)), "arithmetic.terms[0].point.latent.values");
        let none = proto::ExploreRequest::default();
        assert!(matches!(order(none), Err(ImageError::Invalid { field, .. }) if field == "exploration"));
    }

    #[test]
    fn a_walk_counts_its_pictures() {
        use proto::explore_request::Exploration as Asked;
        let count = |is_loop| {
            let walk = proto::LatentWalk {
                points: vec![seed(1); 3],
                steps: Some(4),
                r#loop: is_loop,
                ..Default::default()
            };
            let request =
                proto::ExploreRequest { exploration: Some(Asked::Walk(walk)), ..Default::default() };
            order(request).unwrap().exploration.pictures()
        };
        assert_eq!((count(false), count(true)), (9, 12));
    }
}
