//! Address ranges: `cidrhost`, `cidrnetmask`, `cidrsubnet`, `cidrsubnets`.

use std::net::IpAddr;

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions};
use imgbuild_hcl::value::{Type, Value};
use ipnet::IpNet;
use num_bigint::BigInt;

use crate::{Returned, number, text, wrong};

/// The most bits by which a prefix can be made longer at once.
const MOST_BITS: i64 = 32;

pub(crate) fn add(functions: &mut Functions) {
    let of_prefix = |description| Function::new(description).parameter(text("prefix"));
    let host = of_prefix("An address of a range by its number; a negative one counts from the end.")
        .parameter(number("hostnum"))
        .returns(Type::String)
        .runs(host);
    functions.add("cidrhost", host);
    let netmask = of_prefix("The mask of a range as an address.")
        .returns(Type::String)
        .runs(|a| Ok(Value::string(prefix(a)?.netmask().to_string())));
    functions.add("cidrnetmask", netmask);
    let subnet = of_prefix("A range within a range, by its number.")
        .parameter(number("newbits"))
        .parameter(number("netnum"))
        .returns(Type::String)
        .runs(subnet);
    functions.add("cidrsubnet", subnet);
    let subnets = of_prefix("Ranges within a range, one after the other.")
        .variadic(number("newbits"))
        .returns(Type::list(Type::String))
        .runs(subnets);
    functions.add("cidrsubnets", subnets);
}

/// A range as numbers.
#[derive(Clone, Copy)]
struct Range {
    start: u128,
    length: u8,
    bits: u8,
}

impl Range {
    fn of(net: IpNet) -> Self {
        let start = match net.network() {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        Self { start, length: net.prefix_len(), bits: net.max_prefix_len() }
    }

    /// The number of the last of its addresses, counted from 0.
    fn last(self) -> u128 {
        u128::MAX.checked_shr(u32::from(128 - (self.bits - self.length))).unwrap_or(0)
    }

    fn address(self) -> IpAddr {
        // A range of 32 bits has a start of 32 bits.
        u32::try_from(self.start)
            .ok()
            .filter(|_| self.bits == 32)
            .map_or_else(|| IpAddr::V6(self.start.into()), |start| IpAddr::V4(start.into()))
    }

    fn written(self) -> Value {
        Value::string(format!("{}/{}", self.address(), self.length))
    }
}

/// An address with leading zeros is refused: some programs read it as octal.
fn prefix(arguments: &Arguments<'_>) -> Result<IpNet, CallError> {
    let text = arguments.str(0);
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        IpNet::new(address, length.parse().ok()?).ok()
    });
    parsed.ok_or_else(|| {
        wrong(0, format!("`{text}` is no range of addresses"))
            .hint("write an address and a length, as in `10.0.0.0/8`")
    })
}

fn host(arguments: &Arguments<'_>) -> Returned {
    let range = Range::of(prefix(arguments)?);
    let given = arguments.number(1)?.to_bigint().ok_or_else(|| wrong(1, "a whole number is required"))?;
    let number = if given < BigInt::ZERO { BigInt::from(range.last()) + 1 + &given } else { given.clone() };
    let number = u128::try_from(number).ok().filter(|number| *number <= range.last()).ok_or_else(|| {
        wrong(1, format!("a range with a prefix of {} bits has no address {given}", range.length))
    })?;
    Ok(Value::string(Range { start: range.start | number, ..range }.address().to_string()))
}

fn new_bits(arguments: &Arguments<'_>, index: usize, least: i64) -> Result<u8, CallError> {
    let bits = arguments.int(index)?;
    match u8::try_from(bits) {
        Ok(small) if (least..=MOST_BITS).contains(&bits) => Ok(small),
        _ if bits > MOST_BITS => {
            Err(wrong(index, format!("a prefix cannot be made longer by more than {MOST_BITS} bits")))
        }
        _ => {
            let bits = if least == 0 { "a number of bits that is not negative" } else { "at least one bit" };
            Err(wrong(index, format!("a prefix must be made longer by {bits}")))
        }
    }
}

fn longer(range: Range, bits: u8, index: usize) -> Result<u8, CallError> {
    let length = range.length + bits;
    if length > range.bits {
        let (old, all) = (range.length, range.bits);
        return Err(wrong(
            index,
            format!("a prefix of {old} bits has no room for {bits} more: an address has {all}"),
        ));
    }
    Ok(length)
}

fn subnet(arguments: &Arguments<'_>) -> Returned {
    let range = Range::of(prefix(arguments)?);
    let bits = new_bits(arguments, 1, 0)?;
    let length = longer(range, bits, 1)?;
    let given = arguments.number(2)?.to_bigint().ok_or_else(|| wrong(2, "a whole number is required"))?;
    let number = u128::try_from(&given)
        .ok()
        .filter(|number| *number < 1 << bits)
        .ok_or_else(|| wrong(2, format!("with {bits} bits more there is no subnet {given}")))?;
    let shift = u32::from(range.bits - length);
    let start = range.start | number.checked_shl(shift).unwrap_or(0);
    Ok(Range { start, length, ..range }.written())
}

fn subnets(arguments: &Arguments<'_>) -> Returned {
    let range = Range::of(prefix(arguments)?);
    let end = range.start + range.last();
    let mut next = Some(range.start);
    let mut all = Vec::new();
    for index in 1..arguments.len() {
        let bits = new_bits(arguments, index, 1)?;
        let length = longer(range, bits, index)?;
        let size = Range { start: 0, length, ..range }.last();
        let full = || wrong(index, format!("no room is left for a subnet with a prefix of {length} bits"));
        // A subnet starts at a multiple of its size.
        let start = next.and_then(|next| next.checked_add(size)).ok_or_else(full)? & !size;
        let last = start.checked_add(size).filter(|last| *last <= end).ok_or_else(full)?;
        all.push(Range { start, length, ..range }.written());
        next = last.checked_add(1);
    }
    Ok(Value::list(Type::String, all))
}
