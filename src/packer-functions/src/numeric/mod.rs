//! Functions of numbers.

mod float;

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions};
use imgbuild_hcl::value::{Number, Type, Value, convert};
use num_bigint::{BigInt, BigUint, Sign};

use crate::{Returned, any, described, number, text, wrong};

/// The most digits that `parseint` reads; a number of more is infinite whatever the base.
const MOST_DIGITS: usize = 1 << 17;

pub(crate) fn add(functions: &mut Functions) {
    functions.add("abs", of_one("The number without its sign.", Number::abs));
    functions.add("ceil", of_one("The smallest whole number that is not below.", Number::ceil));
    functions.add("floor", of_one("The largest whole number that is not above.", Number::floor));
    functions.add("signum", of_one("1, 0 or -1, by the sign of the number.", signum));
    functions.add(
        "log",
        of_two("The logarithm to a base.", "num", "base", |num, base| float::ln(num) / float::ln(base)),
    );
    functions.add("pow", of_two("A number to a power.", "num", "power", float::pow));
    functions.add("max", of_many("The largest of the numbers.", |numbers| numbers.max()));
    functions.add("min", of_many("The smallest of the numbers.", |numbers| numbers.min()));
    let parseint = Function::new("The whole number that a text is in a base from 2 to 62.")
        .parameter(text("number"))
        .parameter(number("base"))
        .returns(Type::Number)
        .runs(parseint);
    functions.add("parseint", parseint);
    let sum = Function::new("The sum of a list, set or tuple of numbers.")
        .parameter(any("list").wholly_known())
        .returns(Type::Number)
        .runs(sum);
    functions.add("sum", sum);
}

fn of_one(description: &'static str, run: fn(&Number) -> Number) -> Function {
    Function::new(description)
        .parameter(number("num"))
        .returns(Type::Number)
        .runs(move |arguments| Ok(Value::number(run(arguments.number(0)?))))
}

/// As Packer does it, these go through `f64`.
fn of_two(
    description: &'static str,
    first: &'static str,
    second: &'static str,
    run: fn(f64, f64) -> f64,
) -> Function {
    Function::new(description).parameter(number(first)).parameter(number(second)).returns(Type::Number).runs(
        move |arguments| {
            let result = run(arguments.number(0)?.to_f64(), arguments.number(1)?.to_f64());
            Number::from_f64(result)
                .map(Value::number)
                .ok_or_else(|| CallError::new("the result is not a number"))
        },
    )
}

type Numbers<'a> = &'a mut dyn Iterator<Item = &'a Number>;

fn of_many(description: &'static str, pick: for<'a> fn(Numbers<'a>) -> Option<&'a Number>) -> Function {
    Function::new(description).variadic(number("numbers")).returns(Type::Number).runs(move |arguments| {
        let mut numbers = arguments.all().iter().filter_map(Value::as_number);
        pick(&mut numbers)
            .map(|number| Value::number(number.clone()))
            .ok_or_else(|| CallError::new("at least one number is required"))
    })
}

fn signum(number: &Number) -> Number {
    match (number.is_zero(), number.is_negative()) {
        (true, _) => Number::from(0),
        (_, true) => Number::from(-1),
        _ => Number::from(1),
    }
}

fn parseint(arguments: &Arguments<'_>) -> Returned {
    let (digits, base) = (arguments.str(0), arguments.int(1)?);
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=62).contains(base))
        .ok_or_else(|| wrong(1, "the base must be a whole number from 2 to 62"))?;
    let (sign, bare) = match digits.strip_prefix('-') {
        Some(bare) => (Sign::Minus, bare),
        None => (Sign::Plus, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let magnitude = magnitude(bare, base)
        .ok_or_else(|| wrong(0, format!("`{digits}` is no whole number in base {base}")))?;
    Ok(Value::number(Number::from_bigint(&BigInt::from_biguint(sign, magnitude))))
}

/// Up to base 36 both cases of a letter are the same digit; above, the small letters come first.
fn magnitude(digits: &str, base: u32) -> Option<BigUint> {
    if digits.is_empty() || digits.len() > MOST_DIGITS {
        return None;
    }
    let values: Option<Vec<u8>> = digits
        .bytes()
        .map(|byte| {
            let value = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'z' => byte - b'a' + 10,
                b'A'..=b'Z' if base <= 36 => byte - b'A' + 10,
                b'A'..=b'Z' => byte - b'A' + 36,
                _ => return None,
            };
            (u32::from(value) < base).then_some(value)
        })
        .collect();
    BigUint::from_radix_be(&values?, base)
}

fn sum(arguments: &Arguments<'_>) -> Returned {
    let list = arguments.get(0);
    if !list.ty().is_sequence() {
        return Err(wrong(0, format!("a list, set or tuple is required, not {}", described(list.ty()))));
    }
    let elements = list.elements().unwrap_or_default();
    if elements.is_empty() {
        return Err(wrong(0, "there is nothing to add up: the list is empty"));
    }
    let mut total = Number::from(0);
    for (index, element) in elements.iter().enumerate() {
        if element.is_null() {
            return Err(wrong(0, format!("element {index} is null")));
        }
        let element = convert(element, &Type::Number)
            .map_err(|_| wrong(0, format!("element {index} is no number but {}", described(element.ty()))))?;
        if let Some(number) = element.as_number() {
            total = total.add(number).map_err(|_| wrong(0, "positive and negative infinity have no sum"))?;
        }
    }
    Ok(Value::number(total))
}
