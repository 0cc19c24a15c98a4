//! The consumer's native half: records out of librdkafka (fetch.rs), JSON records to rows of PostgreSQL's binary COPY
//! (encode.rs), the last word of each key (reduce.rs). Standard library only; compiles with Rust 1.63 and later.
//!
//! What lives here: the C boundary; reduce.rs has its own in reduce_boundary.rs. What is unsafe stands in these two and in
//! fetch.rs. The caller is library.py.
//!
//! The rule of the encoder: a row is emitted only when it is certainly the row that the reference decoder
//! (reference.py) would emit. Whatever is wrong, rare or doubtful is "not handled", and the reference decides.

#![deny(unsafe_op_in_unsafe_fn)]

mod convert;
mod encode;
mod fetch;
mod plan;
mod reduce;
mod reduce_boundary;
mod scan;

use encode::{Chunk, Encoded, Encoder};
use fetch::{Client, Packed, Poll, Run, Wanted};
use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;

/// Changes whenever the functions, the plan's bytes or their meaning change; library.py refuses any other.
const INTERFACE: u32 = 4;

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
/// `encoder` comes from `forebay_encoder_new` and no other thread uses it now. `data` holds the values joined, `ends`
/// says where each ends (checked against `data_length`); `ends` and, unless null, `offsets` and `timestamps` hold
/// `count` entries. A record of no bytes is left alone.
#[no_mangle]
pub unsafe extern "C" fn forebay_encode(
    encoder: *mut Encoder,
    data: *const u8,
    data_length: usize,
    ends: *const u64,
    count: usize,
    partition: i64,
    offsets: *const i64,
    timestamps: *const i64,
) -> i32 {
    // SAFETY: promised by the caller; a null pointer is never made into a slice.
    let (encoder, chunk) = unsafe {
        let chunk = Chunk {
            data: slice::from_raw_parts(data, data_length),
            ends: slice::from_raw_parts(ends, count),
            partition,
            offsets: optional_slice(offsets, count),
            timestamps: optional_slice(timestamps, count),
        };
        (&mut *encoder, chunk)
    };
    match catch_unwind(AssertUnwindSafe(|| encoder.encode(&chunk))) {
        Ok(()) => 0,
        Err(_) => {
            encoder.encoded = Encoded::default(); // a bug must not become a row: the reference takes the whole chunk
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

/// What the encoder made of its last chunk; valid until it is used again or freed.
///
/// # Safety
/// `encoder` comes from `forebay_encoder_new`.
#[no_mangle]
pub unsafe extern "C" fn forebay_encoded(encoder: *const Encoder) -> *const Encoded {
    // SAFETY: promised by the caller.
    &unsafe { &*encoder }.encoded
}

/// # Safety
/// `encoded` comes from `forebay_encoded` or a RunView.
#[no_mangle]
pub unsafe extern "C" fn forebay_group_count(encoded: *const Encoded) -> usize {
    // SAFETY: promised by the caller.
    unsafe { &*encoded }.groups.len()
}

/// Describe one group; returns 0, or 1 if there is no such group.
///
/// # Safety
/// `encoded` comes from `forebay_encoded` or a RunView, `view` may be written to.
#[no_mangle]
pub unsafe extern "C" fn forebay_group(encoded: *const Encoded, index: usize, view: *mut GroupView) -> i32 {
    // SAFETY: promised by the caller.
    let group = match unsafe { &*encoded }.groups.get(index) {
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
/// `encoded` comes from `forebay_encoded` or a RunView, `view` may be written to.
#[no_mangle]
pub unsafe extern "C" fn forebay_unhandled(encoded: *const Encoded, view: *mut View) {
    // SAFETY: promised by the caller.
    unsafe { view.write(View::of(&(*encoded).unhandled)) };
}

/// Byte strings as `fetch::Packed` has them.
#[repr(C)]
pub struct PackedView {
    data: View,
    ends: View,
    absent: View,
}

impl PackedView {
    fn of(packed: &Packed) -> PackedView {
        PackedView { data: View::of(&packed.data), ends: View::of(&packed.ends), absent: View::of(&packed.absent) }
    }
}

/// Records of one partition. What was not wanted is empty. Valid until `run` is freed.
#[repr(C)]
pub struct RunView {
    run: *mut Run,
    partition: i64,
    first_timestamp: i64,
    header_count: u64,
    offsets: View,
    timestamps: View,
    values: PackedView,
    keys: PackedView,
    headers: PackedView,
    /// Null if no encoder was given, or it failed.
    encoded: *const Encoded,
}

/// An error that came in the place of a record.
#[repr(C)]
pub struct FailureView {
    partition: i64,
    error: i64,
    text: View,
}

/// What one poll brought.
#[repr(C)]
pub struct PollView {
    poll: *mut Poll,
    runs: usize,
    failures: usize,
}

const WANTS_KEYS: u32 = 1;
const WANTS_TIMESTAMPS: u32 = 2;
const WANTS_HEADERS: u32 = 4;

/// See fetch::poll. Returns 0 and the result, which must be freed; or 1 when librdkafka refused.
///
/// # Safety
/// As for fetch::poll; `view` may be written to; `encoder` is null or comes from `forebay_encoder_new`, and no other
/// thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn forebay_poll(
    client: *const Client,
    queue: *mut c_void,
    wait_ms: i32,
    linger_ms: i32,
    most: usize,
    wanted: u32,
    encoder: *mut Encoder,
    view: *mut PollView,
) -> i32 {
    let wanted = Wanted {
        keys: wanted & WANTS_KEYS != 0,
        timestamps: wanted & WANTS_TIMESTAMPS != 0,
        headers: wanted & WANTS_HEADERS != 0,
    };
    // SAFETY: promised by the caller.
    let polled = catch_unwind(AssertUnwindSafe(|| unsafe {
        fetch::poll(&*client, queue, wait_ms, linger_ms, most, &wanted, encoder.as_mut())
    }));
    match polled {
        Ok(Some(poll)) => {
            let (runs, failures) = (poll.runs.len(), poll.failures.len());
            // SAFETY: promised by the caller.
            unsafe { view.write(PollView { poll: Box::into_raw(Box::new(poll)), runs, failures }) };
            0
        }
        _ => 1,
    }
}

/// # Safety
/// `poll` comes from `forebay_poll` and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn forebay_poll_free(poll: *mut Poll) {
    if !poll.is_null() {
        // SAFETY: made by Box::into_raw, given back once.
        drop(unsafe { Box::from_raw(poll) });
    }
}

/// Hand one run over, which from now on must be freed by itself. Returns 0, or 1 if it is not there (any more).
///
/// # Safety
/// `poll` comes from `forebay_poll`, `view` may be written to.
#[no_mangle]
pub unsafe extern "C" fn forebay_poll_take(poll: *mut Poll, index: usize, view: *mut RunView) -> i32 {
    // SAFETY: promised by the caller.
    let poll = unsafe { &mut *poll };
    let run = match poll.runs.get_mut(index).and_then(Option::take) {
        Some(run) => run,
        None => return 1,
    };
    let described = RunView {
        partition: run.partition as i64,
        first_timestamp: run.first_timestamp,
        header_count: run.header_count,
        offsets: View::of(&run.offsets),
        timestamps: View::of(&run.timestamps),
        values: PackedView::of(&run.values),
        keys: PackedView::of(&run.keys),
        headers: PackedView::of(&run.headers),
        encoded: run.encoded.as_ref().map_or(std::ptr::null(), |encoded| encoded),
        run: Box::into_raw(run),
    };
    // SAFETY: promised by the caller.
    unsafe { view.write(described) };
    0
}

/// # Safety
/// `run` comes from `forebay_poll_take` and nothing of it is used afterwards.
#[no_mangle]
pub unsafe extern "C" fn forebay_run_free(run: *mut Run) {
    if !run.is_null() {
        // SAFETY: made by Box::into_raw, given back once.
        drop(unsafe { Box::from_raw(run) });
    }
}

/// Describe one failure; valid until `poll` is freed. Returns 0, or 1 if there is no such failure.
///
/// # Safety
/// `poll` comes from `forebay_poll`, `view` may be written to.
#[no_mangle]
pub unsafe extern "C" fn forebay_poll_failure(poll: *const Poll, index: usize, view: *mut FailureView) -> i32 {
    // SAFETY: promised by the caller.
    let failure = match unsafe { &*poll }.failures.get(index) {
        Some(failure) => failure,
        None => return 1,
    };
    let described = FailureView {
        partition: failure.partition as i64,
        error: failure.error as i64,
        text: View::of(&failure.text),
    };
    // SAFETY: promised by the caller.
    unsafe { view.write(described) };
    0
}
