//! JSON records to rows of PostgreSQL's binary COPY. Standard library only; compiles with Rust 1.63 and later.
//!
//! What lives here: the C boundary, and nothing else that is unsafe. The caller is native.py.
//!
//! The rule of the whole library: a row is emitted only when it is certainly the row that the reference decoder
//! (reference.py) would emit. Whatever is wrong, rare or doubtful is "not handled", and the reference decides.

#![deny(unsafe_op_in_unsafe_fn)]

mod convert;
mod encode;
mod plan;
mod scan;

use encode::{Chunk, Encoder};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;

/// Changes whenever the functions, the plan's bytes or their meaning change; native.py refuses any other.
const INTERFACE: u32 = 1;

#[no_mangle]
pub extern "C" fn forebay_interface() -> u32 {
    INTERFACE
}

/// One array that stays valid until the encoder is used again or freed.
#[repr(C)]
pub struct View {
    address: usize,
    length: usize,
}

impl View {
    fn of<T>(items: &[T]) -> View {
        View { address: items.as_ptr() as usize, length: items.len() }
    }
}

/// One group of rows that leave out the same columns; bit i of the mask stands for column i of the plan.
#[repr(C)]
pub struct GroupView {
    mask_low: u64,
    mask_high: u64,
    payload: View,
    row_ends: View,
    record_index: View,
}

/// An encoder for the compiled plan, or null if the plan is not understood.
///
/// # Safety
/// `plan` points to `length` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn forebay_encoder_new(plan: *const u8, length: usize) -> *mut Encoder {
    // SAFETY: promised by the caller.
    let bytes = unsafe { slice::from_raw_parts(plan, length) };
    let made = catch_unwind(|| plan::read_plan(bytes).map(Encoder::new));
    match made {
        Ok(Some(encoder)) => Box::into_raw(Box::new(encoder)),
        _ => std::ptr::null_mut(),
    }
}

/// # Safety
/// `encoder` comes from `forebay_encoder_new` and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn forebay_encoder_free(encoder: *mut Encoder) {
    if !encoder.is_null() {
        // SAFETY: made by Box::into_raw, given back once.
        drop(unsafe { Box::from_raw(encoder) });
    }
}

/// Encode a chunk. Returns 0, or 1 when nothing of it was handled.
///
/// # Safety
/// `encoder` comes from `forebay_encoder_new` and no other thread uses it now. `data` holds the values joined, as many
/// bytes as `lengths` adds up to or more (checked against `data_length`); `lengths`, `offsets` and, unless null,
/// `timestamps` hold `count` entries. A length of 0 is a record to leave alone.
#[no_mangle]
pub unsafe extern "C" fn forebay_encode(
    encoder: *mut Encoder,
    data: *const u8,
    data_length: usize,
    lengths: *const u64,
    count: usize,
    partition: i64,
    offsets: *const i64,
    timestamps: *const i64,
) -> i32 {
    // SAFETY: promised by the caller; a null pointer is never made into a slice.
    let (encoder, chunk) = unsafe {
        let chunk = Chunk {
            data: slice::from_raw_parts(data, data_length),
            lengths: slice::from_raw_parts(lengths, count),
            partition,
            offsets: optional_slice(offsets, count),
            timestamps: optional_slice(timestamps, count),
        };
        (&mut *encoder, chunk)
    };
    match catch_unwind(AssertUnwindSafe(|| encoder.encode(&chunk))) {
        Ok(()) => 0,
        Err(_) => {
            encoder.clear(); // a bug must not become a row: the reference takes the whole chunk
            1
        }
    }
}

unsafe fn optional_slice<'a>(items: *const i64, count: usize) -> Option<&'a [i64]> {
    if items.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    Some(unsafe { slice::from_raw_parts(items, count) })
}

/// # Safety
/// `encoder` comes from `forebay_encoder_new`.
#[no_mangle]
pub unsafe extern "C" fn forebay_group_count(encoder: *const Encoder) -> usize {
    // SAFETY: promised by the caller.
    unsafe { &*encoder }.groups.len()
}

/// Describe one group; returns 0, or 1 if there is no such group.
///
/// # Safety
/// `encoder` comes from `forebay_encoder_new`, `view` may be written to.
#[no_mangle]
pub unsafe extern "C" fn forebay_group(encoder: *const Encoder, index: usize, view: *mut GroupView) -> i32 {
    // SAFETY: promised by the caller.
    let group = match unsafe { &*encoder }.groups.get(index) {
        Some(group) => group,
        None => return 1,
    };
    let described = GroupView {
        mask_low: group.omitted as u64,
        mask_high: (group.omitted >> 64) as u64,
        payload: View::of(&group.payload),
        row_ends: View::of(&group.row_ends),
        record_index: View::of(&group.record_index),
    };
    // SAFETY: promised by the caller.
    unsafe { view.write(described) };
    0
}

/// Indexes of the records that were not handled, ascending.
///
/// # Safety
/// `encoder` comes from `forebay_encoder_new`, `view` may be written to.
#[no_mangle]
pub unsafe extern "C" fn forebay_unhandled(encoder: *const Encoder, view: *mut View) {
    // SAFETY: promised by the caller.
    unsafe { view.write(View::of(&(*encoder).unhandled)) };
}
