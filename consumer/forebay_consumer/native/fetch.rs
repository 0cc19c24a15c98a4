//! The records of one poll of librdkafka, copied out of its memory and sorted by partition.
//!
//! librdkafka's functions come in as addresses from the library that the process has loaded already: nothing is linked.
//! A record is copied once and given back at once, so nothing of librdkafka's stays alive behind a record that waits.

use crate::encode::{Encoded, Encoder, Place, NO_TIMESTAMP};
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::slice;

/// rd_kafka_message_t, part of librdkafka's stable interface.
#[repr(C)]
pub struct Message {
    error: c_int,
    topic: *const c_void,
    partition: i32,
    payload: *const u8,
    length: usize,
    key: *const u8,
    key_length: usize,
    offset: i64,
    private: *mut c_void,
}

/// The functions of librdkafka that are needed.
#[repr(C)]
pub struct Client {
    consume_batch_queue: unsafe extern "C" fn(*mut c_void, c_int, *mut *mut Message, usize) -> isize,
    message_destroy: unsafe extern "C" fn(*mut Message),
    message_timestamp: unsafe extern "C" fn(*const Message, *mut c_int) -> i64,
    message_headers: unsafe extern "C" fn(*const Message, *mut *mut c_void) -> c_int,
    header_get_all: unsafe extern "C" fn(*const c_void, usize, *mut *const c_char, *mut *const u8, *mut usize) -> c_int,
}

/// Which parts of a record are taken besides its value and offset.
pub struct Wanted {
    pub keys: bool,
    pub timestamps: bool,
    pub headers: bool,
}

/// Stands for the length of a value that is absent.
const ABSENT: u32 = u32::MAX;

/// Byte strings, some absent, end to end.
#[derive(Default)]
pub struct Packed {
    pub data: Vec<u8>,
    pub ends: Vec<u64>,
    /// Indexes of those that are absent, ascending.
    pub absent: Vec<u64>,
}

impl Packed {
    fn reserve(&mut self, items: usize, bytes: usize) {
        self.ends.reserve_exact(items);
        self.data.reserve_exact(bytes);
    }

    fn push(&mut self, item: Option<&[u8]>) {
        match item {
            Some(bytes) => self.data.extend_from_slice(bytes),
            None => self.absent.push(self.ends.len() as u64),
        }
        self.end_item();
    }

    /// What was put into `data` since the last item is one.
    fn end_item(&mut self) {
        self.ends.push(self.data.len() as u64);
    }
}

/// Records of one partition, in the order in which they came.
#[derive(Default)]
pub struct Run {
    pub partition: i32,
    pub first_timestamp: i64,
    pub offsets: Vec<i64>,
    pub values: Packed,
    pub keys: Packed,
    pub timestamps: Vec<i64>,
    /// Of each record: for each header u32 length of the name, name, u32 length of the value (ABSENT: none), value.
    pub headers: Packed,
    pub header_count: u64,
    /// Its rows, if they were asked for.
    pub encoded: Option<Encoded>,
}

/// What came instead of a record.
pub struct Failure {
    pub partition: i32,
    pub error: i32,
    pub text: Vec<u8>,
}

/// What one poll brought.
#[derive(Default)]
pub struct Poll {
    pub runs: Vec<Option<Box<Run>>>,
    pub failures: Vec<Failure>,
}

/// How much of a partition is in a batch.
#[derive(Default)]
struct Share {
    records: usize,
    value_bytes: usize,
    key_bytes: usize,
}

/// Messages on loan from librdkafka; given back when dropped.
struct Loan<'a> {
    client: &'a Client,
    messages: Vec<*mut Message>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        for &message in &self.messages {
            // SAFETY: librdkafka gave it to us, and it is given back once.
            unsafe { (self.client.message_destroy)(message) };
        }
    }
}

/// Take what has arrived: wait `wait_ms` for the first record and `linger_ms` for more, `most` in all.
///
/// None: librdkafka refused. Failures are those that librdkafka puts in the place of a record. encoder: rows are made of
/// the records at once, while they are in the processor's cache.
///
/// # Safety
/// `client` holds librdkafka's functions and `queue` is a live queue of it that no other thread reads.
pub unsafe fn poll(
    client: &Client,
    queue: *mut c_void,
    wait_ms: i32,
    linger_ms: i32,
    most: usize,
    wanted: &Wanted,
    mut encoder: Option<&mut Encoder>,
) -> Option<Poll> {
    let mut loan = Loan { client, messages: Vec::with_capacity(most.max(1)) };
    // SAFETY: promised by the caller; the second call fills what the first left.
    unsafe {
        borrow(&mut loan, queue, wait_ms, 1)?;
        if !loan.messages.is_empty() && most > 1 {
            borrow(&mut loan, queue, linger_ms, most - 1)?;
        }
    }
    let mut poll = Poll::default();
    let mut places: HashMap<i32, usize> = HashMap::new();
    let mut shares: Vec<Share> = Vec::new();
    let mut last = (i32::MIN, 0); // records of a partition come together: no search for each
    for &message in &loan.messages {
        // SAFETY: librdkafka's message lives until it is given back.
        let message = unsafe { &*message };
        if message.error != 0 {
            poll.failures.push(read_failure(message));
            continue;
        }
        if last.0 != message.partition {
            let place = *places.entry(message.partition).or_insert_with(|| {
                poll.runs.push(Some(Box::new(Run { partition: message.partition, ..Run::default() })));
                shares.push(Share::default());
                shares.len() - 1
            });
            last = (message.partition, place);
        }
        let share = &mut shares[last.1];
        share.records += 1;
        share.value_bytes += message.length;
        share.key_bytes += message.key_length;
    }
    for (run, share) in poll.runs.iter_mut().flatten().zip(&shares) {
        run.offsets.reserve_exact(share.records);
        run.values.reserve(share.records, share.value_bytes);
        if wanted.keys {
            run.keys.reserve(share.records, share.key_bytes);
        }
        if wanted.timestamps {
            run.timestamps.reserve_exact(share.records);
        }
        if wanted.headers {
            run.headers.reserve(share.records, 0);
        }
        if encoder.is_some() {
            run.encoded = Some(Encoded::expecting(share.records, share.value_bytes));
        }
    }
    last = (i32::MIN, 0);
    for &message in &loan.messages {
        // SAFETY: as above.
        let message = unsafe { &*message };
        if message.error != 0 {
            continue;
        }
        if last.0 != message.partition {
            last = (message.partition, places[&message.partition]);
        }
        if let Some(run) = &mut poll.runs[last.1] {
            take_record(client, message, wanted, run);
            if let Some(encoder) = encoder.as_deref_mut() {
                encode_last(client, message, encoder, run);
            }
        }
    }
    Some(poll)
}

/// # Safety
/// As for `poll`; the loan has room for `most` more.
unsafe fn borrow(loan: &mut Loan, queue: *mut c_void, wait_ms: i32, most: usize) -> Option<()> {
    let taken = loan.messages.len();
    // SAFETY: there is room for `most` messages, and librdkafka says how many it wrote.
    unsafe {
        let free = loan.messages.as_mut_ptr().add(taken);
        let count = (loan.client.consume_batch_queue)(queue, wait_ms, free, most);
        if count < 0 {
            return None;
        }
        loan.messages.set_len(taken + count as usize);
    }
    Some(())
}

fn take_record(client: &Client, message: &Message, wanted: &Wanted, run: &mut Run) {
    // SAFETY: pointers and lengths are the message's own.
    let (value, key) =
        unsafe { (optional_bytes(message.payload, message.length), optional_bytes(message.key, message.key_length)) };
    let is_first = run.offsets.is_empty();
    run.offsets.push(message.offset);
    run.values.push(value);
    if wanted.keys {
        run.keys.push(key);
    }
    if wanted.timestamps || is_first {
        let timestamp = read_timestamp(client, message);
        if is_first {
            run.first_timestamp = timestamp;
        }
        if wanted.timestamps {
            run.timestamps.push(timestamp);
        }
    }
    if wanted.headers {
        run.header_count += pack_headers(client, message, &mut run.headers.data);
        run.headers.end_item();
    }
}

/// Make a row of the record that was taken last.
fn encode_last(client: &Client, message: &Message, encoder: &mut Encoder, run: &mut Run) {
    let encoded = match &mut run.encoded {
        Some(encoded) => encoded,
        None => return,
    };
    let start = run.values.ends.iter().rev().nth(1).map_or(0, |&end| end as usize);
    let record = &run.values.data[start..];
    let timestamp = match run.timestamps.last() {
        Some(&timestamp) => timestamp,
        None => read_timestamp(client, message),
    };
    let place = Place { partition: message.partition as i64, offset: Some(message.offset), timestamp };
    let index = run.offsets.len() as u64 - 1;
    if catch_unwind(AssertUnwindSafe(|| encoder.add(record, &place, index, encoded))).is_err() {
        run.encoded = None; // a bug must not become a row, nor cost one
    }
}

fn read_failure(message: &Message) -> Failure {
    // SAFETY: of an error the payload is its text.
    let text = unsafe { optional_bytes(message.payload, message.length) };
    Failure { partition: message.partition, error: message.error, text: text.unwrap_or(&[]).to_vec() }
}

/// librdkafka's -1 is "none", which some producers send as the time of creation.
fn read_timestamp(client: &Client, message: &Message) -> i64 {
    let mut kind: c_int = 0;
    // SAFETY: the message lives.
    let timestamp = unsafe { (client.message_timestamp)(message, &mut kind) };
    if kind == 0 || timestamp == -1 {
        NO_TIMESTAMP
    } else {
        timestamp
    }
}

/// Returns how many there are.
fn pack_headers(client: &Client, message: &Message, out: &mut Vec<u8>) -> u64 {
    let mut headers: *mut c_void = ptr::null_mut();
    // SAFETY: the message lives, and its headers as long as it.
    if unsafe { (client.message_headers)(message, &mut headers) } != 0 {
        return 0;
    }
    let mut count = 0;
    loop {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0usize);
        // SAFETY: likewise; librdkafka says when there are no more. A name ends with a NUL.
        unsafe {
            if (client.header_get_all)(headers, count as usize, &mut name, &mut value, &mut length) != 0 {
                return count;
            }
            let name = std::ffi::CStr::from_ptr(name).to_bytes();
            out.extend_from_slice(&(name.len() as u32).to_le_bytes());
            out.extend_from_slice(name);
            match optional_bytes(value, length) {
                Some(value) => {
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value);
                }
                None => out.extend_from_slice(&ABSENT.to_le_bytes()),
            }
        }
        count += 1;
    }
}

/// # Safety
/// `length` bytes are readable at `start` unless it is null, and live as long as the result is used.
unsafe fn optional_bytes<'a>(start: *const u8, length: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    Some(unsafe { slice::from_raw_parts(start, length) })
}
