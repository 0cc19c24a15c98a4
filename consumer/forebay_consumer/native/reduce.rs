//! The last word of each key in a batch. What that is, reduction.py defines; its reference in Python does the same.

use std::cmp::Ordering;

/// How values of a key column are compared: equal to PostgreSQL must be equal here.
#[derive(Clone, Copy)]
pub enum Kind {
    Plain,
    /// 1.0 and 1.00 differ in the fourth word alone.
    Numeric,
    /// bpchar: spaces at the end do not count.
    Padded,
    /// 0.0 and -0.0 are equal.
    Float,
}

const KINDS: [Kind; 4] = [Kind::Plain, Kind::Numeric, Kind::Padded, Kind::Float];

pub fn read_kind(number: u8) -> Option<Kind> {
    KINDS.get(number as usize).copied()
}

/// Rows of one chunk that go into one stream.
pub struct Source<'a> {
    pub payload: &'a [u8],
    pub row_ends: &'a [u64],
    pub record_index: &'a [u64],
    /// For each key column the place of its field in these rows.
    pub places: &'a [u16],
    pub chunk: u64,
    pub stream: usize,
    pub is_delete: bool,
}

/// Rows in the order of their keys. Stream 0 holds the keys to delete.
#[derive(Default)]
pub struct Stream {
    pub payload: Vec<u8>,
    pub row_ends: Vec<u64>,
    pub chunks: Vec<u64>,
    pub records: Vec<u64>,
}

struct Entry {
    /// The first bytes of the key in which keys differ: most comparisons end here.
    prefix: u64,
    /// Chunk and record.
    order: u64,
    source: u32,
    row: u32,
}

/// None if a row does not hold its key, or for more than the numbers above can count.
pub fn reduce(sources: &[Source], kinds: &[Kind], stream_count: usize) -> Option<Vec<Stream>> {
    if kinds.is_empty() {
        return None;
    }
    let mut entries = read_entries(sources, kinds, stream_count)?;
    entries.sort_unstable_by(|a, b| {
        let by_key = a.prefix.cmp(&b.prefix).then_with(|| compare_keys(sources, kinds, a, b));
        by_key.then(a.order.cmp(&b.order))
    });
    let mut streams: Vec<Stream> = (0..stream_count).map(|_| Stream::default()).collect();
    let mut start = 0;
    while start < entries.len() {
        let first = &entries[start];
        let same = |other: &&Entry| {
            other.prefix == first.prefix && compare_keys(sources, kinds, first, other) == Ordering::Equal
        };
        let count = 1 + entries[start + 1..].iter().take_while(same).count();
        emit(sources, &entries[start..start + count], &mut streams)?;
        start += count;
    }
    Some(streams)
}

fn read_entries(sources: &[Source], kinds: &[Kind], stream_count: usize) -> Option<Vec<Entry>> {
    let total = sources.iter().map(|source| source.row_ends.len()).sum();
    let mut entries = Vec::with_capacity(total);
    for (number, source) in sources.iter().enumerate() {
        let is_sound = source.places.len() == kinds.len()
            && source.record_index.len() == source.row_ends.len()
            && source.stream < stream_count
            && source.chunk < 1 << 32;
        if !is_sound {
            return None;
        }
        for (row, &record) in source.record_index.iter().enumerate() {
            for &place in source.places {
                find_field(source, row, place)?;
            }
            let order = source.chunk << 32 | u64::from(u32::try_from(record).ok()?);
            let (source, row) = (u32::try_from(number).ok()?, u32::try_from(row).ok()?);
            entries.push(Entry { prefix: 0, order, source, row });
        }
    }
    set_prefixes(sources, kinds[0], &mut entries);
    Some(entries)
}

/// Keys of a topic often begin alike ("account-"): the prefix is read where the first one of them differs.
fn set_prefixes(sources: &[Source], kind: Kind, entries: &mut [Entry]) {
    let read = |entry: &Entry| {
        let source = &sources[entry.source as usize];
        // Every field was found once before, in read_entries.
        let value = find_field(source, entry.row as usize, source.places[0]).unwrap_or(&[]);
        split(kind, value).0
    };
    let first = match entries.first() {
        Some(entry) => read(entry).to_vec(),
        None => return,
    };
    let common = entries.iter().fold(first.len(), |common, entry| {
        let pairs = first[..common].iter().zip(read(entry));
        pairs.take_while(|(one, other)| one == other).count()
    });
    for entry in entries.iter_mut() {
        let mut prefix = [0; 8];
        for (byte, &value) in prefix.iter_mut().zip(&read(entry)[common..]) {
            *byte = value;
        }
        entry.prefix = u64::from_be_bytes(prefix);
    }
}

/// The rows of one key, in the order of their records.
fn emit(sources: &[Source], entries: &[Entry], streams: &mut [Stream]) -> Option<()> {
    let is_delete = |entry: &&Entry| sources[entry.source as usize].is_delete;
    if let Some(delete) = entries.iter().rev().find(is_delete) {
        copy_row(&sources[delete.source as usize], delete, streams.get_mut(0)?)?;
    }
    let last = entries.last()?;
    let source = &sources[last.source as usize];
    if !source.is_delete {
        copy_row(source, last, streams.get_mut(source.stream)?)?;
    }
    Some(())
}

fn copy_row(source: &Source, entry: &Entry, stream: &mut Stream) -> Option<()> {
    stream.payload.extend_from_slice(find_row(source, entry.row as usize)?);
    stream.row_ends.push(stream.payload.len() as u64);
    stream.chunks.push(entry.order >> 32);
    stream.records.push(entry.order & 0xFFFF_FFFF);
    Some(())
}

fn find_row<'a>(source: &Source<'a>, row: usize) -> Option<&'a [u8]> {
    let start = if row == 0 { 0 } else { *source.row_ends.get(row - 1)? as usize };
    source.payload.get(start..*source.row_ends.get(row)? as usize)
}

/// A field's bytes; None if it is not there or NULL.
fn find_field<'a>(source: &Source<'a>, row: usize, place: u16) -> Option<&'a [u8]> {
    let row = find_row(source, row)?;
    let mut at = 2;
    for _ in 0..place {
        at += 4 + read_length(row, at)?.max(0) as usize;
    }
    let length = usize::try_from(read_length(row, at)?).ok()?;
    row.get(at + 4..at + 4 + length)
}

fn read_length(row: &[u8], at: usize) -> Option<i32> {
    let word = row.get(at..at + 4)?;
    Some(i32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}

/// A value in two parts that are compared one after the other.
fn split(kind: Kind, value: &[u8]) -> (&[u8], &[u8]) {
    const ZERO: [u8; 8] = [0; 8];
    match kind {
        Kind::Numeric if value.len() >= 8 => (&value[..6], &value[8..]),
        Kind::Padded => {
            let spaces = value.iter().rev().take_while(|&&byte| byte == b' ').count();
            (&value[..value.len() - spaces], &[])
        }
        Kind::Float if value.len() <= 8 && value.first() == Some(&0x80) && value[1..].iter().all(|&byte| byte == 0) => {
            (&ZERO[..value.len()], &[])
        }
        _ => (value, &[]),
    }
}

fn compare_keys(sources: &[Source], kinds: &[Kind], a: &Entry, b: &Entry) -> Ordering {
    let (one, other) = (&sources[a.source as usize], &sources[b.source as usize]);
    for (number, &kind) in kinds.iter().enumerate() {
        let left = find_field(one, a.row as usize, one.places[number]).unwrap_or(&[]);
        let right = find_field(other, b.row as usize, other.places[number]).unwrap_or(&[]);
        let order = split(kind, left).cmp(&split(kind, right));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}
