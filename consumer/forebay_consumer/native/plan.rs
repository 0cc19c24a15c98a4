//! The compiled plan: what native.py packs, read back with every bound checked.
//!
//! Little-endian. u8 whether unknown keys are refused. u16 columns, then for each: u8 kind, u8 source, u8 not null,
//! u8 has default, u8 epoch unit, u32 limit, i32 scale. u16 values that mark a deletion (0: there are none), each u16
//! length and bytes. u16 nodes, then for each: u16 fields, then for each: u16 key length, key, i32 child node (-1
//! none), u16 columns, u16 column each (the number of columns stands for the deletions' marker). Node 0 is the
//! record; children come after their parents.

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    /// text, varchar, bpchar: `limit` characters, 0 = any number.
    Text,
    /// name: `limit` bytes.
    Name,
    Uuid,
    Date,
    Time,
    /// timestamp and timestamptz, which are the same bytes.
    Moment,
    Json,
    Jsonb,
}

const KINDS: [Kind; 15] = [
    Kind::Bool,
    Kind::Int2,
    Kind::Int4,
    Kind::Int8,
    Kind::Float4,
    Kind::Float8,
    Kind::Numeric,
    Kind::Text,
    Kind::Name,
    Kind::Uuid,
    Kind::Date,
    Kind::Time,
    Kind::Moment,
    Kind::Json,
    Kind::Jsonb,
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Path,
    Partition,
    Offset,
    Timestamp,
}

const SOURCES: [Source; 4] = [Source::Path, Source::Partition, Source::Offset, Source::Timestamp];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Epoch {
    None,
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

const EPOCHS: [Epoch; 5] = [Epoch::None, Epoch::Seconds, Epoch::Milliseconds, Epoch::Microseconds, Epoch::Nanoseconds];

pub struct Column {
    pub kind: Kind,
    pub source: Source,
    pub is_not_null: bool,
    pub has_default: bool,
    pub epoch: Epoch,
    /// Characters, bytes or decimal precision; 0 = unbounded.
    pub limit: u32,
    pub scale: i32,
}

pub struct Field {
    pub key: Vec<u8>,
    pub child: Option<usize>,
    pub columns: Vec<u16>,
    /// Number of this field among all fields of all nodes.
    pub number: usize,
}

pub struct Node {
    pub fields: Vec<Field>,
}

pub struct Plan {
    pub columns: Vec<Column>,
    pub nodes: Vec<Node>,
    pub field_count: usize,
    /// A record with a key that no column takes is not handled.
    pub refuses_unknown: bool,
    /// A record whose marker has one of these values deletes a row and is not handled.
    pub delete_marks: Vec<Vec<u8>>,
}

/// None for anything that is not exactly a plan.
pub fn read_plan(bytes: &[u8]) -> Option<Plan> {
    let mut reader = Reader { bytes };
    let refuses_unknown = reader.u8()? != 0;
    let column_count = reader.u16()?;
    let mut columns = Vec::new();
    for _ in 0..column_count {
        columns.push(read_column(&mut reader)?);
    }
    if columns.is_empty() || columns.len() > 128 {
        return None; // omitted columns are the bits of a u128
    }
    let mut delete_marks = Vec::new();
    for _ in 0..reader.u16()? {
        let length = reader.u16()? as usize;
        delete_marks.push(reader.take(length)?.to_vec());
    }
    let slot_count = columns.len() + !delete_marks.is_empty() as usize;
    let node_count = reader.u16()? as usize;
    let mut nodes = Vec::new();
    let mut field_count = 0;
    for index in 0..node_count {
        let node = read_node(&mut reader, &mut field_count)?;
        let are_fields_sound = node.fields.iter().all(|field| {
            field.columns.iter().all(|&column| (column as usize) < slot_count)
                && field.child.map_or(true, |child| child > index && child < node_count)
        });
        if !are_fields_sound {
            return None;
        }
        nodes.push(node);
    }
    if nodes.is_empty() || !reader.bytes.is_empty() {
        return None;
    }
    Some(Plan { columns, nodes, field_count, refuses_unknown, delete_marks })
}

fn read_column(reader: &mut Reader) -> Option<Column> {
    Some(Column {
        kind: *KINDS.get(reader.u8()? as usize)?,
        source: *SOURCES.get(reader.u8()? as usize)?,
        is_not_null: reader.u8()? != 0,
        has_default: reader.u8()? != 0,
        epoch: *EPOCHS.get(reader.u8()? as usize)?,
        limit: u32::from_le_bytes(reader.take4()?),
        scale: i32::from_le_bytes(reader.take4()?),
    })
}

fn read_node(reader: &mut Reader, field_count: &mut usize) -> Option<Node> {
    let mut fields = Vec::new();
    for _ in 0..reader.u16()? {
        let key_length = reader.u16()? as usize;
        let key = reader.take(key_length)?.to_vec();
        let child = i32::from_le_bytes(reader.take4()?);
        let mut columns = Vec::new();
        for _ in 0..reader.u16()? {
            columns.push(reader.u16()?);
        }
        let child = if child < 0 { None } else { Some(child as usize) };
        fields.push(Field { key, child, columns, number: *field_count });
        *field_count += 1;
    }
    Some(Node { fields })
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        if count > self.bytes.len() {
            return None;
        }
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let taken = self.take(2)?;
        Some(u16::from_le_bytes([taken[0], taken[1]]))
    }

    fn take4(&mut self) -> Option<[u8; 4]> {
        let taken = self.take(4)?;
        Some([taken[0], taken[1], taken[2], taken[3]])
    }
}
