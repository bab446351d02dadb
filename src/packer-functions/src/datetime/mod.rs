//! Functions of time.
//!
//! Time enters through the host only: `timestamp` asks for now, the `legacy_` functions for the start of the run.

pub(crate) mod layout;
mod moment;
mod strftime;
mod verbs;

use std::sync::Arc;

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions, Parameter};
use imgbuild_hcl::value::{Type, Value};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::host::Host;
use crate::{Returned, number, text, wrong};

pub(crate) fn add(functions: &mut Functions, host: &Arc<dyn Host>) {
    let asking = Arc::clone(host);
    let timestamp = Function::new("The time at the call, in UTC, as RFC 3339 has it.")
        .returns(Type::String)
        .runs(move |_| Ok(Value::string(moment::rfc3339(&utc(asking.now())))));
    functions.add("timestamp", timestamp);
    let formatdate = Function::new("A time in a form that is made up of letters: `YYYY-MM-DD`.")
        .parameter(text("format"))
        .parameter(text("time"))
        .returns(Type::String)
        .runs(|a| {
            let time = moment::parse(a.str(1)).map_err(|reason| wrong(1, reason))?;
            verbs::formatted(a.str(0), &time).map(Value::string)
        });
    functions.add("formatdate", formatdate);
    let timeadd = Function::new("A time and a duration (`1h30m`, `-10s`) added.")
        .parameter(text("timestamp"))
        .parameter(text("duration"))
        .returns(Type::String)
        .runs(timeadd);
    functions.add("timeadd", timeadd);
    let of_start = |description, run: fn(&Zoned, &str) -> Result<String, CallError>| {
        let asking = Arc::clone(host);
        Function::new(description).variadic(text("format")).returns(Type::String).runs(move |a| {
            let started = utc(asking.started());
            match a.len() {
                0 => Ok(Value::string(moment::rfc3339(&started))),
                1 => run(&started, a.str(0)).map(Value::string),
                count => Err(CallError::new(format!("it takes one format or none, but there are {count}"))),
            }
        })
    };
    let isotime =
        of_start("The start of the run in a form that an example shows: `2006-01-02`.", |time, layout| {
            Ok(layout::go_layout(layout, time))
        });
    functions.add("legacy_isotime", isotime);
    let strftime = of_start("The start of the run in a form of verbs: `%Y-%m-%d`.", |time, format| {
        strftime::formatted(format, time).map_err(|reason| wrong(0, reason))
    });
    functions.add("legacy_strftime", strftime);
    let parse = |description, parameter: Parameter| Function::new(description).parameter(parameter);
    let rfc3339 = parse("The parts of a time.", text("timestamp"))
        .returns(parts_type("unix", Type::Number))
        .runs(|a| {
            let time = moment::parse_with_space(a.str(0)).map_err(|reason| wrong(0, reason))?;
            Ok(parts(&time, "unix", Value::int(time.timestamp().as_second())))
        });
    functions.add("rfc3339_parse", rfc3339);
    let unix = parse("The parts of the time that is a number of seconds after 1970.", number("timestamp"))
        .returns(parts_type("rfc3339", Type::String))
        .runs(|a| {
            let time = Timestamp::from_second(a.int(0)?)
                .map_err(|_| wrong(0, "the time is out of range (the years are -9999 to 9999)"))?;
            let time = utc(time);
            Ok(parts(&time, "rfc3339", Value::string(moment::rfc3339(&time))))
        });
    functions.add("unix_timestamp_parse", unix);
}

fn utc(time: Timestamp) -> Zoned {
    time.to_zoned(TimeZone::UTC)
}

fn timeadd(arguments: &Arguments<'_>) -> Returned {
    let time = moment::parse(arguments.str(0)).map_err(|reason| wrong(0, reason))?;
    let duration = moment::duration(arguments.str(1)).map_err(|reason| wrong(1, reason))?;
    let sum = time
        .checked_add(jiff::SignedDuration::from_nanos(duration))
        .map_err(|_| wrong(1, "the result is out of range (the years are -9999 to 9999)"))?;
    Ok(Value::string(moment::rfc3339(&sum)))
}

const NUMBERS: [&str; 10] =
    ["year", "year_day", "day", "month", "weekday", "hour", "minute", "second", "iso_year", "iso_week"];

fn parts_type(other: &'static str, ty: Type) -> Type {
    let numbers = NUMBERS.into_iter().map(|name| (name, Type::Number));
    let names = [("month_name", Type::String), ("weekday_name", Type::String), (other, ty)];
    Type::object(numbers.chain(names))
}

fn parts(time: &Zoned, other: &str, value: Value) -> Value {
    let week = time.date().iso_week_date();
    let weekday = time.weekday().to_sunday_zero_offset();
    let numbers = [
        i64::from(time.year()),
        i64::from(time.day_of_year()),
        i64::from(time.day()),
        i64::from(time.month()),
        i64::from(weekday),
        i64::from(time.hour()),
        i64::from(time.minute()),
        i64::from(time.second()),
        i64::from(week.year()),
        i64::from(week.week()),
    ];
    let numbers = NUMBERS.into_iter().zip(numbers.map(Value::int));
    let names = [
        ("month_name", Value::string(moment::month_name(time))),
        ("weekday_name", Value::string(moment::weekday_name(time))),
        (other, value),
    ];
    Value::object_of(numbers.chain(names))
}
