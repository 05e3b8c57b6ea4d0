//! Tensors as they travel between a service and a model.

use std::fmt;

use half::f16;
use ndarray::{ArrayD, ArrayViewD};
use ort::{
    session::SessionInputValue,
    value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef},
};

use crate::InferenceError;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE 754 binary16).
    F16,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 8-bit integer.
    U8,
    /// Any type that this crate does not carry.
    Other,
}

impl ElementType {
    pub(crate) fn of(element: TensorElementType) -> Self {
        match element {
            TensorElementType::Float32 => Self::F32,
            TensorElementType::Float16 => Self::F16,
            TensorElementType::Int64 => Self::I64,
            TensorElementType::Int32 => Self::I32,
            TensorElementType::Uint8 => Self::U8,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U8 => "u8",
            Self::Other => "other",
        })
    }
}

/// A tensor in main memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// 32-bit floating point.
    F32(ArrayD<f32>),
    /// 16-bit floating point.
    F16(ArrayD<f16>),
    /// Signed 64-bit integers.
    I64(ArrayD<i64>),
    /// Signed 32-bit integers.
    I32(ArrayD<i32>),
    /// Unsigned 8-bit integers.
    U8(ArrayD<u8>),
}

macro_rules! conversions {
    ($($element:ty, $variant:ident, $into:ident;)*) => {
        $(
            impl<D: ndarray::Dimension> From<ndarray::Array<$element, D>> for Tensor {
                fn from(array: ndarray::Array<$element, D>) -> Self {
                    Self::$variant(array.into_dyn())
                }
            }
        )*

        impl Tensor {
            $(
                #[doc = concat!("The array, if its elements are `", stringify!($element), "`.")]
                ///
                /// # Errors
                /// [`InferenceError::InvalidRun`] when they are of another type.
                pub fn $into(self) -> Result<ArrayD<$element>, InferenceError> {
                    match self {
                        Self::$variant(array) => Ok(array),
                        other => Err(InferenceError::InvalidRun(format!(
                            "a tensor of {} where {} was expected", other.element_type(), ElementType::$variant
                        ))),
                    }
                }
            )*

            /// Type of its elements.
            #[must_use]
            pub fn element_type(&self) -> ElementType {
                match self { $(Self::$variant(_) => ElementType::$variant,)* }
            }

            /// Its dimensions, outermost first.
            #[must_use]
            pub fn shape(&self) -> &[usize] {
                match self { $(Self::$variant(array) => array.shape(),)* }
            }

            /// A view for ONNX Runtime; nothing is copied unless the array is not in standard layout.
            pub(crate) fn as_input(&self) -> ort::Result<SessionInputValue<'_>> {
                match self { $(Self::$variant(array) => view(array),)* }
            }
        }
    };
}

conversions! {
    f32, F32, into_f32;
    f16, F16, into_f16;
    i64, I64, into_i64;
    i32, I32, into_i32;
    u8, U8, into_u8;
}

fn view<T: PrimitiveTensorElementType + Clone + fmt::Debug + 'static>(
    array: &ArrayD<T>,
) -> ort::Result<SessionInputValue<'_>> {
    if array.is_standard_layout() {
        Ok(TensorRef::from_array_view(array.view())?.into())
    } else {
        Ok(ort::value::Tensor::from_array(array.as_standard_layout().into_owned())?.into())
    }
}

impl Tensor {
    /// Copies an output out of ONNX Runtime's memory.
    pub(crate) fn from_output(value: &DynValue) -> Result<Self, InferenceError> {
        fn array<T: PrimitiveTensorElementType + Clone>(
            value: &DynValue,
        ) -> Result<ArrayD<T>, InferenceError> {
            let view: ArrayViewD<'_, T> = value.try_extract_array().map_err(InferenceError::run_failed)?;
            Ok(view.to_owned())
        }
        let element = value.dtype().tensor_type().map_or(ElementType::Other, ElementType::of);
        match element {
            ElementType::F32 => array(value).map(Self::F32),
            ElementType::F16 => array(value).map(Self::F16),
            ElementType::I64 => array(value).map(Self::I64),
            ElementType::I32 => array(value).map(Self::I32),
            ElementType::U8 => array(value).map(Self::U8),
            ElementType::Other => {
                Err(InferenceError::InvalidRun(format!("an output of type {}", value.dtype())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn arrays_keep_their_shape_and_type() {
        let tensor = Tensor::from(array![[1_i64, 2, 3], [4, 5, 6]]);
        assert_eq!((tensor.element_type(), tensor.shape()), (ElementType::I64, &[2, 3][..]));
        assert!(tensor.clone().into_f32().is_err());
        assert_eq!(tensor.into_i64().unwrap().sum(), 21);
    }
}
