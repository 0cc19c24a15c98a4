//! The C boundary of reduce.rs.

use crate::reduce::{read_kind, reduce, Source, Stream};
use crate::View;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;

/// Rows of one chunk; see reduce::Source.
#[repr(C)]
pub struct SourceView {
    payload: View,
    row_ends: View,
    record_index: View,
    places: View,
    chunk: u64,
    stream: u64,
    is_delete: u64,
}

/// Rows of one stream; see reduce::Stream. Valid until the reduction is freed.
#[repr(C)]
pub struct StreamView {
    payload: View,
    row_ends: View,
    chunks: View,
    records: View,
}

/// Reduce a batch. Null when that fails; else a result that must be freed.
///
/// # Safety
/// `sources` and `kinds` hold as many entries as said; each view points to readable memory of its length.
#[no_mangle]
pub unsafe extern "C" fn forebay_reduce(
    sources: *const SourceView,
    source_count: usize,
    kinds: *const u8,
    kind_count: usize,
    stream_count: usize,
) -> *mut Vec<Stream> {
    // SAFETY: promised by the caller.
    let (views, kinds) =
        unsafe { (slice::from_raw_parts(sources, source_count), slice::from_raw_parts(kinds, kind_count)) };
    let reduced = catch_unwind(AssertUnwindSafe(|| {
        let kinds: Option<Vec<_>> = kinds.iter().map(|&number| read_kind(number)).collect();
        // SAFETY: as above.
        let sources: Vec<Source> = views.iter().map(|view| unsafe { read_source(view) }).collect();
        reduce(&sources, &kinds?, stream_count)
    }));
    match reduced {
        Ok(Some(streams)) => Box::into_raw(Box::new(streams)),
        _ => std::ptr::null_mut(),
    }
}

/// Describe one stream; returns 0, or 1 if there is no such stream.
///
/// # Safety
/// `reduced` comes from `forebay_reduce`, `view` may be written to.
#[no_mangle]
pub unsafe extern "C" fn forebay_reduced(reduced: *const Vec<Stream>, index: usize, view: *mut StreamView) -> i32 {
    // SAFETY: promised by the caller.
    let stream = match unsafe { &*reduced }.get(index) {
        Some(stream) => stream,
        None => return 1,
    };
    let described = StreamView {
        payload: View::of(&stream.payload),
        row_ends: View::of(&stream.row_ends),
        chunks: View::of(&stream.chunks),
        records: View::of(&stream.records),
    };
    // SAFETY: promised by the caller.
    unsafe { view.write(described) };
    0
}

/// # Safety
/// `reduced` comes from `forebay_reduce` and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn forebay_reduced_free(reduced: *mut Vec<Stream>) {
    if !reduced.is_null() {
        // SAFETY: made by Box::into_raw, given back once.
        drop(unsafe { Box::from_raw(reduced) });
    }
}

/// # Safety
/// As for `forebay_reduce`.
unsafe fn read_source<'a>(view: &SourceView) -> Source<'a> {
    // SAFETY: promised by the caller.
    unsafe {
        Source {
            payload: items(&view.payload),
            row_ends: items(&view.row_ends),
            record_index: items(&view.record_index),
            places: items(&view.places),
            chunk: view.chunk,
            stream: view.stream as usize,
            is_delete: view.is_delete != 0,
        }
    }
}

/// # Safety
/// The view points to `length` readable and aligned items, or is empty.
unsafe fn items<'a, T>(view: &View) -> &'a [T] {
    if view.length == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { slice::from_raw_parts(view.address as *const T, view.length) }
}
