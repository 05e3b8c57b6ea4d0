//! Numbers in the type that a graph reads.

use atelier_inference::{ElementType, InferenceError, Tensor};
use half::f16;
use ndarray::{ArrayD, IxDyn};

/// Zeros of that type and shape.
pub(crate) fn zeros(element: ElementType, shape: &[usize]) -> Result<Tensor, InferenceError> {
    let shape = IxDyn(shape);
    Ok(match element {
        ElementType::F32 => ArrayD::<f32>::zeros(shape).into(),
        ElementType::F16 => ArrayD::from_elem(shape, f16::ZERO).into(),
        ElementType::I64 => ArrayD::<i64>::zeros(shape).into(),
        ElementType::I32 => ArrayD::<i32>::zeros(shape).into(),
        ElementType::U8 => ArrayD::<u8>::zeros(shape).into(),
        ElementType::Other => {
            return Err(InferenceError::InvalidRun("an input of an unknown type".to_owned()));
        }
    })
}

/// A tensor of that type and shape; whole numbers lose what is behind the point.
pub(crate) fn tensor(
    element: ElementType,
    shape: &[usize],
    values: &[f32],
) -> Result<Tensor, InferenceError> {
    let mut tensor = zeros(element, shape)?;
    write(&mut tensor, 0, values)?;
    Ok(tensor)
}

/// Writes numbers from an offset (in elements) on.
pub(crate) fn write(tensor: &mut Tensor, offset: usize, values: &[f32]) -> Result<(), InferenceError> {
    let range = offset..offset + values.len();
    match tensor {
        Tensor::F32(array) => part(array, range)?.copy_from_slice(values),
        Tensor::F16(array) => {
            part(array, range)?.iter_mut().zip(values).for_each(|(to, from)| *to = f16::from_f32(*from));
        }
        Tensor::I64(array) => {
            part(array, range)?.iter_mut().zip(values).for_each(|(to, from)| *to = *from as i64)
        }
        Tensor::I32(array) => {
            part(array, range)?.iter_mut().zip(values).for_each(|(to, from)| *to = *from as i32)
        }
        Tensor::U8(array) => {
            part(array, range)?.iter_mut().zip(values).for_each(|(to, from)| *to = *from as u8)
        }
    }
    Ok(())
}

/// Whole numbers, such as tokens, in the type that a graph reads.
pub(crate) fn whole(element: ElementType, shape: &[usize], values: &[i64]) -> Result<Tensor, InferenceError> {
    let mut tensor = zeros(element, shape)?;
    match &mut tensor {
        Tensor::I64(array) => part(array, 0..values.len())?.copy_from_slice(values),
        Tensor::I32(array) => {
            part(array, 0..values.len())?.iter_mut().zip(values).for_each(|(to, from)| *to = *from as i32);
        }
        _ => {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            write(&mut tensor, 0, &values)?;
        }
    }
    Ok(tensor)
}

/// The numbers of an output; nothing is copied where they are `f32` already.
pub(crate) fn floats(tensor: Tensor) -> Result<Vec<f32>, InferenceError> {
    match tensor {
        Tensor::F32(array) if array.is_standard_layout() => {
            let (values, offset) = array.into_raw_vec_and_offset();
            Ok(match offset {
                None | Some(0) => values,
                Some(offset) => values[offset..].to_vec(),
            })
        }
        Tensor::F32(array) => Ok(array.iter().copied().collect()),
        Tensor::F16(array) => Ok(array.iter().map(|value| value.to_f32()).collect()),
        other => Err(InferenceError::InvalidRun(format!("an output of {}", other.element_type()))),
    }
}

fn part<T>(array: &mut ArrayD<T>, range: std::ops::Range<usize>) -> Result<&mut [T], InferenceError> {
    let length = array.len();
    array
        .as_slice_mut()
        .and_then(|values| values.get_mut(range.clone()))
        .ok_or_else(|| InferenceError::InvalidRun(format!("elements {range:?} of a tensor of {length}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_type_of_the_graph() {
        for element in [ElementType::F32, ElementType::F16] {
            let made = tensor(element, &[1, 3], &[0.5, -2.0, 901.0]).unwrap();
            assert_eq!((made.element_type(), made.shape()), (element, &[1, 3][..]));
            assert_eq!(floats(made).unwrap(), [0.5, -2.0, 901.0]);
        }
        assert_eq!(tensor(ElementType::I64, &[], &[901.25]).unwrap().into_i64().unwrap().sum(), 901);
        assert_eq!(whole(ElementType::I32, &[2], &[49_407, 3]).unwrap().into_i32().unwrap()[0], 49_407);
        assert!(write(&mut zeros(ElementType::F32, &[2]).unwrap(), 1, &[0.0; 2]).is_err());
        assert!(zeros(ElementType::Other, &[1]).is_err());
    }
}
