//! Durations: numbers of nanoseconds, read and written as `1h30m`.

use std::time::Duration as StdDuration;

use mlua::{FromLua, Lua, MetaMethod, UserData, UserDataMethods, UserDataRef, Value as LuaValue};
use wippy_security::CallError;

use crate::errors;

/// A number of nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Duration(pub(crate) i64);

impl Duration {
    /// As long as it is; nothing when it lies in the past.
    pub(crate) fn to_std(self) -> StdDuration {
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
            LuaValue::UserData(userdata) if userdata.is::<Self>() => {
                Ok(*UserDataRef::<Self>::from_lua(value, lua)?)
            }
            other => Err(errors::raise(CallError::invalid(format!(
                "expected a duration (`\"250ms\"` or `5 * time.SECOND`), got {}",
                other.type_name()
            )))),
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
pub(super) fn parse_duration(text: &str) -> Result<i64, CallError> {
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
