//! Strict JSON: a cursor that validates everything it passes. None means "not handled": invalid, or merely unusual.

/// Deeper records are left to the reference, which has a limit of its own.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    Missing,
    Null,
    True,
    False,
    Number,
    /// start and end exclude the quotes.
    String,
    Object,
    Array,
}

/// One value of the record: bytes start..end.
#[derive(Clone, Copy)]
pub struct Span {
    pub token: Token,
    pub start: u32,
    pub end: u32,
    /// A string with escapes, or a value that has one inside.
    pub has_escape: bool,
    /// A \u0000 inside, or a number that numeric may not hold: not for text and jsonb.
    pub is_odd: bool,
}

impl Span {
    pub const MISSING: Span = Span { token: Token::Missing, start: 0, end: 0, has_escape: false, is_odd: false };
}

pub struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    has_escape: bool,
    is_odd: bool,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, has_escape: false, is_odd: false }
    }

    #[inline(always)]
    pub fn peek(&self) -> u8 {
        // 0 stands for the end: it is no byte that JSON allows anywhere.
        match self.bytes.get(self.at) {
            Some(&byte) => byte,
            None => 0,
        }
    }

    #[inline(always)]
    pub fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    #[inline(always)]
    pub fn expect(&mut self, byte: u8) -> Option<()> {
        if self.peek() != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Pass one value; the cursor stands on its first byte. Inlined: a Span that is handed back through memory is written
    /// in small pieces and read in large ones, for which the processor waits.
    #[inline(always)]
    pub fn value(&mut self) -> Option<Span> {
        self.has_escape = false;
        self.is_odd = false;
        let start = self.at;
        let token = self.any(0)?;
        let (start, end) = if token == Token::String { (start + 1, self.at - 1) } else { (start, self.at) };
        let (start, end) = (start as u32, end as u32); // Encoder::encode_record leaves longer records alone
        Some(Span { token, start, end, has_escape: self.has_escape, is_odd: self.is_odd })
    }

    /// Pass one string and return its bytes between the quotes; None if it has an escape.
    #[inline]
    pub fn plain_string(&mut self) -> Option<&'a [u8]> {
        self.has_escape = false;
        let start = self.at + 1;
        self.string()?;
        if self.has_escape {
            return None;
        }
        Some(&self.bytes[start..self.at - 1])
    }

    #[inline(always)]
    fn any(&mut self, depth: usize) -> Option<Token> {
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b't' => self.word(b"true", Token::True),
            b'f' => self.word(b"false", Token::False),
            b'n' => self.word(b"null", Token::Null),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8], token: Token) -> Option<Token> {
        if !self.bytes[self.at..].starts_with(word) {
            return None;
        }
        self.at += word.len();
        Some(token)
    }

    #[inline(always)]
    fn string(&mut self) -> Option<Token> {
        self.expect(b'"')?;
        loop {
            self.at += plain_length(&self.bytes[self.at..]);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Some(Token::String);
                }
                b'\\' => self.escape()?,
                _ => return None, // a control character, or the end
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.has_escape = true;
        self.at += 1;
        let kind = self.peek();
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => self.unicode_escape(),
            _ => None,
        }
    }

    fn unicode_escape(&mut self) -> Option<()> {
        let unit = read_hex4(self.bytes, self.at)?;
        self.at += 4;
        match unit {
            0 => self.is_odd = true,
            0xD800..=0xDBFF => {
                self.expect(b'\\')?;
                self.expect(b'u')?;
                if !(0xDC00..=0xDFFF).contains(&read_hex4(self.bytes, self.at)?) {
                    return None;
                }
                self.at += 4;
            }
            0xDC00..=0xDFFF => return None,
            _ => (),
        }
        Some(())
    }

    #[inline(always)]
    fn number(&mut self) -> Option<Token> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            let exponent = self.at;
            self.digits()?;
            self.is_odd |= self.at - exponent > 3;
        }
        self.is_odd |= self.at - start > 1000;
        // What follows (a comma, a bracket, space, the end) is the caller's to judge: "01" fails there.
        Some(Token::Number)
    }

    #[inline(always)]
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            return None;
        }
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<Token> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == b'}' {
            self.at += 1;
            return Some(Token::Object);
        }
        loop {
            self.string()?;
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            self.any(depth + 1)?;
            self.skip_space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(Token::Object);
                }
                _ => return None,
            }
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Option<Token> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == b']' {
            self.at += 1;
            return Some(Token::Array);
        }
        loop {
            self.any(depth + 1)?;
            self.skip_space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(Token::Array);
                }
                _ => return None,
            }
            self.skip_space();
        }
    }
}

/// Bytes before the first quote, backslash or control character, eight at a time.
#[inline(always)]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(eight) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes([eight[0], eight[1], eight[2], eight[3], eight[4], eight[5], eight[6], eight[7]]);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // The lowest bit set is exact; higher ones may be borrowed, and are not looked at.
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

fn read_hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let mut unit = 0;
    for &byte in bytes.get(at..at + 4)? {
        unit = unit << 4 | (byte as char).to_digit(16)?;
    }
    Some(unit)
}

/// Append the text of a string that `Cursor::value` has accepted.
pub fn unescape(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    while at < bytes.len() {
        let plain = plain_length(&bytes[at..]);
        out.extend_from_slice(&bytes[at..at + plain]);
        at += plain;
        if at == bytes.len() {
            break;
        }
        let kind = *bytes.get(at + 1)?;
        at += 2;
        match kind {
            b'"' | b'\\' | b'/' => out.push(kind),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut unit = read_hex4(bytes, at)?;
                at += 4;
                if (0xD800..0xDC00).contains(&unit) {
                    unit = 0x10000 + ((unit - 0xD800) << 10) + read_hex4(bytes, at + 2)?.checked_sub(0xDC00)?;
                    at += 6;
                }
                let mut buffer = [0; 4];
                out.extend_from_slice(char::from_u32(unit)?.encode_utf8(&mut buffer).as_bytes());
            }
            _ => return None,
        }
    }
    Some(())
}
