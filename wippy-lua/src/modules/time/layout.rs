//! Layouts: times written the way the reference time Mon Jan 2 15:04:05 MST 2006 is.

use std::fmt::Write;

use jiff::{Zoned, civil, tz::Offset};

use super::location::Location;

/// A part of a layout that stands for a part of a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    YearOfCentury,
    MonthName,
    MonthAbbreviation,
    Month(Pad),
    WeekdayName,
    WeekdayAbbreviation,
    Day(Pad),
    DayOfYear(Pad),
    Hour,
    HourOfHalf(Pad),
    Minute(Pad),
    Second(Pad),
    /// Digits behind a point or comma; without its zeros if it is written with nines.
    Fraction {
        digits: usize,
        trims: bool,
    },
    Half {
        upper: bool,
    },
    ZoneName,
    Offset {
        colon: bool,
        minutes: bool,
        z: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pad {
    None,
    Space,
    Zero,
}

/// What stands for what, longer ones before those that they begin with.
const PARTS: &[(&str, Part)] = &[
    ("January", Part::MonthName),
    ("Jan", Part::MonthAbbreviation),
    ("Monday", Part::WeekdayName),
    ("Mon", Part::WeekdayAbbreviation),
    ("MST", Part::ZoneName),
    ("2006", Part::Year),
    ("002", Part::DayOfYear(Pad::Zero)),
    ("__2", Part::DayOfYear(Pad::Space)),
    ("_2", Part::Day(Pad::Space)),
    ("01", Part::Month(Pad::Zero)),
    ("02", Part::Day(Pad::Zero)),
    ("03", Part::HourOfHalf(Pad::Zero)),
    ("04", Part::Minute(Pad::Zero)),
    ("05", Part::Second(Pad::Zero)),
    ("06", Part::YearOfCentury),
    ("15", Part::Hour),
    ("1", Part::Month(Pad::None)),
    ("2", Part::Day(Pad::None)),
    ("3", Part::HourOfHalf(Pad::None)),
    ("4", Part::Minute(Pad::None)),
    ("5", Part::Second(Pad::None)),
    ("PM", Part::Half { upper: true }),
    ("pm", Part::Half { upper: false }),
    (
        "-07:00",
        Part::Offset {
            colon: true,
            minutes: true,
            z: false,
        },
    ),
    (
        "-0700",
        Part::Offset {
            colon: false,
            minutes: true,
            z: false,
        },
    ),
    (
        "-07",
        Part::Offset {
            colon: false,
            minutes: false,
            z: false,
        },
    ),
    (
        "Z07:00",
        Part::Offset {
            colon: true,
            minutes: true,
            z: true,
        },
    ),
    (
        "Z0700",
        Part::Offset {
            colon: false,
            minutes: true,
            z: true,
        },
    ),
    (
        "Z07",
        Part::Offset {
            colon: false,
            minutes: false,
            z: true,
        },
    ),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// The part that `layout` begins with, and the rest; or the letter that stands for itself.
fn next(layout: &str) -> Option<(Result<Part, char>, &str)> {
    // `_2006` is a year behind an underscore.
    if let Some(rest) = layout.strip_prefix('_').filter(|rest| rest.starts_with("2006")) {
        return Some((Err('_'), rest));
    }
    if let Some(fraction) = fraction(layout) {
        return Some(fraction);
    }
    for (text, part) in PARTS {
        if let Some(rest) = layout.strip_prefix(text) {
            let is_word = matches!(part, Part::MonthAbbreviation | Part::WeekdayAbbreviation)
                && rest.starts_with(|letter: char| letter.is_ascii_lowercase());
            if !is_word {
                return Some((Ok(*part), rest));
            }
        }
    }
    let letter = layout.chars().next()?;
    Some((Err(letter), layout.get(letter.len_utf8()..)?))
}

fn fraction(layout: &str) -> Option<(Result<Part, char>, &str)> {
    let behind = layout.strip_prefix(['.', ','])?;
    let digit = behind.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let rest = behind.trim_start_matches(digit);
    let digits = behind.len() - rest.len();
    let is_number = rest.starts_with(|letter: char| letter.is_ascii_digit());
    let trims = digit == '9';
    (digits <= 9 && !is_number).then_some((Ok(Part::Fraction { digits, trims }), rest))
}

/// Writes `time`, which is in `location`.
pub(super) fn format(time: &Zoned, location: &Location, layout: &str) -> String {
    let mut text = String::new();
    let mut rest = layout;
    while let Some((part, tail)) = next(rest) {
        match part {
            Ok(Part::Fraction { digits, trims }) => {
                let point = rest.get(..1).unwrap_or(".");
                text.push_str(&shown_fraction(time.subsec_nanosecond(), point, digits, trims));
            }
            Ok(part) => text.push_str(&shown(time, location, part)),
            Err(letter) => text.push(letter),
        }
        rest = tail;
    }
    text
}

fn padded(number: impl Into<i64>, width: usize, pad: Pad) -> String {
    let number = number.into();
    match pad {
        Pad::None => number.to_string(),
        Pad::Space => format!("{number:width$}"),
        Pad::Zero => format!("{number:0width$}"),
    }
}

fn shown(time: &Zoned, location: &Location, part: Part) -> String {
    let name = |names: &[&str], number: i8| {
        let name = usize::try_from(number).ok().and_then(|number| names.get(number));
        name.map_or_else(String::new, |name| (*name).to_owned())
    };
    let short = |name: String| name.chars().take(3).collect();
    let hour = (time.hour() + 11) % 12 + 1;
    match part {
        Part::Year => padded(time.year(), 4, Pad::Zero),
        Part::YearOfCentury => padded(time.year().rem_euclid(100), 2, Pad::Zero),
        Part::MonthName => name(&MONTHS, time.month() - 1),
        Part::MonthAbbreviation => short(name(&MONTHS, time.month() - 1)),
        Part::WeekdayName => name(&WEEKDAYS, time.weekday().to_sunday_zero_offset()),
        Part::WeekdayAbbreviation => short(name(&WEEKDAYS, time.weekday().to_sunday_zero_offset())),
        Part::Month(pad) => padded(time.month(), 2, pad),
        Part::Day(pad) => padded(time.day(), 2, pad),
        Part::DayOfYear(pad) => padded(time.day_of_year(), 3, pad),
        Part::Hour => padded(time.hour(), 2, Pad::Zero),
        Part::HourOfHalf(pad) => padded(hour, 2, pad),
        Part::Minute(pad) => padded(time.minute(), 2, pad),
        Part::Second(pad) => padded(time.second(), 2, pad),
        Part::Fraction { .. } => String::new(),
        Part::Half { upper } => match (time.hour() < 12, upper) {
            (true, true) => "AM",
            (true, false) => "am",
            (false, true) => "PM",
            (false, false) => "pm",
        }
        .to_owned(),
        Part::ZoneName => zone_name(time, location),
        Part::Offset { colon, minutes, z } => shown_offset(time.offset(), colon, minutes, z),
    }
}

fn shown_fraction(nanosecond: i32, point: &str, digits: usize, trims: bool) -> String {
    let all = format!("{nanosecond:09}");
    let some = all.get(..digits).unwrap_or(&all);
    let some = if trims { some.trim_end_matches('0') } else { some };
    if some.is_empty() {
        return String::new();
    }
    format!("{point}{some}")
}

fn zone_name(time: &Zoned, location: &Location) -> String {
    if location.zone.to_fixed_offset().is_ok() && &*location.name != "Local" {
        if location.name.is_empty() {
            return shown_offset(time.offset(), false, true, false);
        }
        return location.name.to_string();
    }
    let info = location.zone.to_offset_info(time.timestamp());
    info.abbreviation().to_owned()
}

fn shown_offset(offset: Offset, colon: bool, minutes: bool, z: bool) -> String {
    if z && offset.is_zero() {
        return "Z".to_owned();
    }
    let sign = if offset.is_negative() { '-' } else { '+' };
    let seconds = offset.seconds().unsigned_abs();
    let mut text = format!("{sign}{:02}", seconds / 3600);
    if minutes {
        let colon = if colon { ":" } else { "" };
        write!(text, "{colon}{:02}", seconds / 60 % 60).expect("writing to a string does not fail");
    }
    text
}

/// What has been read of a time.
struct Fields {
    year: i16,
    month: i8,
    day: i8,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    is_afternoon: Option<bool>,
    zone: Option<Location>,
}

/// Reads a time that is written as `layout` is; where it names no zone it is in `location`.
///
/// The error says what was expected where.
pub(super) fn parse(text: &str, layout: &str, location: &Location) -> Result<(Zoned, Location), String> {
    let mut fields = Fields {
        year: 0,
        month: 1,
        day: 1,
        day_of_year: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanosecond: 0,
        is_afternoon: None,
        zone: None,
    };
    let (mut rest, mut layout) = (text, layout);
    while let Some((part, tail)) = next(layout) {
        let written = layout.get(..layout.len() - tail.len()).unwrap_or_default();
        let unexpected = || match rest {
            "" => format!("it ends where `{written}` is expected"),
            rest => format!("`{rest}` stands where `{written}` is expected"),
        };
        rest = match part {
            Err(letter) => rest.strip_prefix(letter).ok_or_else(unexpected)?,
            Ok(part) => fields.read(part, rest).ok_or_else(unexpected)?,
        };
        layout = tail;
        // A fraction may follow the seconds where the layout has none.
        if matches!(part, Ok(Part::Second(_))) && fraction(layout).is_none() {
            rest = fields.read_fraction(rest).unwrap_or(rest);
        }
    }
    if !rest.is_empty() {
        return Err(format!("`{rest}` is left over"));
    }
    fields.into_zoned(location).map_err(|error| error.to_string())
}

/// The number of `least` to `most` digits that `text` begins with, and the rest.
fn digits(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let number = text.get(..len).filter(|_| len >= least)?.parse().ok()?;
    Some((number, text.get(len..)?))
}

/// The place in `names` of the name, or its first three letters, that `text` begins with, and the rest.
fn name<'a>(text: &'a str, names: &[&str], is_short: bool) -> Option<(i8, &'a str)> {
    for (number, name) in (0..).zip(names) {
        let name = if is_short { name.get(..3)? } else { name };
        if text
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
        {
            return Some((number, text.get(name.len()..)?));
        }
    }
    None
}

impl Fields {
    /// Reads a part at the beginning of `text`, and gives the rest.
    fn read<'a>(&mut self, part: Part, text: &'a str) -> Option<&'a str> {
        let two = |pad: Pad| match pad {
            Pad::Zero => digits(text, 2, 2),
            Pad::None => digits(text, 1, 2),
            Pad::Space => digits(text.trim_start_matches(' '), 1, 2),
        };
        let small = |number: i32| i8::try_from(number).ok();
        let rest = match part {
            Part::Year => {
                let (year, rest) = digits(text, 4, 4)?;
                self.year = i16::try_from(year).ok()?;
                rest
            }
            Part::YearOfCentury => {
                let (year, rest) = digits(text, 2, 2)?;
                self.year = i16::try_from(if year < 69 { year + 2000 } else { year + 1900 }).ok()?;
                rest
            }
            Part::MonthName | Part::MonthAbbreviation => {
                let (month, rest) = name(text, &MONTHS, part == Part::MonthAbbreviation)?;
                self.month = month + 1;
                rest
            }
            Part::WeekdayName | Part::WeekdayAbbreviation => {
                name(text, &WEEKDAYS, part == Part::WeekdayAbbreviation)?.1
            }
            Part::Month(pad) => {
                let (month, rest) = two(pad)?;
                self.month = small(month)?;
                rest
            }
            Part::Day(pad) => {
                let (day, rest) = two(pad)?;
                self.day = small(day)?;
                rest
            }
            Part::DayOfYear(_) => {
                let (day, rest) = digits(text.trim_start_matches(' '), 1, 3)?;
                self.day_of_year = Some(i16::try_from(day).ok()?);
                rest
            }
            Part::Hour => {
                let (hour, rest) = digits(text, 1, 2)?;
                self.hour = small(hour)?;
                rest
            }
            Part::HourOfHalf(pad) => {
                let (hour, rest) = two(pad)?;
                self.hour = small(hour).filter(|hour| (0..=12).contains(hour))?;
                rest
            }
            Part::Minute(pad) => {
                let (minute, rest) = two(pad)?;
                self.minute = small(minute)?;
                rest
            }
            Part::Second(pad) => {
                let (second, rest) = two(pad)?;
                self.second = small(second)?;
                rest
            }
            Part::Fraction {
                digits: wanted,
                trims,
            } => {
                if trims && !text.starts_with(['.', ',']) {
                    return Some(text);
                }
                let rest = self.read_fraction(text)?;
                if !trims && text.len() - rest.len() != wanted + 1 {
                    return None;
                }
                rest
            }
            Part::Half { .. } => {
                let half = text.get(..2)?;
                self.is_afternoon = match half.to_ascii_uppercase().as_str() {
                    "AM" => Some(false),
                    "PM" => Some(true),
                    _ => return None,
                };
                text.get(2..)?
            }
            Part::ZoneName => {
                let len = text.bytes().take_while(u8::is_ascii_uppercase).count();
                let name = text.get(..len).filter(|_| (3..=5).contains(&len))?;
                self.zone = Some(match name {
                    "UTC" => Location::utc(),
                    name => Location::fixed(name, Offset::UTC),
                });
                text.get(len..)?
            }
            Part::Offset { colon, minutes, z } => self.read_offset(text, colon, minutes, z)?,
        };
        Some(rest)
    }

    fn read_fraction<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let behind = text.strip_prefix(['.', ','])?;
        let len = behind.bytes().take_while(u8::is_ascii_digit).count();
        let digits = behind.get(..len.min(9)).filter(|_| len > 0)?;
        self.nanosecond = format!("{digits:0<9}").parse().ok()?;
        behind.get(len..)
    }

    fn read_offset<'a>(&mut self, text: &'a str, colon: bool, minutes: bool, z: bool) -> Option<&'a str> {
        if z && let Some(rest) = text.strip_prefix('Z') {
            self.zone = Some(Location::utc());
            return Some(rest);
        }
        let sign = match text.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let (hours, mut rest) = digits(text.get(1..)?, 2, 2)?;
        let mut seconds = hours * 3600;
        if minutes {
            if colon {
                rest = rest.strip_prefix(':')?;
            }
            let (minutes, tail) = digits(rest, 2, 2)?;
            seconds += minutes * 60;
            rest = tail;
        }
        self.zone = Some(match seconds {
            0 => Location::utc(),
            seconds => Location::fixed("", Offset::from_seconds(sign * seconds).ok()?),
        });
        Some(rest)
    }

    fn into_zoned(self, location: &Location) -> Result<(Zoned, Location), jiff::Error> {
        let date = match self.day_of_year {
            Some(day) => civil::Date::new(self.year, 1, 1)?
                .with()
                .day_of_year(day)
                .build()?,
            None => civil::Date::new(self.year, self.month, self.day)?,
        };
        let hour = match self.is_afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let time = civil::Time::new(hour, self.minute, self.second, self.nanosecond)?;
        let location = self.zone.unwrap_or_else(|| location.clone());
        let zoned = date.to_datetime(time).to_zoned(location.zone.clone())?;
        Ok((zoned, location))
    }
}
