//! One record to one row: find the fields, then write the columns in the plan's order.

use crate::convert;
use crate::plan::{Column, Epoch, Kind, Node, Plan, Source};
use crate::scan::{unescape, Cursor, Span, Token};

/// Keys of an object are guessed by their place in the record before; longer objects are looked up.
const MAX_GUESSES: usize = 256;

pub struct Chunk<'a> {
    pub data: &'a [u8],
    /// End of each record in data.
    pub ends: &'a [u64],
    pub partition: i64,
    pub offsets: Option<&'a [i64]>,
    pub timestamps: Option<&'a [i64]>,
}

/// A timestamp that the record does not have.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// Where a record comes from, for the columns that are filled with it. timestamp: or NO_TIMESTAMP.
pub struct Place {
    pub partition: i64,
    pub offset: Option<i64>,
    pub timestamp: i64,
}

/// What became of the records of one chunk.
#[derive(Default)]
pub struct Encoded {
    pub groups: Vec<Group>,
    /// Indexes of the records that were not handled, ascending.
    pub unhandled: Vec<u64>,
    /// Room that the first group is made with.
    expected: (usize, usize),
}

impl Encoded {
    /// Room for so many records of so many bytes in all is made when the first row comes.
    pub fn expecting(records: usize, bytes: usize) -> Encoded {
        Encoded { expected: (records, bytes), ..Encoded::default() }
    }

    fn clear(&mut self) {
        for group in &mut self.groups {
            group.payload.clear();
            group.row_ends.clear();
            group.record_index.clear();
        }
        self.unhandled.clear();
    }

    fn choose_group(&mut self, omitted: u128) -> &mut Group {
        let at = match self.groups.iter().position(|group| group.omitted == omitted) {
            Some(at) => at,
            None => {
                let (records, bytes) = std::mem::take(&mut self.expected);
                self.groups.push(Group {
                    omitted,
                    payload: Vec::with_capacity(bytes),
                    row_ends: Vec::with_capacity(records),
                    record_index: Vec::with_capacity(records),
                });
                self.groups.len() - 1
            }
        };
        &mut self.groups[at]
    }
}

/// Rows that leave out the same columns.
pub struct Group {
    pub omitted: u128,
    pub payload: Vec<u8>,
    pub row_ends: Vec<u64>,
    pub record_index: Vec<u64>,
}

/// What stood before the value at one place of an object last time (comma, key, colon, space), and the field it meant.
struct Guess {
    text: Vec<u8>,
    field: Option<usize>,
}

struct Finder {
    nodes: Vec<Node>,
    guesses: Vec<Vec<Guess>>,
    /// For each field the number of the record in which it was last seen: a repeated key is not handled.
    seen: Vec<u64>,
    record: u64,
    slots: Vec<Span>,
    refuses_unknown: bool,
}

pub struct Encoder {
    columns: Vec<Column>,
    delete_marks: Vec<Vec<u8>>,
    finder: Finder,
    /// Of the chunk that was encoded last.
    pub encoded: Encoded,
}

impl Encoder {
    pub fn new(plan: Plan) -> Encoder {
        let slots = vec![Span::MISSING; plan.columns.len() + 1]; // the last is that of the deletions' marker
        let guesses = plan.nodes.iter().map(|_| Vec::new()).collect();
        let seen = vec![0; plan.field_count];
        let refuses_unknown = plan.refuses_unknown;
        let finder = Finder { nodes: plan.nodes, guesses, seen, record: 0, slots, refuses_unknown };
        let delete_marks = plan.delete_marks;
        Encoder { columns: plan.columns, delete_marks, finder, encoded: Encoded::default() }
    }

    /// Encode a whole chunk; the result is in `encoded`.
    pub fn encode(&mut self, chunk: &Chunk) {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        let mut start = 0usize;
        for (index, &end) in chunk.ends.iter().enumerate() {
            let end = end as usize;
            let record = chunk.data.get(start..end).unwrap_or(&[]);
            start = end;
            let offset = chunk.offsets.and_then(|all| all.get(index).copied());
            let timestamp = chunk.timestamps.and_then(|all| all.get(index).copied()).unwrap_or(NO_TIMESTAMP);
            self.add(record, &Place { partition: chunk.partition, offset, timestamp }, index as u64, &mut encoded);
        }
        self.encoded = encoded;
    }

    /// Encode one record, or note that it is not handled. index: its own in the chunk, above all before.
    pub fn add(&mut self, record: &[u8], place: &Place, index: u64, out: &mut Encoded) {
        if self.encode_record(record, place, index, out).is_none() {
            out.unhandled.push(index);
        }
    }

    fn encode_record(&mut self, record: &[u8], place: &Place, index: u64, out: &mut Encoded) -> Option<()> {
        if record.is_empty() || record.len() > u32::MAX as usize {
            return None;
        }
        std::str::from_utf8(record).ok()?;
        self.finder.find(record)?;
        if !self.delete_marks.is_empty() && self.may_delete(record) {
            return None;
        }
        let omitted = self.find_omitted(place)?;
        let count = self.columns.len() - omitted.count_ones() as usize;
        if count == 0 {
            return None;
        }
        let group = out.choose_group(omitted);
        let start = group.payload.len();
        group.payload.reserve(record.len() + 16 * count + 2);
        group.payload.extend_from_slice(&(count as i16).to_be_bytes());
        for (position, column) in self.columns.iter().enumerate() {
            if omitted >> position & 1 == 1 {
                continue;
            }
            let slot = self.finder.slots[position];
            if write_column(column, record, slot, place, &mut group.payload).is_none() {
                group.payload.truncate(start);
                return None;
            }
        }
        group.row_ends.push(group.payload.len() as u64);
        group.record_index.push(index);
        Some(())
    }

    /// Whether the marker has one of the values that delete, or one that is not certainly another.
    fn may_delete(&self, record: &[u8]) -> bool {
        let mark = self.finder.slots[self.columns.len()];
        let text = &record[mark.start as usize..mark.end as usize];
        match mark.token {
            Token::Missing | Token::Null | Token::Object | Token::Array => false,
            _ => mark.has_escape || self.delete_marks.iter().any(|value| value == text),
        }
    }

    /// The columns left to their defaults; None if a column lacks a value that it must have.
    fn find_omitted(&self, place: &Place) -> Option<u128> {
        let mut omitted = 0u128;
        for (position, column) in self.columns.iter().enumerate() {
            let is_missing = match column.source {
                Source::Path => self.finder.slots[position].token == Token::Missing,
                Source::Timestamp => place.timestamp == NO_TIMESTAMP,
                Source::Partition | Source::Offset => false,
            };
            if !is_missing {
                continue;
            }
            if column.has_default {
                omitted |= 1 << position;
            } else if column.is_not_null {
                return None;
            }
        }
        Some(omitted)
    }
}

impl Finder {
    /// Validate the whole record and fill the slots.
    fn find(&mut self, record: &[u8]) -> Option<()> {
        self.record += 1;
        for slot in &mut self.slots {
            *slot = Span::MISSING;
        }
        let mut cursor = Cursor::new(record);
        cursor.skip_space();
        self.object(&mut cursor, 0)?;
        cursor.skip_space();
        if cursor.at != record.len() {
            return None;
        }
        Some(())
    }

    fn object(&mut self, cursor: &mut Cursor, node: usize) -> Option<()> {
        cursor.expect(b'{')?;
        let mut place = 0;
        loop {
            let field = match self.guess(cursor, node, place) {
                Some(field) => field,
                None => match self.key(cursor, node, place)? {
                    Some(field) => field,
                    None => return Some(()),
                },
            };
            place += 1;
            match field {
                Some(field) => self.known_field(cursor, node, field)?,
                None if self.refuses_unknown => return None,
                None => {
                    cursor.value()?;
                }
            }
        }
    }

    /// Pass what stands before the value, without a look at it, if it is what stood there in the record before: records
    /// of a topic mostly have the same keys in the same order.
    #[inline(always)]
    fn guess(&self, cursor: &mut Cursor, node: usize, place: usize) -> Option<Option<usize>> {
        let guess = self.guesses[node].get(place)?;
        if !begins_with(&cursor.bytes[cursor.at..], &guess.text) {
            return None;
        }
        cursor.at += guess.text.len();
        Some(guess.field)
    }

    fn known_field(&mut self, cursor: &mut Cursor, node: usize, field: usize) -> Option<()> {
        let start = cursor.at;
        let number = self.nodes[node].fields[field].number;
        if self.seen[number] == self.record {
            return None;
        }
        self.seen[number] = self.record;
        let span = cursor.value()?;
        for &column in &self.nodes[node].fields[field].columns {
            self.slots[column as usize] = span;
        }
        match (self.nodes[node].fields[field].child, span.token) {
            (Some(child), Token::Object) => {
                cursor.at = start; // once more, now looking at the keys
                self.object(cursor, child)
            }
            (None, _) | (_, Token::Null) => Some(()),
            _ => None,
        }
    }

    /// Pass what stands before the value, and say which field that means; or the end of the object: Some(None).
    fn key(&mut self, cursor: &mut Cursor, node: usize, place: usize) -> Option<Option<Option<usize>>> {
        let start = cursor.at;
        cursor.skip_space();
        if cursor.peek() == b'}' {
            cursor.at += 1;
            return Some(None);
        }
        if place > 0 {
            cursor.expect(b',')?;
            cursor.skip_space();
        }
        let key = cursor.plain_string()?;
        let field = self.nodes[node].fields.iter().position(|field| field.key == key);
        cursor.skip_space();
        cursor.expect(b':')?;
        cursor.skip_space();
        let guess = Guess { text: cursor.bytes[start..cursor.at].to_vec(), field };
        let guesses = &mut self.guesses[node];
        if place < guesses.len() {
            guesses[place] = guess;
        } else if place < MAX_GUESSES {
            guesses.push(guess);
        }
        Some(Some(field))
    }
}

/// As starts_with, without a call for what is as short as a key.
#[inline(always)]
fn begins_with(bytes: &[u8], text: &[u8]) -> bool {
    let size = text.len();
    if bytes.len() < size {
        return false;
    }
    let bytes = &bytes[..size];
    if size < 8 || size > 32 {
        return bytes == text;
    }
    let mut at = 0;
    while at + 8 < size {
        if word(bytes, at) != word(text, at) {
            return false;
        }
        at += 8;
    }
    word(bytes, size - 8) == word(text, size - 8)
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(eight)
}

/// Length word and value of one column that is not omitted.
fn write_column(column: &Column, record: &[u8], slot: Span, place: &Place, out: &mut Vec<u8>) -> Option<()> {
    let number = match column.source {
        Source::Path => return write_value(column, record, slot, out),
        Source::Partition => place.partition,
        Source::Offset => place.offset?,
        Source::Timestamp => match place.timestamp {
            NO_TIMESTAMP => return write_null(column, out),
            timestamp => timestamp,
        },
    };
    let text = number.to_string();
    let token = if matches!(column.kind, Kind::Text | Kind::Name) { Token::String } else { Token::Number };
    let span = Span { token, start: 0, end: text.len() as u32, ..Span::MISSING };
    write_value(column, text.as_bytes(), span, out)
}

fn write_null(column: &Column, out: &mut Vec<u8>) -> Option<()> {
    if column.is_not_null {
        return None;
    }
    out.extend_from_slice(&(-1i32).to_be_bytes());
    Some(())
}

fn write_value(column: &Column, record: &[u8], slot: Span, out: &mut Vec<u8>) -> Option<()> {
    let text = &record[slot.start as usize..slot.end as usize];
    match slot.token {
        Token::Missing | Token::Null => return write_null(column, out),
        Token::String if !matches!(column.kind, Kind::Json | Kind::Jsonb) => return write_string(column, text, slot, out),
        _ => (),
    }
    match (column.kind, slot.token) {
        (Kind::Json, token) => write_json(&[], record, slot, token, out),
        (Kind::Jsonb, token) if !slot.is_odd => write_json(&[1], record, slot, token, out),
        (Kind::Bool, Token::True) => put(&[1], out),
        (Kind::Bool, Token::False) => put(&[0], out),
        (kind, Token::Number) => write_number(column, kind, text, out),
        _ => None,
    }
}

fn write_number(column: &Column, kind: Kind, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Int8 => put_eight(convert::integer(text)?.to_be_bytes(), out),
        Kind::Int4 => {
            let value = convert::integer(text)?;
            if value as i32 as i64 != value {
                return None;
            }
            put(&(value as i32).to_be_bytes(), out)
        }
        Kind::Int2 => {
            let value = convert::integer(text)?;
            if value as i16 as i64 != value {
                return None;
            }
            put(&(value as i16).to_be_bytes(), out)
        }
        Kind::Float8 => put_eight(convert::float8(text)?.to_be_bytes(), out),
        Kind::Float4 => put(&convert::float4(text)?.to_be_bytes(), out),
        Kind::Numeric => write_numeric(column, text, out),
        Kind::Moment if column.epoch != Epoch::None => put_eight(convert::epoch_moment(text, column.epoch)?.to_be_bytes(), out),
        Kind::Date if column.epoch != Epoch::None => put(&convert::epoch_date(text, column.epoch)?.to_be_bytes(), out),
        _ => None,
    }
}

fn write_numeric(column: &Column, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    with_length(out, |out| convert::numeric(text, column.limit, column.scale, out))
}

/// Every type but text wants a string without escapes.
fn write_string(column: &Column, text: &[u8], slot: Span, out: &mut Vec<u8>) -> Option<()> {
    match column.kind {
        Kind::Text | Kind::Name => write_text(column, text, slot, out),
        _ if slot.has_escape => None,
        Kind::Uuid => put(&convert::uuid(text)?, out),
        Kind::Date => put(&convert::date(text)?.to_be_bytes(), out),
        Kind::Time => put_eight(convert::time(text)?.to_be_bytes(), out),
        Kind::Moment => put_eight(convert::moment(text)?.to_be_bytes(), out),
        Kind::Numeric => write_numeric(column, text, out),
        _ => None,
    }
}

fn write_text(column: &Column, text: &[u8], slot: Span, out: &mut Vec<u8>) -> Option<()> {
    if slot.is_odd {
        return None;
    }
    if !slot.has_escape && (column.limit == 0 || text.len() <= column.limit as usize) {
        return put(text, out);
    }
    let start = out.len() + 4;
    with_length(out, |out| if slot.has_escape { unescape(text, out) } else { Some(out.extend_from_slice(text)) })?;
    let written = &out[start..];
    let length = if column.kind == Kind::Name { written.len() } else { convert::count_characters(written) };
    if column.limit > 0 && length > column.limit as usize {
        return None;
    }
    Some(())
}

/// The value exactly as it stands in the record; a string with its quotes.
fn write_json(prefix: &[u8], record: &[u8], slot: Span, token: Token, out: &mut Vec<u8>) -> Option<()> {
    let (start, end) = (slot.start as usize, slot.end as usize);
    let raw = if token == Token::String { &record[start - 1..end + 1] } else { &record[start..end] };
    with_length(out, |out| {
        out.extend_from_slice(prefix);
        out.extend_from_slice(raw);
        Some(())
    })
}

#[inline(always)]
fn put(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&(data.len() as i32).to_be_bytes());
    out.extend_from_slice(data);
    Some(())
}

#[inline(always)]
fn put_eight(data: [u8; 8], out: &mut Vec<u8>) -> Option<()> {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&data);
    out.extend_from_slice(&field);
    Some(())
}

fn with_length(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Some(())
}
