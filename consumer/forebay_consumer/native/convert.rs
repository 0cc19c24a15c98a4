//! Texts of numbers, UUIDs and times to PostgreSQL's binary forms. None means "not handled".

use crate::plan::Epoch;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Days from 0000-03-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 730_425;
const UNIX_EPOCH: i64 = -10_957 * DAY;
/// 0001-01-01 and 10000-01-01.
const FIRST: i64 = -730_119 * DAY;
const END: i64 = 2_921_940 * DAY;

/// Plain digits with an optional minus, at most 18 of them.
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + digit as i64;
    }
    Some(if negative { -value } else { value })
}

/// A number that is zero only if it is written so: underflow is the reference's to refuse.
fn is_written_zero(text: &[u8]) -> bool {
    text.iter().take_while(|&&byte| byte != b'e' && byte != b'E').all(|byte| !(b'1'..=b'9').contains(byte))
}

pub fn float8(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if value.is_infinite() || (value == 0.0 && !is_written_zero(text)) {
        return None;
    }
    Some(value)
}

pub fn float4(text: &[u8]) -> Option<f32> {
    let value: f32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if value.is_infinite() || (value == 0.0 && !is_written_zero(text)) {
        return None;
    }
    Some(value)
}

/// `-?digits[.digits]`, up to 64 digits, that needs no rounding to the column's scale. precision 0: any.
pub fn numeric(text: &[u8], precision: u32, scale: i32, out: &mut Vec<u8>) -> Option<()> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let point = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
    let whole = &text[..point];
    let fraction = if point < text.len() { &text[point + 1..] } else { &text[..0] };
    if whole.is_empty() || text.len() > 64 || (point < text.len() && fraction.is_empty()) {
        return None;
    }
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = whole.iter().take_while(|&&byte| byte == b'0').count();
    let whole = &whole[zeros..];
    if precision > 0 && !fits(whole, fraction, precision, scale) {
        return None;
    }
    // Groups of four digits, the decimal point between two groups.
    let lead = (4 - whole.len() % 4) % 4;
    let mut padded = [0u8; 80];
    for (place, &digit) in padded[lead..].iter_mut().zip(whole.iter().chain(fraction)) {
        *place = digit - b'0';
    }
    let group_count = (lead + whole.len()) / 4 + (fraction.len() + 3) / 4;
    let mut groups = [0u16; 20];
    for (group, four) in groups[..group_count].iter_mut().zip(padded.chunks_exact(4)) {
        *group = four.iter().fold(0, |sum, &digit| sum * 10 + digit as u16);
    }
    let groups = &groups[..group_count];
    let first = groups.iter().position(|&group| group != 0).unwrap_or(group_count);
    let last = groups.iter().rposition(|&group| group != 0).map_or(first, |at| at + 1);
    let is_zero = first == last;
    let weight = if is_zero { 0 } else { ((lead + whole.len()) / 4) as i16 - 1 - first as i16 };
    let sign: u16 = if negative && !is_zero { 0x4000 } else { 0 };
    out.extend_from_slice(&((last - first) as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(fraction.len() as i16).to_be_bytes());
    for group in &groups[first..last] {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Some(())
}

fn fits(whole: &[u8], fraction: &[u8], precision: u32, scale: i32) -> bool {
    let missing = scale - fraction.len() as i32;
    let significant = if whole.is_empty() {
        fraction.len() - fraction.iter().take_while(|&&byte| byte == b'0').count()
    } else {
        whole.len() + fraction.len()
    };
    missing >= 0 && (significant == 0 || significant as i64 + missing as i64 <= precision as i64)
}

/// The canonical form, 8-4-4-4-12.
pub fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0; 16];
    let mut nibble = 0;
    for (at, &byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = (byte as char).to_digit(16)? as u8;
        bytes[nibble / 2] |= if nibble % 2 == 0 { digit << 4 } else { digit };
        nibble += 1;
    }
    Some(bytes)
}

#[inline(always)]
fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text.get(at)?.wrapping_sub(b'0'), text.get(at + 1)?.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return None;
    }
    Some(tens as i64 * 10 + ones as i64)
}

/// YYYY-MM-DD -> days since 2000-01-01.
pub fn date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    // The year begins in March, so that the leap day is its last (Hinnant, "chrono-compatible low-level date algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some((year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - EPOCH_DAYS) as i32)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// HH:MM:SS[.fraction] at the start of the text -> microseconds since midnight and the length of it.
fn time_of_day(text: &[u8]) -> Option<(i64, usize)> {
    if text.len() < 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(text, 0)?, two(text, 3)?, two(text, 6)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut fraction = 0;
    let mut end = 8;
    if text.get(8) == Some(&b'.') {
        let digits = text[9..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..6 {
            let digit = if place < digits { text[9 + place] - b'0' } else { 0 };
            fraction = fraction * 10 + digit as i64;
        }
        end = 9 + digits;
    }
    Some(((hour * 3600 + minute * 60 + second) * SECOND + fraction, end))
}

pub fn time(text: &[u8]) -> Option<i64> {
    let (time, end) = time_of_day(text)?;
    if end != text.len() {
        return None;
    }
    Some(time)
}

/// YYYY-MM-DDTHH:MM:SS[.fraction][Z|+HH:MM] -> microseconds since 2000-01-01 UTC.
pub fn moment(text: &[u8]) -> Option<i64> {
    if text.len() < 19 || !matches!(text[10], b'T' | b' ' | b't') {
        return None;
    }
    let days = date(&text[..10])? as i64;
    let rest = &text[11..];
    let (time, end) = time_of_day(rest)?;
    let offset = match &rest[end..] {
        [] | [b'Z'] | [b'z'] => 0,
        zone => zone_offset(zone)?,
    };
    check_moment(days * DAY + time - offset * SECOND)
}

fn zone_offset(zone: &[u8]) -> Option<i64> {
    if zone.len() != 6 || zone[3] != b':' {
        return None;
    }
    let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
    if hours > 15 || minutes > 59 {
        return None;
    }
    match zone[0] {
        b'+' => Some(hours * 3600 + minutes * 60),
        b'-' => Some(-hours * 3600 - minutes * 60),
        _ => None,
    }
}

/// A whole number of the unit since 1970 -> microseconds since 2000-01-01 UTC.
pub fn epoch_moment(text: &[u8], unit: Epoch) -> Option<i64> {
    let count = integer(text)?;
    let since_1970 = match unit {
        Epoch::None => return None,
        Epoch::Seconds => count.checked_mul(SECOND)?,
        Epoch::Milliseconds => count.checked_mul(1000)?,
        Epoch::Microseconds => count,
        Epoch::Nanoseconds => count.div_euclid(1000),
    };
    check_moment(since_1970.checked_add(UNIX_EPOCH)?)
}

pub fn epoch_date(text: &[u8], unit: Epoch) -> Option<i32> {
    Some(epoch_moment(text, unit)?.div_euclid(DAY) as i32)
}

fn check_moment(moment: i64) -> Option<i64> {
    if (FIRST..END).contains(&moment) {
        Some(moment)
    } else {
        None
    }
}

/// Of UTF-8.
pub fn count_characters(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
}
