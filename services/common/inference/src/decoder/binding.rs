//! Binding plain memory to a session's inputs and outputs.
//!
//! `ort`'s own binding clones borrowed tensors, which would part a KV cache bound as `past` from the same cache bound
//! as `present`; and it reads back every output after a run, 61 of them here. The C calls do neither.

#![expect(unsafe_code, reason = "memory bound to a session is read and written by C code")]

use std::{ffi::CStr, fmt::Debug};

use ort::{
    AsPointer, Error,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{IoBinding, RunOptions, Session},
    sys::OrtStatusPtr,
    value::{PrimitiveTensorElementType, Shape, TensorRefMut},
};

/// Names and memory of a run's inputs and outputs.
pub(crate) struct Binding(IoBinding);

impl Binding {
    pub(crate) fn new(session: &Session) -> ort::Result<Self> {
        session.create_binding().map(Self)
    }

    /// Binds an input; binding the same name again replaces it.
    ///
    /// # Safety
    /// `data` must be valid for as many elements as `shape` says whenever [`Binding::run`] is called before the name
    /// is bound anew.
    pub(crate) unsafe fn input<T>(&mut self, name: &CStr, data: *mut T, shape: &[usize]) -> ort::Result<()>
    where
        T: PrimitiveTensorElementType + Debug,
    {
        // SAFETY: the caller vouches for `data` and `shape`.
        let value = unsafe { tensor(data, shape)? };
        // SAFETY: all three pointers are live. The binding takes a reference of its own to the value.
        check(unsafe { (ort::api().BindInput)(self.0.ptr_mut(), name.as_ptr(), value.ptr()) })
    }

    /// Binds an output, which must come out in exactly this shape.
    ///
    /// # Safety
    /// As [`Binding::input`], and the memory must be writable.
    pub(crate) unsafe fn output<T>(&mut self, name: &CStr, data: *mut T, shape: &[usize]) -> ort::Result<()>
    where
        T: PrimitiveTensorElementType + Debug,
    {
        // SAFETY: the caller vouches for `data` and `shape`.
        let value = unsafe { tensor(data, shape)? };
        // SAFETY: all three pointers are live. The binding takes a reference of its own to the value.
        check(unsafe { (ort::api().BindOutput)(self.0.ptr_mut(), name.as_ptr(), value.ptr()) })
    }

    /// Runs the session over what is bound.
    ///
    /// # Safety
    /// The memory bound by [`Binding::input`] and [`Binding::output`] is still valid, and nobody else touches it
    /// during the call.
    pub(crate) unsafe fn run(&mut self, session: &mut Session, options: &RunOptions) -> ort::Result<()> {
        // SAFETY: session, options and binding are live, and the session is borrowed for this run alone.
        check(unsafe { (ort::api().RunWithBinding)(session.ptr_mut(), options.ptr(), self.0.ptr()) })
    }
}

/// A tensor over memory that the caller keeps valid.
unsafe fn tensor<'a, T>(data: *mut T, shape: &[usize]) -> ort::Result<TensorRefMut<'a, T>>
where
    T: PrimitiveTensorElementType + Debug,
{
    let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
    let shape = Shape::new(shape.iter().map(|&dimension| dimension as i64));
    // SAFETY: the caller vouches for `data` and `shape`.
    unsafe { TensorRefMut::from_raw(memory, data.cast(), shape) }
}

fn check(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: the status comes straight from a C call and is handed over once.
    unsafe { Error::result_from_status(status) }
}
