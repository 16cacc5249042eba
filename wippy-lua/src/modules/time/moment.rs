//! Times: moments in a time zone, and the functions that make them.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, is refused alike"
)]

use jiff::{SignedDuration, Span, Timestamp, Zoned, civil};
use mlua::{
    IntoLuaMulti, Lua, MetaMethod, MultiValue, UserData, UserDataFields, UserDataMethods, UserDataRef,
};
use wippy_security::CallError;

use super::{duration::Duration, layout, location::Location};
use crate::{arguments::Arguments, errors, values};

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_NANO: &str = "2006-01-02T15:04:05.999999999Z07:00";

/// Nanoseconds between the zero time, the beginning of year 1, and the beginning of 1970.
const ZERO: i128 = 62_135_596_800_000_000_000;

/// A moment, in a time zone.
#[derive(Clone)]
pub(crate) struct Time {
    zoned: Zoned,
    location: Location,
}

pub(super) fn out_of_range(error: impl std::fmt::Display) -> mlua::Error {
    errors::raise(CallError::invalid(error.to_string()))
}

/// `time.unix(seconds, nanoseconds)`, in the local zone.
pub(super) fn unix(_: &Lua, (seconds, nanoseconds): (i64, Option<i64>)) -> mlua::Result<Time> {
    let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds.unwrap_or_default());
    Time::at(nanoseconds, Location::local())
}

/// `time.date(year, month, day, hour, minute, second, nanosecond, location)`.
pub(super) fn date(lua: &Lua, arguments: &Arguments) -> mlua::Result<Time> {
    let field = |index, name, default| match arguments.get(index) {
        mlua::Value::Nil => Ok(default),
        _ => arguments
            .integer(index, name, i64::MIN..=i64::MAX)
            .map_err(errors::raise),
    };
    let location = match arguments.get(7) {
        mlua::Value::Nil => Location::local(),
        location => mlua::FromLua::from_lua(location.clone(), lua)?,
    };
    let fields = [
        field(0, "year", 1970)?,
        field(1, "month", 1)?,
        field(2, "day", 1)?,
        field(3, "hour", 0)?,
        field(4, "minute", 0)?,
        field(5, "second", 0)?,
        field(6, "nanosecond", 0)?,
    ];
    of_fields(fields, location)
}

/// The seconds since the epoch of a local time, of which whatever is left out is today's date, at midnight; without
/// fields those of now.
pub(crate) fn local_timestamp(fields: Option<[Option<i64>; 6]>) -> mlua::Result<i64> {
    let Some([year, month, day, hour, minute, second]) = fields else {
        return Ok(Time::now().zoned.timestamp().as_second());
    };
    let today = Time::now().in_location(Location::local()).zoned;
    let fields = [
        year.unwrap_or_else(|| today.year().into()),
        month.unwrap_or_else(|| today.month().into()),
        day.unwrap_or_else(|| today.day().into()),
        hour.unwrap_or_default(),
        minute.unwrap_or_default(),
        second.unwrap_or_default(),
        0,
    ];
    Ok(of_fields(fields, Location::local())?
        .zoned
        .timestamp()
        .as_second())
}

fn of_fields(fields: [i64; 7], location: Location) -> mlua::Result<Time> {
    let [year, month, day, hour, minute, second, nanosecond] = fields;
    let year = i16::try_from(year).map_err(out_of_range)?;
    let start = civil::Date::new(year, 1, 1).map_err(out_of_range)?;
    // Fields beyond their range carry over, as everywhere in this kind of interface; one after the other, since a span has one
    // sign for all its parts.
    let parts = [
        Span::new().try_months(month.saturating_sub(1)),
        Span::new().try_days(day.saturating_sub(1)),
        Span::new().try_hours(hour),
        Span::new().try_minutes(minute),
        Span::new().try_seconds(second),
        Span::new().try_nanoseconds(nanosecond),
    ];
    let mut moment = start.to_datetime(civil::Time::midnight());
    for part in parts {
        let span = part.map_err(out_of_range)?;
        moment = moment.checked_add(span).map_err(out_of_range)?;
    }
    Ok(Time {
        zoned: moment.to_zoned(location.zone.clone()).map_err(out_of_range)?,
        location,
    })
}

/// `time.parse(layout, text, location)`, or of an RFC 3339 text alone.
pub(super) fn parse(lua: &Lua, arguments: &Arguments) -> mlua::Result<MultiValue> {
    let read = || {
        let first = arguments.text(0, "layout")?;
        Ok(match arguments.optional_text(1, "value")? {
            Some(text) => (first, text),
            None => (RFC3339.to_owned(), first),
        })
    };
    let location = match arguments.get(2) {
        mlua::Value::Nil => Location::utc(),
        location => mlua::FromLua::from_lua(location.clone(), lua)?,
    };
    let parsed = read().and_then(|(layout, text)| {
        let parsed = layout::parse(&text, &layout, &location);
        parsed.map_err(|problem| {
            CallError::invalid(format!("`{text}` is not of the form `{layout}`: {problem}"))
        })
    });
    match parsed {
        Ok((zoned, location)) => Time { zoned, location }.into_lua_multi(lua),
        Err(error) => values::refuse(lua, error),
    }
}

impl Time {
    pub(crate) fn now() -> Self {
        let location = Location::local();
        Self {
            zoned: Timestamp::now().to_zoned(location.zone.clone()),
            location,
        }
    }

    /// The moment so many nanoseconds after the beginning of 1970.
    fn at(nanoseconds: i128, location: Location) -> mlua::Result<Self> {
        let timestamp = Timestamp::from_nanosecond(nanoseconds).map_err(out_of_range)?;
        Ok(Self {
            zoned: timestamp.to_zoned(location.zone.clone()),
            location,
        })
    }

    fn nanoseconds(&self) -> i128 {
        self.zoned.timestamp().as_nanosecond()
    }

    fn with(&self, zoned: Result<Zoned, jiff::Error>) -> mlua::Result<Self> {
        Ok(Self {
            zoned: zoned.map_err(out_of_range)?,
            location: self.location.clone(),
        })
    }

    fn format(&self, layout: &str) -> String {
        layout::format(&self.zoned, &self.location, layout)
    }

    fn since(&self, earlier: &Self) -> Duration {
        let nanoseconds = self.nanoseconds() - earlier.nanoseconds();
        Duration(i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX }))
    }

    fn add_date(&self, years: i64, months: i64, days: i64) -> mlua::Result<Self> {
        // One after the other, since a span has one sign for all its parts.
        let parts = [
            Span::new().try_years(years),
            Span::new().try_months(months),
            Span::new().try_days(days),
        ];
        let moved = parts
            .into_iter()
            .try_fold(self.zoned.clone(), |moment, part| moment.checked_add(part?));
        self.with(moved)
    }

    fn in_location(&self, location: Location) -> Self {
        Self {
            zoned: self.zoned.with_time_zone(location.zone.clone()),
            location,
        }
    }

    /// A multiple of `duration` since the zero time: the one before, or the nearest.
    fn to_multiple(&self, duration: Duration, nearest: bool) -> mlua::Result<Self> {
        let unit = i128::from(duration.0);
        if unit <= 0 {
            return Ok(self.clone());
        }
        let past = (self.nanoseconds() + ZERO).rem_euclid(unit);
        let up = if nearest && past * 2 >= unit { unit } else { 0 };
        Self::at(self.nanoseconds() - past + up, self.location.clone())
    }
}

impl UserData for Time {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Time");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        add_components(methods);
        methods.add_method("format", |_, this, layout: String| Ok(this.format(&layout)));
        methods.add_method("format_rfc3339", |_, this, ()| Ok(this.format(RFC3339)));
        methods.add_method("add", |_, this, duration: Duration| {
            this.with(this.zoned.checked_add(SignedDuration::from_nanos(duration.0)))
        });
        methods.add_method("sub", |_, this, other: UserDataRef<Self>| Ok(this.since(&other)));
        methods.add_method("add_date", |_, this, (years, months, days)| {
            this.add_date(years, months, days)
        });
        methods.add_method("round", |_, this, duration: UserDataRef<Duration>| {
            this.to_multiple(*duration, true)
        });
        methods.add_method("truncate", |_, this, duration: UserDataRef<Duration>| {
            this.to_multiple(*duration, false)
        });
        methods.add_method("before", |_, this, other: UserDataRef<Self>| {
            Ok(this.zoned < other.zoned)
        });
        methods.add_method("after", |_, this, other: UserDataRef<Self>| {
            Ok(this.zoned > other.zoned)
        });
        methods.add_method("equal", |_, this, other: UserDataRef<Self>| {
            Ok(this.zoned == other.zoned)
        });
        methods.add_method("utc", |_, this, ()| Ok(this.in_location(Location::utc())));
        methods.add_method("in_local", |_, this, ()| Ok(this.in_location(Location::local())));
        methods.add_method("in_location", |_, this, location: Location| {
            Ok(this.in_location(location))
        });
        methods.add_method("location", |_, this, ()| Ok(this.location.clone()));
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.format(RFC3339_NANO)));
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: UserDataRef<Self>| {
            Ok(this.zoned == other.zoned)
        });
        methods.add_meta_method(MetaMethod::Lt, |_, this, other: UserDataRef<Self>| {
            Ok(this.zoned < other.zoned)
        });
        methods.add_meta_method(MetaMethod::Le, |_, this, other: UserDataRef<Self>| {
            Ok(this.zoned <= other.zoned)
        });
    }
}

/// What a time is made of.
fn add_components<M: UserDataMethods<Time>>(methods: &mut M) {
    methods.add_method("unix", |_, this, ()| Ok(this.zoned.timestamp().as_second()));
    methods.add_method("unix_milli", |_, this, ()| {
        Ok(this.zoned.timestamp().as_millisecond())
    });
    methods.add_method("unix_nano", |_, this, ()| {
        Ok(i64::try_from(this.nanoseconds()).unwrap_or(i64::MAX))
    });
    methods.add_method("is_zero", |_, this, ()| Ok(this.nanoseconds() == -ZERO));
    methods.add_method("year", |_, this, ()| Ok(this.zoned.year()));
    methods.add_method("month", |_, this, ()| Ok(this.zoned.month()));
    methods.add_method("day", |_, this, ()| Ok(this.zoned.day()));
    methods.add_method("hour", |_, this, ()| Ok(this.zoned.hour()));
    methods.add_method("minute", |_, this, ()| Ok(this.zoned.minute()));
    methods.add_method("second", |_, this, ()| Ok(this.zoned.second()));
    methods.add_method("nanosecond", |_, this, ()| Ok(this.zoned.subsec_nanosecond()));
    methods.add_method("weekday", |_, this, ()| {
        Ok(this.zoned.weekday().to_sunday_zero_offset())
    });
    methods.add_method("year_day", |_, this, ()| Ok(this.zoned.day_of_year()));
    methods.add_method("date", |_, this, ()| {
        Ok((this.zoned.year(), this.zoned.month(), this.zoned.day()))
    });
    methods.add_method("clock", |_, this, ()| {
        Ok((this.zoned.hour(), this.zoned.minute(), this.zoned.second()))
    });
}
