//! Sets of IPv4 addresses as they stand in MooseFS's files.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::error::Problem;

/// Reads `*`, an address, `ADDRESS/BITS`, `ADDRESS/MASK` or `FIRST-LAST`.
pub(super) fn parse(word: &str) -> Result<RangeInclusive<Ipv4Addr>, Problem> {
    let wrong = || {
        let word = word.to_owned();
        match word.contains(',') {
            true => Problem::AddressList { word },
            false => Problem::Address { word },
        }
    };
    if word == "*" {
        return Ok(Ipv4Addr::UNSPECIFIED..=Ipv4Addr::BROADCAST);
    }
    if let Some((first, last)) = word.split_once('-') {
        let (first, last) = address(first).zip(address(last)).ok_or_else(wrong)?;
        if first > last {
            let word = word.to_owned();
            return Err(Problem::AddressOrder { word });
        }
        return Ok(first..=last);
    }
    let (first, mask) = match word.split_once('/') {
        None => (address(word), Some(u32::MAX)),
        Some((first, mask)) => (address(first), bits(mask)),
    };
    let (first, mask) = first.zip(mask).ok_or_else(wrong)?;
    let first = u32::from(first) & mask;
    // A mask with holes gives what MooseFS makes of it: everything between the ends.
    Ok(first.into()..=(first | !mask).into())
}

/// An address; numbers may begin with zeros, and are decimal all the same.
fn address(text: &str) -> Option<Ipv4Addr> {
    let mut parts = text.split('.').map(octet);
    let octets = [
        parts.next()??,
        parts.next()??,
        parts.next()??,
        parts.next()??,
    ];
    parts.next().is_none().then(|| octets.into())
}

fn octet(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// A mask, in whole or as its number of bits.
fn bits(text: &str) -> Option<u32> {
    match octet(text) {
        Some(0) => Some(0),
        Some(bits @ 1..=32) => Some(u32::MAX << (32 - bits)),
        Some(_) => None,
        None => address(text).map(u32::from),
    }
}
