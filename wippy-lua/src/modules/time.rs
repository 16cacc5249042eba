//! `time`: the clock, waiting, and durations.
//!
//! A duration is a number of nanoseconds (`5 * time.SECOND`), a text (`"1h30m"`, `"250ms"`) or a `Duration`.

use std::time::Duration as StdDuration;

use jiff::{SignedDuration, Span, Timestamp, Zoned, civil, tz::TimeZone};
use mlua::{
    FromLua, IntoLuaMulti, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, UserDataRef,
    Value as LuaValue, Variadic,
};
use wippy_security::CallError;

use super::timers;
use crate::{errors, suspend::suspending, values};

const UNITS: &[(&str, i64)] = &[
    ("NANOSECOND", 1),
    ("MICROSECOND", 1_000),
    ("MILLISECOND", 1_000_000),
    ("SECOND", 1_000_000_000),
    ("MINUTE", 60_000_000_000),
    ("HOUR", 3_600_000_000_000),
];

/// Layouts, written as the reference time Monday, 2 January 2006, 15:04:05.
const LAYOUTS: &[(&str, &str)] = &[
    ("RFC3339", "2006-01-02T15:04:05Z07:00"),
    ("RFC3339NANO", "2006-01-02T15:04:05.999999999Z07:00"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("DATE_TIME", "2006-01-02 15:04:05"),
    ("DATE_ONLY", "2006-01-02"),
    ("TIME_ONLY", "15:04:05"),
    ("KITCHEN", "3:04PM"),
];

const MONTHS: [&str; 12] = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
];

const WEEKDAYS: [&str; 7] = [
    "SUNDAY",
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
];

/// Opens the module.
///
/// # Errors
/// When memory does not suffice.
pub(crate) fn open(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    for (name, nanoseconds) in UNITS {
        module.raw_set(*name, *nanoseconds)?;
    }
    for (name, layout) in LAYOUTS {
        module.raw_set(*name, *layout)?;
    }
    for (number, name) in (1..).zip(MONTHS) {
        module.raw_set(name, number)?;
    }
    for (number, name) in (0..).zip(WEEKDAYS) {
        module.raw_set(name, number)?;
    }
    module.raw_set("now", lua.create_function(|_, ()| Ok(Time(Zoned::now())))?)?;
    module.raw_set("sleep", sleep(lua)?)?;
    module.raw_set(
        "unix",
        lua.create_function(|_, (seconds, nanoseconds)| unix(seconds, nanoseconds))?,
    )?;
    module.raw_set(
        "date",
        lua.create_function(|_, fields: Variadic<i64>| date(&fields))?,
    )?;
    module.raw_set("parse", lua.create_function(parse)?)?;
    module.raw_set(
        "parse_duration",
        lua.create_function(|lua, text: String| match parse_duration(&text) {
            Ok(nanoseconds) => Duration(nanoseconds).into_lua_multi(lua),
            Err(error) => values::refuse(lua, error),
        })?,
    )?;
    timers::install(lua, &module)?;
    Ok(module)
}

fn sleep(lua: &Lua) -> mlua::Result<mlua::Function> {
    suspending(lua, |_, duration: Duration| {
        let nanoseconds = u64::try_from(duration.0).unwrap_or_default();
        Ok(async move {
            if nanoseconds > 0 {
                tokio::time::sleep(StdDuration::from_nanos(nanoseconds)).await;
            }
            |lua: &Lua| ().into_lua_multi(lua)
        })
    })
}

/// A number of nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Duration(i64);

impl Duration {
    /// As long as it is; nothing when it lies in the past.
    pub(super) fn to_std(self) -> StdDuration {
        StdDuration::from_nanos(u64::try_from(self.0).unwrap_or_default())
    }
}

impl FromLua for Duration {
    #[expect(clippy::wildcard_enum_match_arm, reason = "everything else is no duration")]
    fn from_lua(value: LuaValue, lua: &Lua) -> mlua::Result<Self> {
        match &value {
            LuaValue::Integer(nanoseconds) => Ok(Self(*nanoseconds)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and fractions of a nanosecond are no loss"
            )]
            LuaValue::Number(nanoseconds) if nanoseconds.is_finite() => Ok(Self(*nanoseconds as i64)),
            LuaValue::String(text) => parse_duration(&text.to_string_lossy())
                .map(Self)
                .map_err(errors::raise),
            LuaValue::UserData(_) => Ok(*UserDataRef::<Self>::from_lua(value, lua)?),
            other => Err(mlua::Error::runtime(format!(
                "expected a duration (`\"250ms\"` or `5 * time.SECOND`), got {}",
                other.type_name()
            ))),
        }
    }
}

impl UserData for Duration {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds as a float are what is asked for"
        )]
        fn float(nanoseconds: i64) -> f64 {
            nanoseconds as f64
        }
        methods.add_method("nanoseconds", |_, this, ()| Ok(this.0));
        methods.add_method("microseconds", |_, this, ()| Ok(this.0 / 1_000));
        methods.add_method("milliseconds", |_, this, ()| Ok(this.0 / 1_000_000));
        methods.add_method("seconds", |_, this, ()| Ok(float(this.0) / 1e9));
        methods.add_method("minutes", |_, this, ()| Ok(float(this.0) / 60e9));
        methods.add_method("hours", |_, this, ()| Ok(float(this.0) / 3600e9));
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(show_duration(this.0)));
        methods.add_meta_function(MetaMethod::Eq, |_, (a, b): (Self, Self)| Ok(a.0 == b.0));
        methods.add_meta_function(MetaMethod::Lt, |_, (a, b): (Self, Self)| Ok(a.0 < b.0));
        methods.add_meta_function(MetaMethod::Le, |_, (a, b): (Self, Self)| Ok(a.0 <= b.0));
        methods.add_meta_function(MetaMethod::Add, |_, (a, b): (Self, Self)| {
            Ok(Self(a.0.saturating_add(b.0)))
        });
        methods.add_meta_function(MetaMethod::Sub, |_, (a, b): (Self, Self)| {
            Ok(Self(a.0.saturating_sub(b.0)))
        });
    }
}

/// Reads `1h30m`, `1.5s`, `-250ms`.
fn parse_duration(text: &str) -> Result<i64, CallError> {
    let bad = || {
        CallError::invalid(format!(
            "`{text}` is no duration: write `250ms`, `1.5s` or `1h30m`"
        ))
    };
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        total += number.parse::<f64>().map_err(|_| bad())? * unit;
        rest = tail;
    }
    if total >= 9.2e18 {
        return Err(bad());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "in range, and fractions of a nanosecond are no loss"
    )]
    Ok((sign * total).round() as i64)
}

/// Writes it the way it is read: `1h30m0s`, `1.5s`, `250ms`.
fn show_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    let fraction = |unit: u64| {
        let (whole, rest) = (size / unit, size % unit);
        let digits = unit.ilog10() as usize;
        let rest = format!("{rest:0digits$}");
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() {
            whole.to_string()
        } else {
            format!("{whole}.{rest}")
        }
    };
    if size == 0 {
        return "0s".to_owned();
    }
    if size < 1_000_000_000 {
        return match size {
            0..=999 => format!("{sign}{size}ns"),
            1_000..=999_999 => format!("{sign}{}µs", fraction(1_000)),
            _ => format!("{sign}{}ms", fraction(1_000_000)),
        };
    }
    let (hours, minutes) = (size / 3_600_000_000_000, size / 60_000_000_000 % 60);
    let seconds = size % 60_000_000_000;
    let (whole, rest) = (seconds / 1_000_000_000, seconds % 1_000_000_000);
    let rest = if rest == 0 {
        String::new()
    } else {
        format!(".{rest:09}").trim_end_matches('0').to_owned()
    };
    match (hours, minutes) {
        (0, 0) => format!("{sign}{whole}{rest}s"),
        (0, minutes) => format!("{sign}{minutes}m{whole}{rest}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{whole}{rest}s"),
    }
}

/// A moment, in a time zone.
#[derive(Clone)]
pub(super) struct Time(Zoned);

impl Time {
    pub(super) fn new(zoned: Zoned) -> Self {
        Self(zoned)
    }
}

fn out_of_range(error: impl std::fmt::Display) -> mlua::Error {
    errors::raise(CallError::invalid(error.to_string()))
}

fn unix(seconds: i64, nanoseconds: Option<i64>) -> mlua::Result<Time> {
    let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds.unwrap_or_default());
    let timestamp = Timestamp::from_nanosecond(nanoseconds).map_err(out_of_range)?;
    Ok(Time(timestamp.to_zoned(TimeZone::UTC)))
}

/// `time.date(year, month, day, hour, minute, second, nanosecond)` in UTC.
fn date(fields: &[i64]) -> mlua::Result<Time> {
    let field = |index: usize, default: i64| fields.get(index).copied().unwrap_or(default);
    let start = i16::try_from(field(0, 1970)).map_err(out_of_range)?;
    let start = civil::Date::new(start, 1, 1)
        .map_err(out_of_range)?
        .to_datetime(civil::Time::midnight());
    // Fields beyond their range carry over, as everywhere in this kind of interface.
    let span = Span::new()
        .try_months(field(1, 1) - 1)
        .and_then(|span| span.try_days(field(2, 1) - 1))
        .and_then(|span| span.try_hours(field(3, 0)))
        .and_then(|span| span.try_minutes(field(4, 0)))
        .and_then(|span| span.try_seconds(field(5, 0)))
        .and_then(|span| span.try_nanoseconds(field(6, 0)))
        .map_err(out_of_range)?;
    let moment = start.checked_add(span).map_err(out_of_range)?;
    Ok(Time(moment.to_zoned(TimeZone::UTC).map_err(out_of_range)?))
}

/// `time.parse(layout, text)`, or of an RFC 3339 text alone.
fn parse(lua: &Lua, (first, second): (String, Option<String>)) -> mlua::Result<mlua::MultiValue> {
    let (layout, text) = match second {
        Some(text) => (first, text),
        None => ("2006-01-02T15:04:05Z07:00".to_owned(), first),
    };
    let zoned = if layout.starts_with("2006-01-02T15:04:05") {
        text.parse::<Timestamp>()
            .map(|timestamp| timestamp.to_zoned(TimeZone::UTC))
    } else {
        let format = to_strftime(&layout);
        jiff::fmt::strtime::parse(&format, &text).and_then(|parsed| {
            let date = parsed.to_date()?;
            let time = parsed.to_time().unwrap_or_else(|_| civil::Time::midnight());
            date.to_datetime(time).to_zoned(TimeZone::UTC)
        })
    };
    match zoned {
        Ok(zoned) => Time(zoned).into_lua_multi(lua),
        Err(error) => values::refuse(
            lua,
            CallError::invalid(format!("`{text}` is not of the form `{layout}`: {error}")),
        ),
    }
}

/// A layout's parts and what `strftime` calls them, longest first where one begins another.
const PARTS: &[(&str, &str)] = &[
    ("2006", "%Y"),
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("Z07:00", "%:z"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    (".999999999", "%.f"),
    (".000000000", "%.9f"),
    (".000000", "%.6f"),
    (".000", "%.3f"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("3", "%-I"),
    ("_2", "%e"),
    ("2", "%-d"),
    ("1", "%-m"),
];

fn to_strftime(layout: &str) -> String {
    let mut format = String::new();
    let mut rest = layout;
    'parts: while let Some(letter) = rest.chars().next() {
        for (part, specifier) in PARTS {
            if let Some(tail) = rest.strip_prefix(part) {
                format.push_str(specifier);
                rest = tail;
                continue 'parts;
            }
        }
        if letter == '%' {
            format.push('%');
        }
        format.push(letter);
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
    }
    format
}

impl Time {
    fn format(&self, layout: &str) -> mlua::Result<String> {
        let text = jiff::fmt::strtime::format(to_strftime(layout), &self.0).map_err(out_of_range)?;
        let utc = layout.contains("Z07:00") && self.0.offset().is_zero();
        Ok(if utc { text.replace("+00:00", "Z") } else { text })
    }

    fn add(&self, duration: Duration) -> mlua::Result<Self> {
        self.0
            .checked_add(SignedDuration::from_nanos(duration.0))
            .map(Self)
            .map_err(out_of_range)
    }

    fn since(&self, earlier: &Self) -> Duration {
        let nanoseconds = self.0.timestamp().as_nanosecond() - earlier.0.timestamp().as_nanosecond();
        Duration(i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX }))
    }

    fn add_date(&self, years: i64, months: i64, days: i64) -> mlua::Result<Self> {
        let span = Span::new()
            .try_years(years)
            .and_then(|span| span.try_months(months))
            .and_then(|span| span.try_days(days))
            .map_err(out_of_range)?;
        self.0.checked_add(span).map(Self).map_err(out_of_range)
    }

    fn in_zone(&self, name: &str) -> mlua::Result<Self> {
        self.0.in_tz(name).map(Self).map_err(out_of_range)
    }
}

impl UserData for Time {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Time");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("unix", |_, this, ()| Ok(this.0.timestamp().as_second()));
        methods.add_method("unix_milli", |_, this, ()| {
            Ok(this.0.timestamp().as_millisecond())
        });
        methods.add_method("unix_nano", |_, this, ()| {
            Ok(i64::try_from(this.0.timestamp().as_nanosecond()).unwrap_or(i64::MAX))
        });
        methods.add_method("year", |_, this, ()| Ok(this.0.year()));
        methods.add_method("month", |_, this, ()| Ok(this.0.month()));
        methods.add_method("day", |_, this, ()| Ok(this.0.day()));
        methods.add_method("hour", |_, this, ()| Ok(this.0.hour()));
        methods.add_method("minute", |_, this, ()| Ok(this.0.minute()));
        methods.add_method("second", |_, this, ()| Ok(this.0.second()));
        methods.add_method("nanosecond", |_, this, ()| Ok(this.0.subsec_nanosecond()));
        methods.add_method("weekday", |_, this, ()| {
            Ok(this.0.weekday().to_sunday_zero_offset())
        });
        methods.add_method("year_day", |_, this, ()| Ok(this.0.day_of_year()));
        methods.add_method("date", |_, this, ()| {
            Ok((this.0.year(), this.0.month(), this.0.day()))
        });
        methods.add_method("clock", |_, this, ()| {
            Ok((this.0.hour(), this.0.minute(), this.0.second()))
        });
        methods.add_method("format", |_, this, layout: String| this.format(&layout));
        methods.add_method("format_rfc3339", |_, this, ()| {
            this.format("2006-01-02T15:04:05.999999999Z07:00")
        });
        methods.add_method("add", |_, this, duration: Duration| this.add(duration));
        methods.add_method("sub", |_, this, other: UserDataRef<Self>| Ok(this.since(&other)));
        methods.add_method("add_date", |_, this, (years, months, days)| {
            this.add_date(years, months, days)
        });
        methods.add_method("before", |_, this, other: UserDataRef<Self>| Ok(this.0 < other.0));
        methods.add_method("after", |_, this, other: UserDataRef<Self>| Ok(this.0 > other.0));
        methods.add_method("equal", |_, this, other: UserDataRef<Self>| Ok(this.0 == other.0));
        methods.add_method("utc", |_, this, ()| {
            Ok(Self(this.0.with_time_zone(TimeZone::UTC)))
        });
        methods.add_method("in_location", |_, this, name: String| this.in_zone(&name));
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            this.format("2006-01-02T15:04:05.999999999Z07:00")
        });
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: UserDataRef<Self>| {
            Ok(this.0 == other.0)
        });
        methods.add_meta_method(MetaMethod::Lt, |_, this, other: UserDataRef<Self>| {
            Ok(this.0 < other.0)
        });
        methods.add_meta_method(MetaMethod::Le, |_, this, other: UserDataRef<Self>| {
            Ok(this.0 <= other.0)
        });
    }
}
